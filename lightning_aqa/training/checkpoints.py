"""Checkpoints that a killed run goes on from: written whole, within an epoch too, and each with all that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_aqa.results.files import BEST, LAST
from lightning_aqa.training.exact_resume import is_stale
from lightning_aqa.training.lightning_private import (
    can_save,
    count_steps_from,
    has_more_batches,
    is_mid_step,
    is_validation_next,
    last_saved_step,
    save,
    stops_here,
)
from lightning_aqa.utils.files import complete, remove_parts
from lightning_aqa.utils.signals import StopSignals

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class WholeFiles(TorchCheckpointIO):
    """Write a checkpoint beside its place and rename it: a kill leaves the one before it, never half of one.

    Lightning writes to the system's folder for temporary files; from there to another disk a file is copied, and a kill
    leaves half of it under the name of the checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; to remote storage as Lightning does.

        Raises:
            OSError: If there is no room for it, with its path; the checkpoint before it is whole.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with complete(path) as part, open(part, "wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch closes its archive after a write that failed, and tells that alone
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


class BestCheckpoint(ModelCheckpoint):
    """Keep one checkpoint under one name: that of the best epoch by a monitor, or of the last.

    Args:
        folder: Where it is kept.
        name: Its name, without the ending.
        monitor: Metric by which an epoch is the best; None takes each.
        mode: Whether ``max`` or ``min`` of it is best.
    """

    def __init__(self, folder: str | Path, name: str, monitor: str | None, mode: str = "min") -> None:
        super().__init__(
            folder, name, monitor=monitor, mode=mode, save_on_train_epoch_end=True, enable_version_counter=False
        )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep a whole epoch if it is the best; one that a limit has cut short is kept where there is no other.

        An epoch without validation is left alone, where a validation decides.

        A run that goes on from there has the record of before, and would not find its best epoch any more.
        """
        is_whole = not has_more_batches(trainer) or _is_stopped_early(trainer)
        is_decided = self.monitor is None or not is_stale(trainer, self.monitor)
        if is_decided and (is_whole or not self.best_model_path):
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
    that follows it; then it waits for the next step. Where the training ends within an epoch, by a limit of steps or of
    time or by a signal, it is the state after the last step, so that a run which goes on has the rest of the epoch.

    Args:
        folder: Where it is kept.
        every_n_steps: Optimiser steps from one to the next; None keeps the ends of epochs alone.
        signals: Signals that end the training once the state is written.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, folder: str | Path, every_n_steps: int | None, signals: StopSignals | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"--checkpoint_every_n_steps must be at least 1, or null, got {every_n_steps}.")
        super().__init__(folder, "last", None)
        self.every_n_steps, self.signals = every_n_steps, signals or StopSignals()
        self._must_stop = self._ends = self._is_asked = False

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
        """Count from where the run starts or resumes; keep signals until the state is written."""
        super().on_train_start(trainer, pl_module)
        count_steps_from(self, trainer.global_step)
        self.signals.waits = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop, if a signal came since the last batch of the epoch before, whose state is written."""
        if self._is_stopped(trainer):
            self.signals.stop()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step, if it is time or the training ends here."""
        is_asked, self._is_asked = trainer.should_stop or self._is_asked, False
        trainer.should_stop = is_asked
        if is_mid_step(trainer):
            self._is_asked, trainer.should_stop = is_asked, False  # until the step is whole
        elif has_more_batches(trainer):
            self._look(trainer)
            if not is_validation_next(trainer):
                self._save_within_epoch(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where the training ends after the validation within an epoch."""
        is_within = trainer.state.fn == "fit" and not trainer.sanity_checking and has_more_batches(trainer)
        if is_within and not is_mid_step(trainer):
            self._look(trainer)
            if self._ends:
                self._save_within_epoch(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop, if it was asked for since; from here on nothing is half done. Keep averaged weights as the best."""
        self.signals.waits = False
        if has_averaged(trainer):
            path = str(Path(str(self.dirpath)) / BEST)
            trainer.save_checkpoint(path)
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, BestCheckpoint):
                    callback.best_model_path = path
        if self._is_stopped(trainer):
            self.signals.stop()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep a model that was to be trained for no epoch, such as a probe, fitted before the first step."""
        if trainer.max_epochs == 0 and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.best_model_path = str(Path(str(self.dirpath)) / LAST)
            trainer.save_checkpoint(self.best_model_path)

    def _look(self, trainer: L.Trainer) -> None:
        """See whether the training ends here, by a signal or a limit."""
        self._must_stop = self._is_stopped(trainer)
        self._ends = self._must_stop or stops_here(trainer)

    def _is_stopped(self, trainer: L.Trainer) -> bool:
        """Tell on all processes alike whether a signal has come to one of them."""
        return trainer.strategy.reduce_boolean_decision(self.signals.number is not None, all=False)

    def _save_within_epoch(self, trainer: L.Trainer) -> None:
        is_due = self.every_n_steps is not None and trainer.global_step - last_saved_step(self) >= self.every_n_steps
        if (self._ends or is_due) and can_save(self, trainer):
            save(self, trainer)
        if self._must_stop:
            self.signals.stop()


def has_averaged(trainer: L.Trainer) -> bool:
    """Tell whether the module has the weights that Lightning's stochastic averaging has left at the end."""
    averages = [c for c in cast(Any, trainer).callbacks if isinstance(c, StochasticWeightAveraging)]
    return any(
        average.n_averaged is not None and (trainer.max_epochs == -1 or trainer.current_epoch > average.swa_end)
        for average in averages
    )


def _is_stopped_early(trainer: L.Trainer) -> bool:
    """Tell whether a metric has ended the training, so that no other run would go on either."""
    stoppers = [callback for callback in cast(Any, trainer).callbacks if isinstance(callback, EarlyStopping)]
    return any(stopper.stopping_reason is not EarlyStoppingReason.NOT_STOPPED for stopper in stoppers)


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

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the monitor, unless a limit has cut the epoch short; a run that goes on looks at its end."""
        if not has_more_batches(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop at once where the run had been stopped."""
        has_stopped = self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED
        if has_stopped and self.wait_count >= self.patience:
            trainer.should_stop = True
