"""ONNX models: found, run by onnxruntime on the CPU, and told in one line if they cannot be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_aqa.utils.weights import WeightsError, find_weights

Array = NDArray[Any]
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
"""Types of numbers that an input and outputs may have."""
ZOO = "https://onnx.ai/models"


class ONNXModel:
    """A model of one input, which is audio or what a front end makes of it.

    It is a graph of operators without any code of its own. It can be pickled and copied: the session is opened again.

    Args:
        path: The file.

    Attributes:
        hash: SHA-256 of the file and of those beside it that hold its weights.
        shape: Sizes of the input; None for those that are free.
        outputs: Names of the outputs.
        sample_rate: Rate that its metadata state, in Hz; None where they state none.

    Raises:
        WeightsError: If it is no such model.
        ValueError: If onnxruntime is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.hash = path, file_hash(path)
        self._session = _open(path)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in TYPES:
            given = ", ".join(f"{item.name} of {item.type}" for item in inputs)
            raise WeightsError(
                f"{path}: its inputs are {given}; expected one of floating-point numbers. Export the model with audio "
                "or its features as the only input."
            )
        self._input = inputs[0]
        self.shape = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape]
        self.outputs = [item.name for item in self._session.get_outputs() if item.type in TYPES]
        stated = self._session.get_modelmeta().custom_metadata_map.get("sample_rate", "")
        self.sample_rate = int(stated) if stated.isdigit() else None

    @classmethod
    def find(cls, path: str) -> ONNXModel:
        """Find a model as ``find_weights`` does, and open it."""
        return cls(find_weights(path, file="model.onnx", url=ZOO))

    def __reduce__(self) -> tuple[type[ONNXModel], tuple[Path]]:
        return type(self), (self.path,)

    def run(self, values: Array, outputs: Sequence[str]) -> list[Array]:
        """Run the model.

        Args:
            values: Samples or features; axes of size 1 are added in front of and behind them as the model has them.
            outputs: Names of the outputs to return.

        Raises:
            WeightsError: If the model does not take values of this shape.
        """
        shaped = values.reshape(self._fit(values.shape)).astype(TYPES[self._input.type])
        try:
            return list(self._session.run(list(outputs), {self._input.name: shaped}))
        except Exception as error:  # of onnxruntime, which has no common class for them
            reason = str(error).splitlines()[0][:160]
            raise WeightsError(f"{self.path}: {self._takes(values.shape)} and cannot run ({reason}).") from None

    def axis_of(self, position: int, num_axes: int) -> int:
        """Return the axis of the input that an axis of the values fills; those of size 1 are left to the batch."""
        free = [axis for axis, size in enumerate(self.shape) if size != 1]
        if len(free) < num_axes or any(self.shape[axis] for axis in free[: len(free) - num_axes]):
            raise WeightsError(
                f"{self.path}: its input {self._input.name} has shape {self._input.shape}, and the front end gives "
                f"{num_axes} axes; choose another by --model.encoder.front_end, such as Samples or LogMel."
            )
        return free[len(free) - num_axes + position]

    def _fit(self, given: tuple[int, ...]) -> list[int]:
        fitted = [1] * len(self.shape)
        for position, size in enumerate(given):
            fitted[self.axis_of(position, len(given))] = size
        if any(wanted not in (None, size) for wanted, size in zip(self.shape, fitted, strict=True)):
            raise WeightsError(
                f"{self.path}: {self._takes(given)}; set the front end's bands and mel_first, or segment_seconds, so "
                "that they agree."
            )
        return fitted

    def _takes(self, given: tuple[int, ...]) -> str:
        return f"its input {self._input.name} has shape {self._input.shape}, and was given {list(given)}"


def file_hash(path: Path) -> str:
    """Hash a file, and those beside it whose names begin with its own, by SHA-256."""
    digest = hashlib.sha256()
    for part in sorted(file for file in path.parent.iterdir() if file.name.startswith(path.name) and file.is_file()):
        with part.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f"{path}: an ONNX model needs onnxruntime: pip install 'lightning_aqa[onnx]'.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime, which has no common class for them
        reason = str(error).splitlines()[0][:160]
        raise WeightsError(f"{path}: cannot be read as an ONNX model ({reason}); give a whole .onnx file.") from None
