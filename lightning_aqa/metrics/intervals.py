"""A 95 % interval of every metric: per domain, level and axis, as ``evaluate`` lays its numbers out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.bootstrap import Interval, Level, Method, Replicates, interval, replicate
from lightning_aqa.metrics.correlation import rows_of_systems, sorted_rows, system_means
from lightning_aqa.metrics.levels import METRICS, Results
from lightning_aqa.metrics.resampling import Unit

Array = NDArray[np.float64]

NUM_RESAMPLES = 1000


def intervals(
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    predictions: Array,
    targets: Array,
    axes: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    unit: Unit | None = None,
    method: Method = "bca",
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
    metrics: Sequence[str] = METRICS,
) -> dict[str, dict[str, dict[str, dict[str, Interval]]]]:
    """Compute the interval of every metric, per axis and for their mean, at both levels, overall and per domain.

    Args:
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        predictions: Shape ``(N, A)``, in score points.
        targets: Shape ``(N, A)``, in score points; NaN where not rated.
        axes: Names of the axes.
        prompts: Prompt of each clip; empty where unknown.
        unit: What is drawn as one piece; None is ``clip`` at utterance level and ``system`` at system level.
        method: ``bca`` or ``percentile``.
        confidence: Share of intervals that are to hold the true value.
        num_resamples: How many resamples.
        seed: Of the draws.
        metrics: Which of MSE, LCC, SRCC and KTAU.

    Returns:
        ``{domain: {level: {axis: {metric: Interval}}}}``; the domain of all clips is ``""``, and each axis table also
        holds ``mean``, over the axes.

    Example:
        >>> y = np.arange(20.0)[:, None]
        >>> ids = [f"{i:02}" for i in range(20)]
        >>> intervals(ids, [""] * 20, [""] * 20, y + 1, y, ["PQ"], metrics=["MSE"])[""]["utterance"]["PQ"]
        {'MSE': Interval(low=1.0, high=1.0)}
    """
    order = sorted_rows(ids)
    p_NA, y_NA = np.asarray(predictions, np.float64)[order], np.asarray(targets, np.float64)[order]
    columns = [[names[i] for i in order] for names in (systems, domains, prompts or [""] * len(ids))]
    found: dict[str, dict[str, dict[str, dict[str, Interval]]]] = {}
    for domain in ["", *sorted(set(domains) - {""})]:
        rows = np.array([i for i, name in enumerate(columns[1]) if domain in ("", name)], dtype=np.intp)
        named, _, texts = ([column[i] for i in rows] for column in columns)
        found[domain] = {}
        for level in _levels(named):
            drawn = replicate(
                p_NA[rows], y_NA[rows], named, texts,
                level=level, unit=unit, metrics=metrics, num_resamples=num_resamples, seed=seed,
            )  # fmt: skip
            found[domain][level] = _per_axis(drawn, y_NA[rows], axes, method, confidence)
    return found


def _levels(systems: Sequence[str]) -> Iterator[Level]:
    yield "utterance"
    if any(systems):
        yield "system"


def _per_axis(
    drawn: dict[str, Replicates], y_NA: Array, axes: Sequence[str], method: Method, confidence: float
) -> dict[str, dict[str, Interval]]:
    rated = np.flatnonzero(np.isfinite(y_NA).any(0)) if len(y_NA) else np.arange(0)

    def column(chosen: NDArray[np.intp]) -> dict[str, Interval]:
        picked = {m: Replicates(*(values[chosen] for values in of)) for m, of in drawn.items()}
        return {m: interval(of.mean() if len(chosen) else _nothing(), method, confidence) for m, of in picked.items()}

    return {axis: column(np.array([a])) for a, axis in enumerate(axes)} | {"mean": column(rated)}


def _nothing() -> Replicates:
    return Replicates(np.array([math.nan]), np.zeros((1, 0)), np.zeros((1, 0)))


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


def _levels_of(results: Results, domain: str) -> dict[str, Any]:
    return results["domains"][domain] if domain else results
