"""Put beside every number of a split how sure it is and what could be reached."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.bootstrap import Interval
from lightning_aqa.metrics.ceilings import Ceiling, ceilings, system_only
from lightning_aqa.metrics.intervals import intervals
from lightning_aqa.metrics.levels import Results
from lightning_aqa.metrics.means import rows_of_systems, system_means

Array = NDArray[np.float64]
NUM_RESAMPLES, NUM_SPLITS = 1000, 20


def with_intervals(
    results: Results,
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    predictions: Array,
    targets: Array,
    axes: Sequence[str],
    system_scores: Mapping[str, Mapping[str, float]] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Results:
    """Return what ``evaluate`` found with a 95 % interval beside each metric.

    Over clips at utterance level and over systems at the system levels, bias-corrected and accelerated.

    Args:
        results: Of these clips, from ``evaluate``.
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        predictions: Shape ``(N, A)``, in score points.
        targets: Shape ``(N, A)``, in score points; NaN where not rated.
        axes: Names of the axes.
        system_scores: Published score per axis name per system, in score points.
        num_resamples: How many resamples.
        seed: Of the draws.

    Returns:
        A copy in which each entry has ``ci``: ``{metric: [low, high]}``, NaN where undefined.
    """
    results = copy.deepcopy(results)
    settings: dict[str, Any] = {"num_resamples": num_resamples, "seed": seed}
    found = intervals(ids, systems, domains, predictions, targets, axes, **settings)
    for domain, levels in found.items():
        for level, table in levels.items():
            _add_ci(_levels_of(results, domain)[level], table)
    if "system_mos" in results:
        names, means_SA, published_SA = _published(systems, predictions, axes, system_scores or {})
        nameless = [""] * len(names)
        found = intervals(names, nameless, nameless, means_SA, published_SA, axes, **settings)
        _add_ci(results["system_mos"], found[""]["utterance"])
    return results


def _add_ci(entries: dict[str, Any], table: Mapping[str, Mapping[str, Interval]]) -> None:
    for axis, of_metrics in table.items():
        entries[axis]["ci"] = {metric: list(ends) for metric, ends in of_metrics.items()}


def _published(
    systems: Sequence[str], predictions: Array, axes: Sequence[str], system_scores: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], Array, Array]:
    rows = rows_of_systems(systems)
    means_SA = system_means(predictions, np.full(predictions.shape, True), rows)
    published = [[system_scores.get(name, {}).get(axis, math.nan) for axis in axes] for name in rows]
    return list(rows), means_SA, np.array(published, dtype=np.float64)


def with_ceilings(
    results: Results,
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    targets: Array,
    ratings: Array,
    axes: Sequence[str],
    *,
    num_splits: int = NUM_SPLITS,
    seed: int = 0,
) -> Results:
    """Return what ``evaluate`` found with what the listeners allow beside each axis.

    Args:
        results: Of these clips, from ``evaluate``.
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        targets: Shape ``(N, A)``, in score points; NaN where not rated.
        ratings: Per listener, shape ``(N, A, K)``, see ``ratings_table``; all NaN where the corpus has means alone.
        axes: Names of the axes.
        num_splits: Random splits of the listeners to average over.
        seed: Of the splits.

    Returns:
        A copy in which the entries of axes with ratings have ``ceiling``, the fields of ``Ceiling``, and those at
        utterance level ``system_only``, the metrics of a predictor that knows only the system.
    """
    results = copy.deepcopy(results)
    found = ceilings(ids, systems, domains, ratings, axes, num_splits=num_splits, seed=seed)
    of_domain = np.array(domains, dtype=object)
    for domain, levels in found.items():
        for level, table in levels.items():
            for axis, ceiling in table.items():
                if ceiling.n:
                    _levels_of(results, domain)[level][axis]["ceiling"] = _entry(ceiling)
        rows = np.flatnonzero((of_domain == domain) | (domain == ""))
        for a, axis in enumerate(axes):
            reference = system_only([systems[int(i)] for i in rows], targets[rows, a])
            if reference["n"]:
                _levels_of(results, domain)["utterance"][axis]["system_only"] = reference
    return results


def _entry(ceiling: Ceiling) -> dict[str, float]:
    return dict(ceiling._asdict())


def _levels_of(results: Results, domain: str) -> dict[str, Any]:
    return results["domains"][domain] if domain else results
