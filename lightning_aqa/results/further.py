"""Numbers beside the four metrics, for results.json and the page: calibration, pairs, best systems, P.1401's errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.calibration import Calibration, Coverage, calibration, coverage
from lightning_aqa.metrics.correlation import exact_mean, rows_of_systems
from lightning_aqa.metrics.listeners import ratings_table
from lightning_aqa.metrics.p1401 import DEGREES, half_widths, mapped_errors
from lightning_aqa.metrics.pairwise import PairAccuracy, accuracy_by_gap, top_k_accuracy
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.ratings import RatingRow

Array = NDArray[np.float64]

TOP = 3
MOST_CLIPS = 2000
"""With more, pairs are those of so many clips, drawn once: a share of two million pairs is within .001."""


def calibrated(scores: Array, targets: Array, deviations: Array | None = None) -> tuple[Calibration, Coverage]:
    """Compute bias, slope and errors by range, and what predicted deviations cover; NaN where there are none.

    Args:
        scores: Shape ``(N,)``, in score points.
        targets: Shape ``(N,)``, NaN where not rated.
        deviations: Shape ``(N,)``; None without.
    """
    given = np.full(len(targets), math.nan) if deviations is None else deviations
    return calibration(scores, targets), coverage(scores, targets, given)


def top_systems(scores: Array, targets: Array, systems: Sequence[str]) -> float:
    """Compute the share of the best systems that are among the best predicted; NaN where there are no more than these.

    Args:
        scores: Of N clips, shape ``(N,)``.
        targets: Shape ``(N,)``, NaN where not rated.
        systems: System of each clip.
    """
    rated = np.flatnonzero(np.isfinite(targets))
    rows = [rated[of] for of in rows_of_systems([systems[i] for i in rated.tolist()]).values()]
    if len(rows) <= TOP:
        return math.nan
    means = [np.array([exact_mean(values[of]) for of in rows]) for values in (scores, targets)]
    return top_k_accuracy(means[0], means[1], TOP)


def pairs_in_order(scores: Array, targets: Array) -> list[PairAccuracy]:
    """Compute how often the better of two clips is found, by how much better it is rated.

    Args:
        scores: Shape ``(N,)``.
        targets: Shape ``(N,)``, NaN where not rated.
    """
    rows = np.flatnonzero(np.isfinite(targets) & np.isfinite(scores))
    if len(rows) > MOST_CLIPS:
        rows = np.random.default_rng(0).choice(rows, MOST_CLIPS, replace=False)
    return accuracy_by_gap(scores[rows], targets[rows])


def with_further(
    results: Mapping[str, Any], table: Predictions, axes: Sequence[str], ratings: Sequence[RatingRow] = ()
) -> dict[str, Any]:
    """Return the results of one split with further numbers under the utterance entry of each axis.

    ``calibration``: bias, slope, intercept, errors by ``ranges`` of the rating, and ``coverage`` where deviations are
    given. ``pairs``: share in the right order by gap; the last gap has no end. ``top_k``: by k, the share of the k
    best systems found. ``p1401``, where single ratings are known: RMSE, RMSE* and outlier ratio by mapping.

    Args:
        results: From ``evaluate``.
        table: The predictions that they are of.
        axes: Names of the axes.
        ratings: Of single listeners.
    """
    of_clips = ratings_table(table.ids, axes, ratings).values if ratings else None
    level = dict(results["utterance"])
    for a, axis in enumerate(axes):
        if level[axis]["n"]:
            level[axis] = {**level[axis], **_of_axis(table, a, None if of_clips is None else of_clips[:, a])}
    return {**results, "utterance": level}


def _of_axis(table: Predictions, a: int, ratings: Array | None) -> dict[str, Any]:
    scores, targets = np.asarray(table.scores)[:, a], np.asarray(table.targets)[:, a]
    fit, covered = calibrated(scores, targets, None if table.deviations is None else table.deviations[:, a])
    numbers = {**fit._asdict(), "ranges": [of._asdict() for of in fit.ranges]}
    if covered.n:
        shares = {f"{share:g}": value for share, value in covered.covered.items()}
        numbers["coverage"] = {**covered._asdict(), "covered": shares}
    pairs = [
        {**of._asdict(), "high": of.high if math.isfinite(of.high) else None} for of in pairs_in_order(scores, targets)
    ]
    found: dict[str, Any] = {"calibration": numbers, "pairs": pairs}
    top = top_systems(scores, targets, table.systems)
    if math.isfinite(top):
        found["top_k"] = {str(TOP): top}
    if ratings is not None and np.isfinite(ratings).any():
        width = half_widths(ratings)
        found["p1401"] = {name: mapped_errors(scores, targets, width, mapping=name)._asdict() for name in DEGREES}
    return found
