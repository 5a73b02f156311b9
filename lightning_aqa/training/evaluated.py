"""Weights that a table of results is of: which epoch they are, and why it was that one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging

from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.module import AQAModule
from lightning_aqa.results.evidence import TRAINING
from lightning_aqa.results.files import PREDICTIONS, fold_checkpoints
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.training.checkpoints import BestCheckpoint, has_averaged


class Evaluated(NamedTuple):
    """Weights of a table, as ``run.json`` has them.

    Args:
        epoch: Their epoch, from 1; 0 where the head was fitted and no step was made; None where the checkpoint does
            not say, or the model came trained.
        chosen_by: Logged metric by which the epoch is the best; empty where it is the last, or was given.
        checkpoint: Path that was given; empty after a training.
        is_average: Whether they are an average over steps.
    """

    epoch: int | None
    chosen_by: str = ""
    checkpoint: str = ""
    is_average: bool = False

    def __str__(self) -> str:
        """Say it in a few words."""
        epoch = "" if self.epoch is None else f"epoch {self.epoch}" if self.epoch else "fitted before the first step"
        if self.checkpoint:
            return f"{self.checkpoint}, {epoch}" if epoch else self.checkpoint
        if self.is_average:
            return "averaged weights"
        if not self.epoch:
            return f"the head as {epoch}" if epoch else ""
        return f"{epoch}, best by {self.chosen_by}" if self.chosen_by else f"{epoch}, the last"


def clips_of_training(checkpoint: str, splits: Mapping[str, Predictions]) -> list[str]:
    """Say of each split how many of its clips, by their ids, a checkpoint's run was trained on; nothing of none.

    Args:
        checkpoint: Path that the user gave: a checkpoint, or the folder of a cross-validation for its folds.
        splits: The clips that are evaluated, by split.
    """
    path, known = Path(checkpoint), set[str]()
    for found in fold_checkpoints(path) if path.is_dir() else [path]:
        with suppress(OSError, ValueError):  # of a run that left no table nothing is known
            tables, _ = read_predictions(found.resolve().parent.parent / PREDICTIONS)
            known |= {id_ for name, table in tables if name == TRAINING for id_ in table.ids}
    counts = {name: len(known & set(table.ids)) for name, table in splits.items() if name != TRAINING}
    return [
        f"{name}: {count} of its {len(splits[name].ids)} clips are, by their ids, among those that {checkpoint} was "
        "trained on, so its numbers say little of new clips."
        for name, count in counts.items()
        if count
    ]


def weights_of(trainer: L.Trainer, module: AQAModule, checkpoint: str | None = None) -> Evaluated:
    """Find what weights are evaluated, after a training or by a checkpoint that was given.

    Args:
        trainer: The trainer, which evaluates.
        module: The module, which knows the epoch of the checkpoint that it was read from.
        checkpoint: Path that the user gave; None after a training.
    """
    if checkpoint:
        return Evaluated(module.epoch, checkpoint=str(Path(checkpoint)))
    callbacks: list[Any] = list(trainer.callbacks)  # type: ignore[attr-defined]
    own = [one for one in callbacks if isinstance(one, BestCheckpoint) and one.best_model_path]
    is_average = has_averaged(trainer) or any(isinstance(one, WeightAveraging) for one in callbacks)
    if own and module.epoch is not None:
        return Evaluated(module.epoch, str(own[0].monitor or ""), is_average=is_average)
    return Evaluated(trainer.current_epoch or None, is_average=is_average)
