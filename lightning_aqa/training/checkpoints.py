"""Checkpoints that a killed run goes on from: written whole, within an epoch too, and each with all that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_aqa.training.exact_resume import is_stale
from lightning_aqa.training.lightning_private import (
    can_save,
    count_steps_from,
    is_between_steps,
    last_saved_step,
    save,
)
from lightning_aqa.utils.files import complete, remove_parts

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class WholeFiles(TorchCheckpointIO):
    """Write a checkpoint beside its place and rename it: a kill leaves the one before it, never half of one.

    Lightning writes to the system's folder for temporary files; from there to another disk a file is copied, and a kill
    leaves half of it under the name of the checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; to remote storage as Lightning does."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with complete(path) as part:
            torch.save(checkpoint, part)


class BestCheckpoint(ModelCheckpoint):
    """Keep one checkpoint under one name: that of the best epoch by a monitor, or of the last.

    Args:
        folder: Where it is kept.
        name: Its name, without the ending.
        monitor: Metric by which an epoch is the best; None takes each.
        mode: Whether ``max`` or ``min`` of it is best.
    """

    def __init__(self, folder: Path, name: str, monitor: str | None, mode: str = "min") -> None:
        super().__init__(
            folder, name, monitor=monitor, mode=mode, save_on_train_epoch_end=True, enable_version_counter=False
        )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave an epoch without validation alone, where a validation decides."""
        if self.monitor is None or not is_stale(trainer, self.monitor):
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the record; where the run folder was moved, its checkpoints have moved with it."""
        old, new = str(state_dict["dirpath"]), str(self.dirpath)
        moved = {name: state_dict[name].replace(old, new, 1) for name in PATHS}
        scores = {path.replace(old, new, 1): score for path, score in state_dict["best_k_models"].items()}
        paths = [Path(path) for path in [*moved.values(), *scores] if path]
        if any(path.parent != Path(new) for path in paths) or (moved[PATHS[0]] and not Path(moved[PATHS[0]]).is_file()):
            return  # it did not come along, or names files that are not the run's, so the best starts anew
        super().load_state_dict({**state_dict, **moved, "dirpath": new, "best_k_models": scores})


class LastCheckpoint(BestCheckpoint):
    """Keep the state of the last epoch and, between the ends of epochs, that of every n-th optimiser step.

    It is written where nothing is half done: not while gradients accumulate, and not between a batch and the validation
    that follows it; then it waits for the next step.

    Args:
        folder: Where it is kept.
        every_n_steps: Optimiser steps from one to the next; None keeps the ends of epochs alone.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, folder: Path, every_n_steps: int | None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"--checkpoint_every_n_steps must be at least 1, or null, got {every_n_steps}.")
        super().__init__(folder, "last", None)
        self.every_n_steps = every_n_steps

    @property
    def state_key(self) -> str:
        """Key of its record, whatever the number of steps."""
        return type(self).__qualname__

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove what a kill left half written."""
        super().setup(trainer, pl_module, stage)
        if trainer.is_global_zero and stage == "fit":
            remove_parts(Path(str(self.dirpath)), "*.ckpt")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count from where the run starts or resumes."""
        super().on_train_start(trainer, pl_module)
        count_steps_from(self, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step, if it is time."""
        if self.every_n_steps is None or not can_save(self, trainer):
            return
        if trainer.global_step - last_saved_step(self) >= self.every_n_steps and is_between_steps(trainer):
            save(self, trainer)


class Patience(EarlyStopping):
    """Stop when a monitor has not become better for some epochs; a resumed run counts on, and stays stopped.

    Args:
        monitor: The metric.
        mode: Whether ``max`` or ``min`` of it is best.
        patience: Epochs to wait.
    """

    def __init__(self, monitor: str, mode: str, patience: int) -> None:
        super().__init__(monitor, mode=mode, patience=patience, check_finite=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the count; how long to wait is the config's."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop at once where the run had been stopped."""
        has_stopped = self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED
        if has_stopped and self.wait_count >= self.patience:
            trainer.should_stop = True
