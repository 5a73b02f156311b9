"""What the module does besides training: score windows, gather them to tables, compute metrics and losses."""

from __future__ import annotations

from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from lightning_aqa.batch import Axis, Batch
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.metrics.levels import evaluate, flatten
from lightning_aqa.objectives.base import Objective
from lightning_aqa.predictions import Predictions, ScoredWindow, as_step, gather_predictions, scored_windows


class EvaluatedModule(L.LightningModule):
    """The evaluation of a module whose ``forward`` scores a batch.

    Attributes:
        axes: What it predicts.
        predictions: The last table of each split.
        results: Its metrics.
    """

    axes: list[Axis]

    def __init__(self) -> None:
        super().__init__()
        self.predictions: dict[str, Predictions] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self._windows: list[list[ScoredWindow]] = []

    @property
    def data(self) -> AQADataModule:
        """The corpus that the trainer serves."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, AQADataModule):
            raise ValueError("AQAModule needs a datamodule of lightning_aqa.data, such as Table(path=...).")
        return data

    @property
    def objectives(self) -> list[Objective]:
        """The terms of the loss: the trainer's callbacks that are objectives."""
        return [callback for callback in cast(Any, self.trainer).callbacks if isinstance(callback, Objective)]

    def log_epoch(self, values: dict[str, Tensor], num_clips: int) -> None:
        """Log the means over some clips, which count by their number in the mean of the epoch."""
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=num_clips)

    def _record(self, batch: Batch, dataloader_idx: int) -> None:
        while len(self._windows) <= dataloader_idx:
            self._windows.append([])
        self._windows[dataloader_idx] += scored_windows(self(batch), batch)

    def on_validation_epoch_start(self) -> None:
        """Start with an empty table."""
        self._windows = []

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score the windows of a batch."""
        self._record(batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Compute metrics and losses of the split ``dev`` from the gathered table."""
        self._finish("dev", self._windows[0])
        self.log_dict(flatten(self.results["dev"], "val"))
        self._log_split_losses(self.predictions["dev"])

    def _log_split_losses(self, table: Predictions) -> None:
        """Log the objectives that read scores alone over a whole split, as ``val/<name>``."""
        output, batch = as_step(table, self.device)
        objectives = [objective for objective in self.objectives if objective.reads_scores_alone]
        terms = {objective.name: objective.loss(output, batch) for objective in objectives}
        if terms:
            total = torch.stack([objective.weight * terms[objective.name] for objective in objectives]).sum()
            self.log_epoch(named_losses("val", terms, total), len(table.ids))

    def on_test_epoch_start(self) -> None:
        """Start with empty tables."""
        self._windows = []

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score the windows of a batch."""
        self._record(batch, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Compute metrics of every split from the gathered tables."""
        for split, windows in zip(self.data.rated_splits, self._windows, strict=True):
            self._finish(split, windows)
            self.log_dict(flatten(self.results[split], f"test/{split}"))

    def on_predict_epoch_start(self) -> None:
        """Start with an empty table."""
        self._windows = []

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score the windows of a batch; the table is in ``predictions`` at the end."""
        self._record(batch, dataloader_idx)

    def on_predict_epoch_end(self) -> None:
        """Gather the table of all clips."""
        self.predictions["predict"] = gather_predictions(self._windows[0], self.data.manifest, self.axes)

    def _finish(self, split: str, windows: list[ScoredWindow]) -> None:
        manifest = self.data.manifest
        table = gather_predictions(windows, manifest, self.axes)
        self.predictions[split] = table
        names = [axis.name for axis in self.axes]
        self.results[split] = evaluate(
            table.ids, table.systems, table.domains, table.scores, table.targets, names, manifest.system_scores
        )


def named_losses(stage: str, terms: dict[str, Tensor], total: Tensor) -> dict[str, Tensor]:
    """Name terms and total as they are logged."""
    return {f"{stage}/{name}": term.detach() for name, term in terms.items()} | {f"{stage}/loss": total.detach()}
