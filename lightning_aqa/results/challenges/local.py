"""An answer scored by the formulas of its challenge, and the published results that stand beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.from_size import CORRELATIONS, interval_from_size
from lightning_aqa.metrics.intervals import evaluate_table
from lightning_aqa.metrics.levels import MEAN
from lightning_aqa.metrics.pairwise import top_tier_accuracy
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.uncertainty import NO_INTERVAL, Interval
from lightning_aqa.results.challenges.known import TOP_TIER, Challenge
from lightning_aqa.results.challenges.lists import Labels
from lightning_aqa.results.challenges.ranking import MeanOf, Standing, standing
from lightning_aqa.results.published import published_of

OWN = "this answer"


class ScoreRow(NamedTuple):
    """Metrics of one system at one level and on one axis.

    Args:
        level: ``utterance`` or ``system``.
        axis: Name of the axis.
        split: Set that it is over; empty for the answer's own.
        name: The system.
        n: Clips or systems that it is over; 0 where nobody told.
        values: Per metric.
        intervals: Per metric; NaN where there is none.
    """

    level: str
    axis: str
    split: str
    name: str
    n: int
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]


def own_rows(
    challenge: Challenge, names: Sequence[str], scores_NA: NDArray[np.float64], labels: Labels
) -> list[ScoreRow]:
    """Score an answer by the formulas of its challenge, at utterance level and where systems are known at theirs.

    Args:
        challenge: The challenge.
        names: What the N clips are called.
        scores_NA: Shape ``(N, A)``, in score points.
        labels: Ratings and systems of the clips.
    """
    axes = [axis.name for axis in challenge.form.axes]
    blank = [""] * len(names)
    table = Predictions(list(names), labels.systems, blank, labels.scores, scores_NA)
    results = evaluate_table(table, axes)
    for a, axis in enumerate(axes):
        if axis in challenge.top_tier:
            threshold = challenge.top_tier[axis]
            found = top_tier_accuracy(scores_NA[:, a], labels.scores[:, a], threshold)
            results["utterance"][axis][TOP_TIER] = found
    return list(_rows_of(results, challenge.metrics))


def _rows_of(results: Mapping[str, Any], metrics: Sequence[str]) -> Iterator[ScoreRow]:
    for level in ("utterance", "system"):
        for axis, entry in results.get(level, {}).items():
            if axis == MEAN:
                continue
            values = {metric: entry[metric] for metric in metrics if metric in entry}
            ends = {metric: Interval(*entry["ci"].get(metric, NO_INTERVAL)) for metric in values}
            yield ScoreRow(level, axis, "", OWN, entry["n"], values, ends)


def published_beside(challenge: Challenge) -> list[ScoreRow]:
    """Return the published results of a challenge, each correlation with the interval that its n alone gives."""
    rows = published_of(challenge.published, [axis.name for axis in challenge.form.axes])
    keys = list(dict.fromkeys(tuple(row[key] for key in ("level", "axis", "split", "system", "n")) for row in rows))
    found = []
    for level, axis, split, name, n in keys:
        its = [
            row
            for row in rows
            if (row["level"], row["axis"], row["split"], row["system"]) == (level, axis, split, name)
        ]
        values = {row["metric"]: float(row["value"]) for row in its}
        ends = {m: interval_from_size(values[m], int(n), m) for m in CORRELATIONS if m in values and n}
        found.append(ScoreRow(level, axis, split, name, int(n or 0), values, ends))
    return found


def sources_of(challenge: Challenge) -> list[str]:
    """List the sources of the published results of a challenge."""
    rows = published_of(challenge.published, [axis.name for axis in challenge.form.axes])
    return list(dict.fromkeys(row["source"] for row in rows))


def standings(challenge: Challenge, own: Sequence[ScoreRow], others: Sequence[ScoreRow]) -> dict[str, Standing]:
    """Return the value of an answer by the rule of its challenge, and its place beside results over as many clips.

    Args:
        challenge: The challenge.
        own: Rows of the answer.
        others: Published rows.

    Returns:
        By the set of the published results; under an empty name the value alone, where there is no such set.
    """
    axes = [axis.name for axis in challenge.form.axes]
    sizes = {(row.level, row.axis): row.n for row in own}
    found: dict[str, Standing] = {}
    for split in dict.fromkeys(row.split for row in others):
        of_split = [row for row in others if row.split == split]
        same = [row for row in of_split if row.n == sizes.get((row.level, row.axis), -1)]
        teams = {row.name: _numbers([one for one in same if one.name == row.name]) for row in same}
        place = standing(challenge.rule, _numbers(own), teams, axes)
        if place is not None and place.of > 1:
            found[split] = place
    alone = standing(challenge.rule, _numbers(own), {}, axes)
    return {"": alone} if not found and alone is not None and isinstance(challenge.rule, MeanOf) else found


def _numbers(rows: Sequence[ScoreRow]) -> dict[tuple[str, str, str], float]:
    return {(row.level, row.axis, metric): value for row in rows for metric, value in row.values.items()}
