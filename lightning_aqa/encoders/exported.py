"""Exported models as encoders: ONNX and TorchScript, fed by samples or a front end, their chosen outputs as layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.front_ends import ModelInput, Samples
from lightning_aqa.encoders.melspectrogram import prefix_mask
from lightning_aqa.utils.onnx_files import ONNXModel, file_hash
from lightning_aqa.utils.text import did_you_mean
from lightning_aqa.utils.torchscript_files import load_script
from lightning_aqa.utils.weights import WeightsError, find_weights

Array = NDArray[np.float32]
TRIED_SECONDS = (2.0, 3.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Lengths that a model of any length is tried with, in seconds: two that tell which axis counts frames, then the
shortest that it takes."""


class ExportedModel(Encoder):
    """Encode a clip by a model that is a file of its own, each clip alone and without padding; see ``ONNX``."""

    path: Path

    def __init__(
        self,
        sample_rate: int,
        front_end: ModelInput | None,
        segment_seconds: float | None,
        hop_seconds: float | None,
        filling: Literal["silence", "repeat"],
        time_axis: int | None,
        window_seconds: float | None,
    ) -> None:
        super().__init__()
        if sample_rate < 1 or min(segment_seconds or 1, hop_seconds or 1, window_seconds or 1) <= 0:
            raise ValueError("sample_rate, segment_seconds, hop_seconds and window_seconds must be above 0.")
        self.sample_rate, self.time_axis, self.window_seconds = sample_rate, time_axis, window_seconds
        self.front_end = Samples() if front_end is None else front_end
        self.filling, self.is_segmented, self.shortest = filling, False, 0
        if segment_seconds is not None:
            self._cut(round(segment_seconds * sample_rate), hop_seconds)

    def _cut(self, segment: int, hop_seconds: float | None) -> None:
        """Cut clips into segments of this many samples from now on."""
        self.is_segmented, self.shortest = True, segment
        self.hop = segment if hop_seconds is None else max(1, round(hop_seconds * self.sample_rate))

    @abstractmethod
    def _run(self, values: Array) -> list[Tensor]:
        """Run the model on one input; return its chosen outputs."""

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """Return the names of the chosen outputs."""

    def _settle(self, model_hash: str) -> None:
        """Find the sizes by running the model on noise."""
        self.register_buffer("model_hash", torch.frombuffer(bytearray.fromhex(model_hash), dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_check_same_model)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            if self.is_segmented:
                found = [self._try(self.shortest / self.sample_rate)]
            else:
                found = [self._try(seconds) for seconds in TRIED_SECONDS[:2]]
        axes = [self._axis(i, [outputs[i].shape for outputs in found]) for i in range(len(found[0]))]
        self.time_axes = tuple(axes)
        shapes = [tuple(state.shape) for state in self._states(found[0])]
        if len(set(shapes)) > 1:
            listed = ", ".join(f"{name} {list(shape)}" for name, shape in zip(self._names(), shapes, strict=True))
            raise WeightsError(
                f"{self.path}: its outputs as (frames, width) are {listed}; layers need one shape, so choose some by "
                "--model.encoder.outputs."
            )
        self.width, self.num_layers = shapes[0][1], len(shapes)
        if not self.is_segmented:
            self.shortest = self._find_shortest()

    def _try(self, seconds: float) -> list[Tensor]:
        noise = np.random.default_rng(0).normal(scale=0.1, size=round(seconds * self.sample_rate))
        return self._run(self.front_end(noise.astype(np.float32), self.sample_rate))

    def _find_shortest(self) -> int:
        for seconds in TRIED_SECONDS[2:]:
            try:
                with torch.no_grad():
                    if all(len(state) for state in self._states(self._try(seconds))):
                        return round(seconds * self.sample_rate)
            except ValueError:
                continue
        return round(TRIED_SECONDS[0] * self.sample_rate)

    def _axis(self, output: int, shapes: Sequence[torch.Size]) -> int | None:
        """Tell which axis of an output counts frames: the one that follows the length of the audio, or as it was told.

        Raises:
            WeightsError: If that cannot be told; None is an output without such an axis.
        """
        first, name = shapes[0], self._names()[output]
        if self.time_axis is not None:
            if not -len(first) <= self.time_axis < len(first):
                raise WeightsError(f"{self.path}: its output {name} has shape {list(first)}: no axis {self.time_axis}.")
            return self.time_axis % len(first)
        moving = [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1]
        wide = [axis for axis, size in enumerate(first) if size > 1]
        if len(moving) > 1 or (not moving and len(wide) > 1):
            raise WeightsError(
                f"{self.path}: its output {name} has shape {list(first)}, and which axis counts frames cannot be seen; "
                f"say so by --model.encoder.time_axis={(moving or wide)[0]}, or choose another by "
                "--model.encoder.outputs."
            )
        return moving[0] if moving else None

    def _states(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Return each output as frames, shape ``(F, D)``; one without an axis of frames is a single frame."""
        return [
            output.reshape(1, -1) if axis is None else output.movedim(axis, 0).flatten(1)
            for output, axis in zip(outputs, self.time_axes, strict=True)
            for output in [output[..., None] if output.ndim == 1 and axis == 0 else output]
        ]

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        clips = waveform.detach().float().cpu().numpy()
        with torch.autocast(waveform.device.type, enabled=False):
            states = [self._encode(clip[:size]) for clip, size in zip(clips, num_samples.tolist(), strict=True)]
        sizes = torch.tensor([len(frames) for frames in states], device=waveform.device)
        layers_BFLD = pad_sequence([frames.to(waveform.device) for frames in states], batch_first=True)
        return Features(layers_BFLD.transpose(1, 2), prefix_mask(sizes, layers_BFLD.shape[1]))

    def _encode(self, samples: Array) -> Tensor:
        """Return the hidden states of a clip, shape ``(F, L, D)``."""
        states = [
            torch.stack(self._states(self._run(self.front_end(piece, self.sample_rate))), dim=1).float()
            for piece in self._pieces(samples)
        ]
        return torch.cat(states)

    def _pieces(self, samples: Array) -> list[Array]:
        """Fill a clip up to the shortest length, and cut it into segments where the model needs these."""
        while self.filling == "repeat" and 0 < len(samples) < self.shortest:
            samples = np.concatenate([samples, samples])
        length = len(samples)
        if not self.is_segmented:
            return [_filled(samples, max(length, self.shortest))]
        if self.filling == "repeat":
            length = length // self.hop * self.hop
        beyond = max(0, length - self.shortest)
        count = 1 + (beyond // self.hop if self.hop < self.shortest else -(-beyond // self.hop))
        samples = _filled(samples, max(len(samples), self.shortest + (count - 1) * self.hop))
        return [samples[i * self.hop : i * self.hop + self.shortest] for i in range(count)]


def _filled(samples: Array, length: int) -> Array:
    return np.pad(samples, (0, length - len(samples)))


def _check_same_model(encoder: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Refuse a checkpoint that was trained on another file."""
    theirs = state.get(f"{prefix}model_hash")
    own = encoder.get_buffer("model_hash").cpu()
    if isinstance(encoder, ExportedModel) and theirs is not None and not torch.equal(theirs.cpu(), own):
        raise WeightsError(
            f"{encoder.path}: another model than the checkpoint was trained on; put that file back, or name it by "
            "--model.encoder.path."
        )


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
