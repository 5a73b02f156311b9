"""From scored windows to a table of scored clips, and to the tidy CSV that every number and picture comes from."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_aqa.batch import Axis, Batch, Output, Pairs
from lightning_aqa.data.manifest import WINNERS, Manifest
from lightning_aqa.data.windows import weighted_mean
from lightning_aqa.metrics.levels import to_json
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.preferences import JudgedPair
from lightning_aqa.results.notes import NOTE
from lightning_aqa.utils.distributed import gather_objects
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.records import Record, read_records, write_records
from lightning_aqa.utils.text import shortened

COLUMNS = ("split", "id", "system", "domain", "prompt", "axis", "target", "score", "deviation")
LATER_COLUMNS = frozenset({"prompt", "deviation"})
"""Those that run folders of earlier versions lack."""
ENDS = ("low", "high")
"""Columns of the interval of each clip, where there are intervals."""


class ScoredWindow(NamedTuple):
    """The scores of one window of a clip, its share in the clip's score, and deviations where the head gives them."""

    id: str
    score: tuple[float, ...]
    weight: float
    deviation: tuple[float, ...] | None = None


def scored_windows(output: Output, batch: Batch) -> list[ScoredWindow]:
    """Turn a batch and its output into plain rows."""
    weights = batch.weights.tolist() if batch.weights is not None else [1.0] * len(batch.ids)
    scores = map(tuple, output.scores.detach().cpu().double().tolist())
    if output.deviation is None:
        return [ScoredWindow(*row) for row in zip(batch.ids, scores, weights, strict=True)]
    deviations = map(tuple, output.deviation.detach().cpu().double().tolist())
    return [ScoredWindow(*row) for row in zip(batch.ids, scores, weights, deviations, strict=True)]


def gather_predictions(windows: list[ScoredWindow], manifest: Manifest, axes: Sequence[Axis]) -> Predictions:
    """Collect the windows of all processes and average them per clip by weight, whatever their order.

    Sums are exact (``math.fsum``), so the number of processes and of workers cannot move a digit. Targets come from
    the manifest in float64. The deviation of a clip is that of the mean of its windows' distributions: their variance
    on average, and the variance between their scores.

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
        prompts=[clip.prompt for clip in clips],
        deviations=_clip_deviations([by_clip[clip.id] for clip in clips]),
    )


def as_step(
    table: Predictions, device: torch.device, pairs: Sequence[JudgedPair] = (), axes: Sequence[Axis] = ()
) -> tuple[Output, Batch]:
    """Return a whole table, and its pairs, as what objectives on scores read, in float64 where the device has it."""
    dtype = torch.float32 if device.type == "mps" else torch.float64
    scores_NA, targets_NA = (torch.from_numpy(values).to(device, dtype) for values in (table.scores, table.targets))
    empty = torch.zeros(len(table.ids), 0)
    prompts = [""] * len(table.ids)
    batch = Batch(empty, empty.sum(1).long(), targets_NA, table.ids, table.systems, table.domains, prompts)
    if pairs:
        rows, names = {id_: n for n, id_ in enumerate(table.ids)}, [axis.name for axis in axes]
        whole = [(rows[of.clip_a], rows[of.clip_b], WINNERS.index(of.winner), names.index(of.axis)) for of in pairs]
        rows_a, rows_b, outcomes, of_axes = torch.tensor(whole, device=device).T
        weights = torch.tensor([of.weight for of in pairs], device=device, dtype=dtype)
        batch = batch._replace(pairs=Pairs(rows_a, rows_b, outcomes, weights, of_axes))
    return Output(scores_NA, scores_NA), batch


def _clip_score(windows: Sequence[ScoredWindow]) -> list[float]:
    return weighted_mean([window.score for window in windows], [window.weight for window in windows])


def _clip_deviations(clips: Sequence[Sequence[ScoredWindow]]) -> NDArray[np.float64] | None:
    if not clips or clips[0][0].deviation is None:
        return None
    return np.array([clip_deviation(windows) for windows in clips], dtype=np.float64)


def clip_deviation(windows: Sequence[ScoredWindow]) -> list[float]:
    """Return the deviations of a clip, one per axis: that of the mean of its windows' distributions."""
    means = _clip_score(windows)
    variances = [
        tuple(d * d + (s - mean) ** 2 for d, s, mean in zip(window.deviation or (), window.score, means, strict=True))
        for window in windows
    ]
    return [math.sqrt(variance) for variance in weighted_mean(variances, [window.weight for window in windows])]


def write_predictions(path: str | Path, splits: Iterable[tuple[str, Predictions]], axes: Sequence[str]) -> None:
    """Write tidy rows, one per clip and axis; an unrated target is empty, and so is a deviation that is not given.

    Tables with intervals have columns of their ends, and those with notes have one of these.
    """
    tables = list(splits)
    found = [table.intervals for _, table in tables if table.intervals is not None]
    ends = ENDS if any(np.isfinite(intervals).any() for intervals in found) else ()
    note = (NOTE,) if any(table.notes is not None for _, table in tables) else ()
    rows = (row for split, table in tables for row in _tidy_rows(split, table, axes, has_ends=bool(ends)))
    write_records(path, (*COLUMNS, *ends, *note), rows)


def _tidy_rows(split: str, table: Predictions, axes: Sequence[str], *, has_ends: bool) -> Iterator[list[object]]:
    for i, id_ in enumerate(table.ids):
        for a, axis in enumerate(axes):
            prompt = table.prompts[i] if table.prompts is not None else ""
            deviation = math.nan if table.deviations is None else float(table.deviations[i, a])
            target, score = float(table.targets[i, a]), float(table.scores[i, a])
            names = [split, id_, table.systems[i], table.domains[i], prompt, axis]
            found = table.intervals[i, a].tolist() if table.intervals is not None else [math.nan] * len(ENDS)
            ends = map(_or_empty, found) if has_ends else ()
            note = [] if table.notes is None else [table.notes[i]]
            yield [*names, _or_empty(target), score, _or_empty(deviation), *ends, *note]


def _or_empty(value: float) -> float | str:
    return "" if math.isnan(value) else value


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write the results of ``evaluate`` by split as JSON; null where a number is undefined."""
    with replacing(path) as file:
        file.write(json.dumps(to_json(dict(results)), indent=1, allow_nan=False) + "\n")


def read_predictions(path: str | Path) -> tuple[list[tuple[str, Predictions]], list[str]]:
    """Read what ``write_predictions`` wrote: the tables by split, and the names of the axes.

    Files from before there were prompts and deviations are read too.

    Raises:
        ValueError: If it is no whole table of predictions; the message names it.
    """
    records = read_records(path, [name for name in COLUMNS if name not in LATER_COLUMNS])
    if not records:
        raise ValueError(f"{path}: no rows; expected one per clip and axis.")
    axes = list(dict.fromkeys(record.text("axis") for record in records))
    by_split: dict[str, dict[str, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        rows = by_split[record.text("split")][record.text("id")]
        if rows.setdefault(record.text("axis"), record) is not record:
            raise ValueError(
                f"{record.where}: {_described(record)} was there before, expected one row per clip and axis."
            )
    return [(split, _table(clips, axes)) for split, clips in by_split.items()], axes


def _described(record: Record) -> str:
    return f"{shortened(record.text('axis'))} of {shortened(record.text('id'))}"


def _table(clips: Mapping[str, Mapping[str, Record]], axes: Sequence[str]) -> Predictions:
    firsts = [next(iter(rows.values())) for rows in clips.values()]
    for first, rows in zip(firsts, clips.values(), strict=True):
        if len(rows) < len(axes):
            lacking = ", ".join(shortened(axis) for axis in axes if axis not in rows)
            name = shortened(first.text("id"))
            raise ValueError(f"{first.where}: {name} has no row for {shortened(lacking)}; is it half a copy?")
    deviations = np.array([[rows[axis].finite("deviation", math.nan) for axis in axes] for rows in clips.values()])
    intervals = np.array(
        [[[rows[axis].finite(end, math.nan) for end in ENDS] for axis in axes] for rows in clips.values()]
    )
    return Predictions(
        ids=list(clips),
        systems=[first.text("system") for first in firsts],
        domains=[first.text("domain") for first in firsts],
        targets=np.array([[rows[axis].finite("target", math.nan) for axis in axes] for rows in clips.values()]),
        scores=np.array([[rows[axis].number("score") for axis in axes] for rows in clips.values()]),
        prompts=[first.text("prompt") for first in firsts] if "prompt" in firsts[0].cells else None,
        deviations=None if np.isnan(deviations).all() else deviations,
        notes=[first.text(NOTE) for first in firsts] if NOTE in firsts[0].cells else None,
        intervals=None if np.isnan(intervals).all() else intervals,
    )
