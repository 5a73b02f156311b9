"""Exported models as encoders: ONNX and TorchScript, fed by samples or a front end, their chosen outputs as layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lightning_aqa.encoders.exported_model import TRIED_SECONDS, Array, ExportedModel
from lightning_aqa.encoders.front_ends import ModelInput
from lightning_aqa.utils.onnx_files import ONNXModel, file_hash
from lightning_aqa.utils.text import did_you_mean
from lightning_aqa.utils.torchscript_files import load_script
from lightning_aqa.utils.weights import WeightsError, find_weights


class ONNX(ExportedModel):
    """Encode a clip by an ONNX model that takes samples, or what a front end makes of them; its outputs are the layers.

    It runs in onnxruntime on the CPU, each clip alone, and is never trained. Of each output, the axis that grows with
    the audio counts the frames, and the others are the width; without such an axis it is one frame. A model of a fixed
    length is given segments of that length, one frame or more each.

    Args:
        path: The model: file, ``PACKAGE:PATH`` of an installed package, or hub id.
        outputs: Names of the outputs that are the layers, from the lowest on; null takes all.
        sample_rate: Rate that the model expects, in Hz.
        front_end: Input of the model, such as ``LogMel``; null gives it the samples.
        segment_seconds: Length of a segment, in seconds; null takes what the model asks for, or the whole clip.
        hop_seconds: Distance between the beginnings of two segments; null lays them side by side. Where they overlap,
            samples at the end that do not reach another whole hop are left.
        filling: What a clip that is too short is continued by: silence; or itself, again and again, doubling, when of a
            clip whole hops alone are used too, as DNSMOS does.
        time_axis: Axis of the outputs that counts frames, where it cannot be seen.
        window_seconds: Length of the windows that longer clips are cut into, in seconds; null takes a clip whole.

    Raises:
        WeightsError: If the file is not found, is no ONNX model, or its input or outputs cannot be used.
        ValueError: If onnxruntime is not installed.
    """

    def __init__(
        self,
        path: str,
        outputs: list[str] | None = None,
        sample_rate: int = 16000,
        front_end: ModelInput | None = None,
        segment_seconds: float | None = None,
        hop_seconds: float | None = None,
        filling: Literal["silence", "repeat"] = "silence",
        time_axis: int | None = None,
        window_seconds: float | None = 30.0,
    ) -> None:
        super().__init__(sample_rate, front_end, segment_seconds, hop_seconds, filling, time_axis, window_seconds)
        self.model = model = ONNXModel.find(path)
        self.path = model.path
        if model.sample_rate not in (None, sample_rate):
            raise WeightsError(
                f"{model.path}: says that it takes {model.sample_rate} Hz, and sample_rate is {sample_rate}; set "
                f"--model.encoder.sample_rate={model.sample_rate}."
            )
        for name in outputs or []:
            if name not in model.outputs:
                raise WeightsError(
                    f"{model.path}: has no output {name!r}; it has {', '.join(model.outputs)}."
                    f"{did_you_mean(name, model.outputs)}"
                )
        self.outputs = outputs or model.outputs
        if not self.is_segmented and (needed := self._needed()):
            self._cut(needed, hop_seconds)
        self._settle(model.hash)

    def _needed(self) -> int | None:
        """Return the samples of a segment where the model's length is fixed; of features, by two tries."""
        one, two = (self.front_end(np.zeros(n * self.sample_rate, np.float32), self.sample_rate) for n in (1, 2))
        position = next((i for i, sizes in enumerate(zip(one.shape, two.shape, strict=True)) if len(set(sizes)) > 1), 0)
        frames = self.model.shape[self.model.axis_of(position, one.ndim)]
        if frames is None or two.shape[position] == one.shape[position]:
            return None
        step: float = self.sample_rate / (two.shape[position] - one.shape[position])
        needed: int = round(self.sample_rate + (frames - one.shape[position]) * step)
        return needed

    def _names(self) -> Sequence[str]:
        return self.outputs

    def _run(self, values: Array) -> list[Tensor]:
        return [torch.from_numpy(np.asarray(output)) for output in self.model.run(values, self.outputs)]


class TorchScript(ExportedModel):
    """Encode a clip by a TorchScript model, as ``ONNX`` does; it can be fine-tuned.

    A TorchScript file is a program, which can do more than compute, so that it is run only where the environment
    variable ``LIGHTNING_AQA_TORCHSCRIPT`` is 1; ONNX needs no such trust. What it returns is a tensor, or several as a
    tuple, list or dict.

    Args:
        path: The model: file, ``PACKAGE:PATH`` of an installed package, or hub id.
        outputs: Positions or keys of the outputs that are the layers, from the lowest on; null takes all.
        sample_rate: Rate that the model expects, in Hz.
        front_end: Input of the model, such as ``LogMel``; null gives it the samples.
        segment_seconds: Length of a segment, in seconds; null takes the whole clip.
        hop_seconds: See ``ONNX``.
        filling: See ``ONNX``.
        time_axis: Axis of the outputs that counts frames, where it cannot be seen.
        window_seconds: Length of the windows that longer clips are cut into, in seconds; null takes a clip whole.
        input_axes: Number of axes of the input, of which the first have size 1; null adds one, for the batch.

    Raises:
        WeightsError: If the file is not found, is not permitted, is no TorchScript, or cannot be used.
    """

    def __init__(
        self,
        path: str,
        outputs: list[str] | None = None,
        sample_rate: int = 16000,
        front_end: ModelInput | None = None,
        segment_seconds: float | None = None,
        hop_seconds: float | None = None,
        filling: Literal["silence", "repeat"] = "silence",
        time_axis: int | None = None,
        window_seconds: float | None = 30.0,
        input_axes: int | None = None,
    ) -> None:
        super().__init__(sample_rate, front_end, segment_seconds, hop_seconds, filling, time_axis, window_seconds)
        self.path = find_weights(path, file="model.pt", url="https://pytorch.org/hub")
        self.script, self.input_axes = load_script(self.path), input_axes
        self.outputs = outputs or list(self._by_name(self._call(self._noise_input())))
        self._settle(file_hash(self.path))

    def _noise_input(self) -> Array:
        length = self.shortest or round(TRIED_SECONDS[0] * self.sample_rate)
        given: Array = self.front_end(np.zeros(length, dtype=np.float32), self.sample_rate)
        return given

    def _names(self) -> Sequence[str]:
        return self.outputs

    def _run(self, values: Array) -> list[Tensor]:
        found = self._by_name(self._call(values))
        for name in self.outputs:
            if name not in found:
                raise WeightsError(f"{self.path}: has no output {name!r}; it has {', '.join(found)}.")
        return [found[name] for name in self.outputs]

    def _call(self, values: Array) -> Any:
        axes = values.ndim + 1 if self.input_axes is None else self.input_axes
        shape = (1,) * (axes - values.ndim) + values.shape
        like = next(chain(self.parameters(), self.buffers()), torch.empty(0))
        try:
            return self.script(torch.from_numpy(values).reshape(shape).to(like.device))
        except Exception as error:  # of the program, whatever it is
            reason = str(error).strip().splitlines()[-1][:160]
            raise WeightsError(
                f"{self.path}: cannot run on an input of shape {list(shape)} ({reason}); set input_axes, front_end or "
                "segment_seconds to what it takes."
            ) from None

    def _by_name(self, given: Any) -> dict[str, Tensor]:
        """Return what the program gave, by key or position."""
        items = given.items() if isinstance(given, dict) else enumerate([given] if torch.is_tensor(given) else given)
        return {str(name): value for name, value in items if torch.is_tensor(value) and value.is_floating_point()}
