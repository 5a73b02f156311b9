"""Exact resume: what a run resumed within an epoch needs beside Lightning's own state."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor

from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.step import named_losses
from lightning_aqa.training.lightning_private import has_more_batches, load_ends_of_epochs_as_such
from lightning_aqa.utils.text import did_you_mean

VALIDATION = "val/"
"""Start of the names of what a validation logs."""


class ExactResume(L.Callback):
    """Let a run that was stopped anywhere end as the undisturbed one does, to the bit.

    Every batch has a seed of its own, for dropout; the sums of the losses of an epoch, and what was logged last, are in
    the checkpoint, as ``checkpoint["aqa"]``; and a plateau scheduler is stepped before the checkpoint of the epoch is
    written, where Lightning would step it afterwards.
    """

    def __init__(self) -> None:
        self._sums = EpochSums()
        self._resumed: dict[str, Any] = {}
        self.has_validated = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look after what comes next, which is to load the position in the training."""
        load_ends_of_epochs_as_such(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the sums of the losses of this epoch, and what was logged last."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        checkpoint["aqa"] = {
            "sums": self._sums.state_dict(),
            "logged": logged,
            "has_validated": self.has_validated,
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what the checkpoint has of it until the training starts; what is damaged is found here."""
        self._resumed = checkpoint.get("aqa", {})
        if self._resumed:
            EpochSums().load_state_dict(self._resumed["sums"], pl_module.device)
            self._resumed["logged"] = {name: float(value) for name, value in self._resumed["logged"].items()}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take up the sums, and metrics that are not computed every epoch; take plateau schedulers over."""
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau:
                config.interval = "exact_resume"  # not of Lightning's, which then does not step it
        if self._resumed:
            assert isinstance(pl_module, AQAModule)
            self._sums.load_state_dict(self._resumed["sums"], pl_module.device)
            pl_module.carried = self._sums.carried()
            logged = {name: torch.tensor(value, dtype=torch.float64) for name, value in self._resumed["logged"].items()}
            trainer.callback_metrics.update(logged)
            self.has_validated = self._resumed.get("has_validated", False)
            self._resumed = {}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the sums; a run that resumes within an epoch does not come here first."""
        self._sums = EpochSums()
        self.has_validated = False
        cast(AQAModule, pl_module).carried = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that this epoch has been validated."""
        self.has_validated = not trainer.sanity_checking

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the draws of the step."""
        seed_batch(trainer.current_epoch, batch_idx, trainer.global_rank)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Add the losses of the step."""
        step = cast(AQAModule, pl_module).step
        assert step is not None
        self._sums.add(named_losses("train", step.terms, step.total), len(step.ids))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Step plateau schedulers whose metric this epoch has logged, unless a limit has cut it short.

        Raises:
            ValueError: If the metric that one watches is not logged.
        """
        if has_more_batches(trainer):
            return
        fresh = metrics_of_epoch(trainer)
        for config in trainer.lr_scheduler_configs:
            if not config.reduce_on_plateau:
                continue
            name = str(config.monitor)
            if name in fresh:
                cast(Any, config.scheduler).step(fresh[name])
            elif not is_stale(trainer, name) or not trainer.enable_validation:
                hint = did_you_mean(name, list(fresh))
                raise ValueError(f"{name}, which the scheduler's monitor names, is not a logged metric.{hint}")


def is_stale(trainer: L.Trainer, name: str) -> bool:
    """Tell whether a metric would be of a validation before this epoch, which Lightning keeps until the next one."""
    watches = [callback for callback in cast(Any, trainer).callbacks if isinstance(callback, ExactResume)]
    return name.startswith(VALIDATION) and not all(watch.has_validated for watch in watches)


def metrics_of_epoch(trainer: L.Trainer) -> dict[str, Tensor]:
    """Return what this epoch has logged."""
    return {name: value for name, value in trainer.callback_metrics.items() if not is_stale(trainer, name)}


def seed_batch(epoch: int, batch: int, rank: int) -> None:
    """Seed all that draws in a training step, such as dropout, by (seed, epoch, batch, rank) alone."""
    position = (int(os.environ.get("PL_GLOBAL_SEED", "0")), epoch, batch, rank)
    seed = int(np.random.SeedSequence(position).generate_state(1)[0])
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


class EpochSums:
    """Sum what is logged over an epoch, so that a run resumed within it logs the means of the whole epoch.

    Lightning keeps such sums too, but not in its checkpoints. The sums before the checkpoint are therefore logged once
    more, in front of those after it.

    Example:
        >>> sums = EpochSums()
        >>> sums.add({"loss": torch.tensor(2.0)}, 3)
        >>> sums.state_dict()
        {'totals': {'loss': tensor(6.)}, 'num_clips': 3}
    """

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}
        self.num_clips = 0

    def add(self, values: Mapping[str, Tensor], num_clips: int) -> None:
        """Add the means over a batch."""
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, torch.zeros((), device=value.device)) + value * num_clips
        self.num_clips += num_clips

    def carried(self) -> list[tuple[dict[str, Tensor], int]]:
        """Return what to log first: values and their weights, whose weighted sums are exactly the totals."""
        if not self.totals:
            return []
        zeros = {name: torch.zeros_like(total) for name, total in self.totals.items()}
        return [(dict(self.totals), 1), (zeros, self.num_clips - 1)]

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"totals": dict(self.totals), "num_clips": self.num_clips}

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Take up the sums."""
        self.totals = {name: total.to(device) for name, total in state_dict["totals"].items()}
        self.num_clips = state_dict["num_clips"]
