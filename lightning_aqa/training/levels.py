"""Levels and lengths of the training clips, kept in checkpoints, so that a score can say what it was not trained on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback

from lightning_aqa.data.audio import measure
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.decoding import AudioError
from lightning_aqa.data.manifest import Clip
from lightning_aqa.data.signal import Signal
from lightning_aqa.module import AQAModule
from lightning_aqa.results.notes import Training

MOST_CLIPS = 48
"""Clips that are decoded for their levels where the check before training has not decoded all."""


class TrainingLevels(Callback):
    """Keep three numbers on the training clips in every checkpoint; see ``Training``."""

    def __init__(self) -> None:
        self._found: Training | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather them from what the check before training has decoded, or else from some clips."""
        data = cast(AQAModule, pl_module).data
        assert isinstance(pl_module, AQAModule)
        if not isinstance(data, AQADataModule) or "train" not in data.rated_splits:
            return
        clips = data.rated("train").clips
        signals = [data.signals[clip.id] for clip in clips if clip.id in data.signals]
        self._found = Training.of(signals or _measured(clips))
        pl_module.trained_on = self._found

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return {} if self._found is None else self._found._asdict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the numbers back."""
        self._found = Training.read(state_dict)


def _measured(clips: tuple[Clip, ...]) -> list[Signal]:
    """Decode some clips from all over the split; one that cannot be read is left out."""
    signals = []
    for clip in clips[:: -(-len(clips) // MOST_CLIPS)]:
        with suppress(AudioError):
            signals.append(measure(clip.path, clip.start, clip.end))
    return signals
