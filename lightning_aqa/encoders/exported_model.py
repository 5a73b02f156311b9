"""The common part of exported models as encoders: one clip at a time, whole or in segments; their sizes are tried."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
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
from lightning_aqa.utils.weights import WeightsError

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
