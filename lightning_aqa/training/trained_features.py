"""Keep the features of training clips beside a model, so that a score can say how unlike these a clip is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import nn

from lightning_aqa.batch import Batch, Features
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.module import AQAModule
from lightning_aqa.results.evidence import TRAINING
from lightning_aqa.results.trained_features import MOST_CLIPS, Single, TrainedFeatures, pooled
from lightning_aqa.utils.distributed import gather_objects

_Row = tuple[str, float, Single]


class KeepTrainedFeatures(Callback):
    """Leave ``trained.npz`` in the run folder when the training clips are evaluated at the end of a fit.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._kept: frozenset[str] = frozenset()
        self._rows: list[_Row] = []
        self._features: Features | None = None
        self._hook: Any = None

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose the clips, and watch what the head is given."""
        data = cast(AQAModule, pl_module).data
        self._rows, self._features, self._kept = [], None, frozenset()
        if isinstance(data, AQADataModule) and TRAINING in data.rated_splits:
            ids = sorted(clip.id for clip in data.rated(TRAINING))
            self._kept = frozenset(ids[:: -(-len(ids) // MOST_CLIPS)])
            self._hook = cast(AQAModule, pl_module).head.register_forward_pre_hook(self._take)

    def _take(self, head: nn.Module, arguments: tuple[Features, ...]) -> None:
        self._features = arguments[0]

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the windows of a batch of training clips."""
        splits = cast(AQAModule, pl_module).data.rated_splits
        if self._features is None or splits[dataloader_idx] != TRAINING or self._kept.isdisjoint(batch.ids):
            return
        weights = batch.weights.tolist() if batch.weights is not None else [1.0] * len(batch.ids)
        rows = zip(batch.ids, weights, pooled(self._features), strict=True)
        self._rows += [row for row in rows if row[0] in self._kept]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file."""
        if self._hook is None:
            return
        self._hook.remove()
        self._hook, self._features = None, None
        rows: list[_Row] = gather_objects(self._rows)
        self._rows = []
        data = cast(AQAModule, pl_module).data
        if not trainer.is_global_zero or not rows or not isinstance(data, AQADataModule):
            return
        groups = {clip.id: data.group_of(clip) for clip in data.rated(TRAINING)}
        ids, means = _means_of_clips(rows)
        if found := TrainedFeatures.of(means, [groups[id_] for id_ in ids]):
            found.write(self.folder)


def _means_of_clips(rows: list[_Row]) -> tuple[list[str], Single]:
    """Average the windows of each clip by weight."""
    clips: dict[str, list[_Row]] = {}
    for row in rows:
        clips.setdefault(row[0], []).append(row)
    ids = sorted(clips)
    means = [np.average([x for *_, x in clips[i]], axis=0, weights=[weight for _, weight, _ in clips[i]]) for i in ids]
    return ids, np.array(means, dtype=np.float32)
