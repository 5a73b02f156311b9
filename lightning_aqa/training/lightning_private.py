"""The private attributes of Lightning's trainer and its checkpoints that are used here; no other file has any."""

from __future__ import annotations

from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

PRIVATE_NAMES = (
    "lightning.pytorch.callbacks.ModelCheckpoint._last_global_step_saved",
    "lightning.pytorch.callbacks.ModelCheckpoint._monitor_candidates",
    "lightning.pytorch.callbacks.ModelCheckpoint._save_topk_checkpoint",
    "lightning.pytorch.callbacks.ModelCheckpoint._should_skip_saving_checkpoint",
    "lightning.pytorch.loops.fit_loop._FitLoop._can_stop_early",
    "lightning.pytorch.loops.fit_loop._FitLoop._data_fetcher",
    "lightning.pytorch.loops.loop._Loop._restarting",
    "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop._num_ready_batches_reached",
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


def is_mid_step(trainer: L.Trainer) -> bool:
    """Tell whether gradients of batches are kept that the optimiser has not used yet."""
    return trainer.fit_loop.epoch_loop._should_accumulate()


def has_more_batches(trainer: L.Trainer) -> bool:
    """Tell whether the epoch is not at its end."""
    return not trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def is_validation_next(trainer: L.Trainer) -> bool:
    """Tell whether validation follows the batch in a run that goes on; one that stops validates everywhere."""
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None
    stops, trainer.should_stop = trainer.should_stop, False
    is_next = loop._should_check_val_fx(fetcher)
    trainer.should_stop = stops
    return is_next


def stops_here(trainer: L.Trainer) -> bool:
    """Tell whether the training ends after the step by a limit: of steps, of time, or one that a callback has set."""
    loop = trainer.fit_loop
    is_last_step = 0 <= loop.max_steps <= trainer.global_step
    return is_last_step or (trainer.should_stop and loop._can_stop_early)


def load_ends_of_epochs_as_such(trainer: L.Trainer) -> None:
    """Let a run that resumes at the end of an epoch begin the next one, also where ``max_steps`` is set.

    Lightning takes each checkpoint of such a run for one within an epoch, and ends the epoch a second time.
    """
    loop = trainer.fit_loop
    load = loop.load_state_dict

    def load_and_settle(state_dict: dict[str, Any], prefix: str = "") -> None:
        load(state_dict, prefix)
        progress = cast(Any, loop.epoch_progress.current)
        if progress.ready == progress.started == progress.processed:
            loop._restarting = False
            loop.epoch_loop.restarting = False

    cast(Any, loop).load_state_dict = load_and_settle
