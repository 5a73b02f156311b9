"""The private attributes of Lightning's trainer and its checkpoints that are used here; no other file has any."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

PRIVATE_NAMES = (
    "lightning.pytorch.callbacks.ModelCheckpoint._last_global_step_saved",
    "lightning.pytorch.callbacks.ModelCheckpoint._monitor_candidates",
    "lightning.pytorch.callbacks.ModelCheckpoint._save_topk_checkpoint",
    "lightning.pytorch.callbacks.ModelCheckpoint._should_skip_saving_checkpoint",
    "lightning.pytorch.loops.fit_loop._FitLoop._data_fetcher",
    "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop._should_accumulate",
    "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop._should_check_val_fx",
)
"""Names by their dotted paths; tests/test_private_api.py looks whether they are still there."""


def can_save(checkpoint: ModelCheckpoint, trainer: L.Trainer) -> bool:
    """Tell whether a trainer is at a point where a checkpoint is written, and has not been written yet."""
    return not checkpoint._should_skip_saving_checkpoint(trainer)


def save(checkpoint: ModelCheckpoint, trainer: L.Trainer) -> None:
    """Write a checkpoint now, by the rules of its callback."""
    checkpoint._save_topk_checkpoint(trainer, checkpoint._monitor_candidates(trainer))


def last_saved_step(checkpoint: ModelCheckpoint) -> int:
    """Return the optimiser step of the last checkpoint."""
    return checkpoint._last_global_step_saved


def count_steps_from(checkpoint: ModelCheckpoint, step: int) -> None:
    """Count an optimiser step as saved."""
    checkpoint._last_global_step_saved = step


def is_between_steps(trainer: L.Trainer) -> bool:
    """Tell whether the next thing to do is the first batch of a step; at the end of an epoch it is not."""
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None
    return not (loop._should_accumulate() or loop._should_check_val_fx(fetcher) or loop.done)
