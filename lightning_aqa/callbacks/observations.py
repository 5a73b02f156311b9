"""Keep what a table of scores has no room for: where each clip's audio is, clip embeddings, scores of frames."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_aqa.batch import Batch, Output
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.distributed import gather_objects
from lightning_aqa.files import replacing
from lightning_aqa.module import AQAModule

CLIPS, SYSTEMS, OBSERVATIONS = "clips.csv", "systems.csv", "observations.npz"
SYSTEM_COLUMNS = ("system", "axis", "score")
CLIP_COLUMNS = ("id", "path", "start", "end", "system", "domain", "prompt")
MAX_EMBEDDINGS = 1000
MAX_FRAMES = 200
MAX_CLIPS_WITH_FRAMES = 60

Half = NDArray[np.float16]


class Window(NamedTuple):
    """What the head gave for one window: its embedding ``(E,)`` and, where it has them, frame scores ``(F, A)``."""

    split: str
    id: str
    weight: float
    embedding: Half
    frames: Half | None


class Observations(Callback):
    """Leave ``clips.csv``, ``systems.csv`` and, after a test, ``observations.npz`` in the run folder, for the report.

    All are small, whatever the corpus: embeddings of at most 1000 clips in float16, and the scores of at most 200
    frames of the 60 clips that are predicted worst. Splits trained on are left out where there are others.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._output: Output | None = None
        self._windows: list[Window] = []
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
        splits: list[str] = cast(Any, trainer).datamodule.rated_splits
        if self._output is None or (splits[dataloader_idx] == "train" and len(splits) > 1):
            return
        weights = batch.weights.tolist() if batch.weights is not None else [1.0] * len(batch.ids)
        embedding_BE = _half(self._output.embedding)
        for row, (id_, weight) in enumerate(zip(batch.ids, weights, strict=True)):
            frames = _frames(self._output, row) if weight == 1 else None
            self._windows.append(Window(splits[dataloader_idx], id_, weight, embedding_BE[row], frames))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the files."""
        assert isinstance(pl_module, AQAModule)
        self._hook.remove()
        windows: list[Window] = gather_objects(self._windows)
        self._windows, self._output = [], None
        if not trainer.is_global_zero:
            return
        self._write_clips(trainer)
        errors = {
            (split, id_): float(error)
            for split, table in pl_module.predictions.items()
            for id_, error in zip(table.ids, _mean_error(table.scores, table.targets), strict=True)
        }
        write_observations(self.folder / OBSERVATIONS, windows, errors, [axis.name for axis in pl_module.axes])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write where the audio is, for the verb ``validate``."""
        if trainer.state.fn == "validate" and trainer.is_global_zero:
            self._write_clips(trainer)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write where the audio is."""
        if trainer.is_global_zero:
            self._write_clips(trainer)

    def _write_clips(self, trainer: L.Trainer) -> None:
        manifest: Manifest = cast(Any, trainer).datamodule.manifest
        write_clips(self.folder / CLIPS, manifest)
        if manifest.system_scores:
            write_systems(self.folder / SYSTEMS, manifest.system_scores)


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Write where the audio of each clip is, as a path from the folder of the table, and what it was made from."""
    with replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(CLIP_COLUMNS)
        for clip in clips:
            audio = Path(os.path.relpath(clip.path, path.parent)).as_posix()
            end = "" if clip.end is None else clip.end
            writer.writerow([clip.id, audio, clip.start, end, clip.system, clip.domain, clip.prompt])


def write_systems(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write the scores that a corpus publishes for its systems."""
    with replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(SYSTEM_COLUMNS)
        writer.writerows([system, axis, score] for system, axes in scores.items() for axis, score in axes.items())


def write_observations(
    path: Path, windows: Iterable[Window], errors: dict[tuple[str, str], float], axes: list[str]
) -> None:
    """Write embeddings and frame scores as arrays; ``numpy.load`` reads them without pickle.

    Args:
        path: The file.
        windows: Windows of all clips.
        errors: Error of each clip in score points, by split and id; the worst keep their frame scores.
        axes: Names of the axes.
    """
    clips: dict[tuple[str, str], list[Window]] = {}
    for window in windows:
        clips.setdefault((window.split, window.id), []).append(window)
    spread = _spread(sorted(clips), MAX_EMBEDDINGS)
    worst = sorted((key for key in clips if clips[key][0].frames is not None), key=lambda key: -errors.get(key, 0.0))
    framed = sorted(worst[:MAX_CLIPS_WITH_FRAMES])
    arrays = {
        "axes": np.array(axes, dtype=np.str_),
        "splits": np.array([split for split, _ in spread], dtype=np.str_),
        "ids": np.array([id_ for _, id_ in spread], dtype=np.str_),
        "embeddings": np.array([_mean_embedding(clips[key]) for key in spread], dtype=np.float16),
        "frame_splits": np.array([split for split, _ in framed], dtype=np.str_),
        "frame_ids": np.array([id_ for _, id_ in framed], dtype=np.str_),
        "frames": _stacked([clips[key][0].frames for key in framed], len(axes)),
    }
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    part.replace(path)


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


def _mean_embedding(windows: list[Window]) -> Half:
    weights = np.array([window.weight for window in windows]).clip(min=1e-9)
    mean: Half = np.average([window.embedding.astype(np.float64) for window in windows], axis=0, weights=weights)
    return mean


def _spread(keys: list[tuple[str, str]], limit: int) -> list[tuple[str, str]]:
    """Choose at most ``limit`` of some keys, evenly along their order."""
    if len(keys) <= limit:
        return keys
    return [keys[i * len(keys) // limit] for i in range(limit)]


def _stacked(rows: list[Half | None], num_axes: int) -> Half:
    """Stack frame scores to ``(clips, F, A)``, NaN after the last frame."""
    longest = max((len(row) for row in rows if row is not None), default=0)
    stacked: Half = np.full((len(rows), longest, num_axes), np.nan, dtype=np.float16)
    for i, row in enumerate(rows):
        if row is not None:
            stacked[i, : len(row)] = row
    return stacked
