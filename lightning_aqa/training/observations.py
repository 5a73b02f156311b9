"""Keep what a table of scores has no room for: where each clip's audio is, clip embeddings, scores of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_aqa.batch import Batch, Output
from lightning_aqa.module import AQAModule
from lightning_aqa.results.files import CLIPS, OBSERVATIONS, SYSTEMS
from lightning_aqa.results.observations import (
    MAX_FRAMES,
    Half,
    ObservedWindow,
    write_clips,
    write_observations,
    write_systems,
)
from lightning_aqa.utils.distributed import gather_objects


class Observations(Callback):
    """Leave ``clips.csv``, ``systems.csv`` and, after a test, ``observations.npz`` in the run folder, for the report.

    All are small, whatever the corpus: embeddings of at most 1000 clips in float16, and the scores of at most 200
    frames of the 60 clips that are predicted worst. Splits trained on are left out where there are others.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._output: Output | None = None
        self._windows: list[ObservedWindow] = []
        self._hook: Any = None

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Watch what the head gives."""
        assert isinstance(pl_module, AQAModule)
        self._windows, self._output = [], None
        self._hook = pl_module.head.register_forward_hook(self._take)

    def _take(self, head: nn.Module, arguments: Any, output: Output) -> None:
        self._output = output

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the windows of a batch, in half precision."""
        splits = cast(AQAModule, pl_module).data.rated_splits
        if self._output is None or (splits[dataloader_idx] == "train" and len(splits) > 1):
            return
        weights = batch.weights.tolist() if batch.weights is not None else [1.0] * len(batch.ids)
        embedding_BE = _half(self._output.embedding)
        for row, (id_, weight) in enumerate(zip(batch.ids, weights, strict=True)):
            frames = _frames(self._output, row) if weight == 1 else None
            self._windows.append(ObservedWindow(splits[dataloader_idx], id_, weight, embedding_BE[row], frames))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the files."""
        assert isinstance(pl_module, AQAModule)
        self._hook.remove()
        windows: list[ObservedWindow] = gather_objects(self._windows)
        self._windows, self._output = [], None
        if not trainer.is_global_zero:
            return
        self._write_clips(pl_module)
        errors = {
            (split, id_): float(error)
            for split, table in pl_module.predictions.items()
            for id_, error in zip(table.ids, _mean_error(table.scores, table.targets), strict=True)
        }
        write_observations(self.folder / OBSERVATIONS, windows, errors, [axis.name for axis in pl_module.axes])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write where the audio is, for ``validate``."""
        if trainer.state.fn == "validate" and trainer.is_global_zero:
            self._write_clips(pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write where the audio is."""
        if trainer.is_global_zero:
            self._write_clips(pl_module)

    def _write_clips(self, module: L.LightningModule) -> None:
        manifest = cast(AQAModule, module).data.manifest
        write_clips(self.folder / CLIPS, manifest)
        if manifest.system_scores:
            write_systems(self.folder / SYSTEMS, manifest.system_scores)


def _half(tensor: Tensor) -> Half:
    half: Half = tensor.detach().float().cpu().numpy().astype(np.float16)
    return half


def _frames(output: Output, row: int) -> Half | None:
    """Return a row's frame scores, averaged to at most ``MAX_FRAMES``; None from heads without."""
    if output.frame_scores is None or output.frame_mask is None:
        return None
    valid_FA = output.frame_scores[row, output.frame_mask[row]].detach().float().cpu().numpy()
    pieces = np.array_split(valid_FA, min(MAX_FRAMES, len(valid_FA)))
    return np.array([piece.mean(0) for piece in pieces], dtype=np.float16)


def _mean_error(scores_NA: NDArray[np.float64], targets_NA: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the distance of score and rating over the rated axes; 0 where none is."""
    rated_NA = ~np.isnan(targets_NA)
    error_NA = np.where(rated_NA, np.abs(scores_NA - targets_NA), 0.0)
    mean_N: NDArray[np.float64] = error_NA.sum(1) / rated_NA.sum(1).clip(min=1)
    return mean_N
