"""From scored windows to a table of scored clips, and to the tidy CSV that every number and picture comes from."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_aqa.batch import Axis, Batch, Output
from lightning_aqa.data.manifest import Manifest
from lightning_aqa.distributed import gather_objects
from lightning_aqa.files import replacing
from lightning_aqa.metrics.levels import to_json

COLUMNS = ("split", "id", "system", "domain", "axis", "target", "score")


class ScoredWindow(NamedTuple):
    """The scores of one window of a clip, and its share in the clip's score."""

    id: str
    score: tuple[float, ...]
    weight: float


class Predictions(NamedTuple):
    """One row per clip, sorted by id.

    Args:
        ids: Clip ids, length N.
        systems: System of each clip.
        domains: Domain of each clip.
        targets: Mean opinion scores, shape ``(N, A)``, NaN where not rated.
        scores: Predicted scores, shape ``(N, A)``.
    """

    ids: list[str]
    systems: list[str]
    domains: list[str]
    targets: NDArray[np.float64]
    scores: NDArray[np.float64]


def scored_windows(output: Output, batch: Batch) -> list[ScoredWindow]:
    """Turn a batch and its output into plain rows."""
    weights = batch.weights.tolist() if batch.weights is not None else [1.0] * len(batch.ids)
    scores = output.scores.detach().cpu().double().tolist()
    return [ScoredWindow(*row) for row in zip(batch.ids, map(tuple, scores), weights, strict=True)]


def gather_predictions(windows: list[ScoredWindow], manifest: Manifest, axes: Sequence[Axis]) -> Predictions:
    """Collect the windows of all processes and average them per clip by weight, whatever their order.

    Sums are exact (``math.fsum``), so the number of processes and of workers cannot move a digit. Targets come from
    the manifest in float64.

    Args:
        windows: The scored windows of this process.
        manifest: The clips they are from.
        axes: What the scores are of; targets are looked up by their names, NaN where the manifest does not rate one.
    """
    by_clip: dict[str, list[ScoredWindow]] = defaultdict(list)
    for window in gather_objects(windows):
        by_clip[window.id].append(window)
    clips = sorted((clip for clip in manifest if clip.id in by_clip), key=lambda clip: clip.id)
    return Predictions(
        ids=[clip.id for clip in clips],
        systems=[clip.system for clip in clips],
        domains=[clip.domain for clip in clips],
        targets=Manifest(clips, axes).scores(),
        scores=np.array([_clip_score(by_clip[clip.id]) for clip in clips], dtype=np.float64),
    )


def as_step(table: Predictions, device: torch.device) -> tuple[Output, Batch]:
    """Return a whole table as what objectives on scores read, in float64 where the device has it."""
    dtype = torch.float32 if device.type == "mps" else torch.float64
    scores_NA, targets_NA = (torch.from_numpy(values).to(device, dtype) for values in (table.scores, table.targets))
    empty = torch.zeros(len(table.ids), 0)
    prompts = [""] * len(table.ids)
    batch = Batch(empty, empty.sum(1).long(), targets_NA, table.ids, table.systems, table.domains, prompts)
    return Output(scores_NA, scores_NA), batch


def _clip_score(windows: Sequence[ScoredWindow]) -> list[float]:
    total = math.fsum(window.weight for window in windows)
    columns = zip(*(window.score for window in windows), strict=True)
    weights = [window.weight for window in windows]
    return [math.fsum(w * s for w, s in zip(weights, column, strict=True)) / total for column in columns]


def write_predictions(path: str | Path, splits: Iterable[tuple[str, Predictions]], axes: Sequence[str]) -> None:
    """Write tidy rows: split, id, system, domain, axis, target, score; an unrated target is empty."""
    with replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for split, table in splits:
            for i, id_ in enumerate(table.ids):
                for a, axis in enumerate(axes):
                    target = float(table.targets[i, a])
                    shown = "" if math.isnan(target) else target
                    row = [split, id_, table.systems[i], table.domains[i], axis, shown, float(table.scores[i, a])]
                    writer.writerow(row)


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write the results of ``evaluate`` by split as JSON; null where a number is undefined."""
    with replacing(path) as file:
        file.write(json.dumps(to_json(dict(results)), indent=1, allow_nan=False) + "\n")


def read_predictions(path: str | Path) -> tuple[list[tuple[str, Predictions]], list[str]]:
    """Read what ``write_predictions`` wrote: the tables by split, and the names of the axes."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    by_split: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_split[row["split"]][row["id"]].append(row)
    return [(split, _table(clips)) for split, clips in by_split.items()], axes


def _table(clips: dict[str, list[dict[str, str]]]) -> Predictions:
    firsts = [rows[0] for rows in clips.values()]
    return Predictions(
        ids=list(clips),
        systems=[row["system"] for row in firsts],
        domains=[row["domain"] for row in firsts],
        targets=np.array([[float(row["target"] or "nan") for row in rows] for rows in clips.values()]),
        scores=np.array([[float(row["score"]) for row in rows] for rows in clips.values()]),
    )
