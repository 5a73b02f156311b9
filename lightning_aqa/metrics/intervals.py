"""A 95 % interval of every metric: per domain, level and axis, as ``evaluate`` lays its numbers out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import rows_of_systems, sorted_rows, system_means
from lightning_aqa.metrics.domains import rows_by_domain
from lightning_aqa.metrics.jackknife import Level, Replicates, replicate
from lightning_aqa.metrics.levels import METRICS, Results, evaluate
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.resampling import Unit, check_unit
from lightning_aqa.metrics.uncertainty import CONFIDENCE, NO_INTERVAL, Interval, interval, why_no_interval

Array = NDArray[np.float64]


class Sureness(NamedTuple):
    """The interval of a metric, or why there is none.

    Args:
        interval: NaN where there is none.
        why: A few words; empty where there is one.
    """

    interval: Interval
    why: str


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
    folds: int = 0,
    confidence: float = CONFIDENCE,
    metrics: Sequence[str] = METRICS,
) -> dict[str, dict[str, dict[str, dict[str, Sureness]]]]:
    """Compute the interval of every metric, per axis and for their mean, at both levels, overall and per domain.

    Args:
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        predictions: Shape ``(N, A)``, in score points.
        targets: Shape ``(N, A)``, in score points; NaN where not rated.
        axes: Names of the axes.
        prompts: Prompt of each clip; empty where unknown.
        unit: What varies as one piece; None is ``clip`` at utterance level and ``system`` at system level.
        folds: Folds of a cross-validation that the predictions come from; 0 for others.
        confidence: Share of intervals that are to hold the true value.
        metrics: Which of MSE, LCC, SRCC and KTAU.

    Returns:
        ``{domain: {level: {axis: {metric: Sureness}}}}``; the domain of all clips is ``""``, and each axis table also
        holds ``mean``, over the axes.

    Raises:
        ValueError: If no clip names what is to vary.

    Example:
        >>> y = np.arange(20.0)[:, None]
        >>> ids = [f"{i:02}" for i in range(20)]
        >>> found = intervals(ids, [""] * 20, [""] * 20, y + 1, y, ["PQ"], metrics=["MSE"])
        >>> found[""]["utterance"]["PQ"]["MSE"].interval
        Interval(low=1.0, high=1.0)
    """
    if unit is not None:
        check_unit(unit, systems, prompts)
    order = sorted_rows(ids)
    p_NA, y_NA = np.asarray(predictions, np.float64)[order], np.asarray(targets, np.float64)[order]
    columns = [[names[i] for i in order] for names in (systems, domains, prompts or [""] * len(ids))]
    found: dict[str, dict[str, dict[str, dict[str, Sureness]]]] = {}
    for domain, rows in rows_by_domain(columns[1]).items():
        named, _, texts = ([column[i] for i in rows] for column in columns)
        found[domain] = {}
        for level in _levels(named):
            varied = replicate(p_NA[rows], y_NA[rows], named, texts, level=level, unit=unit, metrics=metrics)
            found[domain][level] = _per_axis(varied, y_NA[rows], axes, folds, confidence)
    return found


def _levels(systems: Sequence[str]) -> Iterator[Level]:
    yield "utterance"
    if any(systems):
        yield "system"


def _per_axis(
    varied: dict[str, Replicates], y_NA: Array, axes: Sequence[str], folds: int, confidence: float
) -> dict[str, dict[str, Sureness]]:
    rated = np.flatnonzero(np.isfinite(y_NA).any(0)) if len(y_NA) else np.arange(0)

    def column(chosen: NDArray[np.intp]) -> dict[str, Sureness]:
        if not len(chosen):
            return {metric: Sureness(NO_INTERVAL, "not rated") for metric in varied}
        means = {metric: of.pick(chosen).mean() for metric, of in varied.items()}
        return {
            metric: Sureness(interval(of, folds=folds, confidence=confidence), why_no_interval(of))
            for metric, of in means.items()
        }

    return {axis: column(np.array([a])) for a, axis in enumerate(axes)} | {"mean": column(rated)}


def evaluate_table(table: Predictions, axes: Sequence[str], *, unit: Unit | None = None, folds: int = 0) -> Results:
    """Return the metrics of a table of predictions, each with a 95 % interval or the reason why there is none.

    Args:
        table: Rated and predicted scores, in score points.
        axes: Names of the axes.
        unit: What varies as one piece; None is clips at utterance level and systems at the system levels.
        folds: Folds of a cross-validation that the predictions come from; 0 for others.

    Returns:
        ``{level: {axis: {metric: value, "ci": {metric: [low, high]}}}}``; see ``evaluate`` and ``with_intervals``.
    """
    rows = (table.ids, table.systems, table.domains, table.scores, table.targets, axes)
    return with_intervals(evaluate(*rows), *rows, table.prompts, unit=unit, folds=folds)


def with_intervals(
    results: Results,
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    predictions: Array,
    targets: Array,
    axes: Sequence[str],
    prompts: Sequence[str] | None = None,
    system_scores: Mapping[str, Mapping[str, float]] | None = None,
    *,
    unit: Unit | None = None,
    folds: int = 0,
) -> Results:
    """Return what ``evaluate`` found with a 95 % interval beside each metric.

    Args:
        results: Of these clips, from ``evaluate``.
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        predictions: Shape ``(N, A)``, in score points.
        targets: Shape ``(N, A)``, in score points; NaN where not rated.
        axes: Names of the axes.
        prompts: Prompt of each clip; empty where unknown.
        system_scores: Published score per axis name per system, in score points.
        unit: What varies as one piece; None is clips at utterance level and systems at the system levels.
        folds: Folds of a cross-validation that the predictions come from; 0 for others.

    Returns:
        A copy in which each entry has ``ci``: ``{metric: [low, high]}``, NaN where there is none, and then ``ci_why``:
        ``{metric: reason}``. Where the unit is not given and clips name systems, entries at utterance level also have
        ``ci_system``, over systems.
    """
    results = copy.deepcopy(results)
    tables = (ids, systems, domains, predictions, targets, axes, prompts)
    for domain, levels in intervals(*tables, unit=unit, folds=folds).items():
        for level, table in levels.items():
            _add_ci(_levels_of(results, domain)[level], table)
    if unit is None and any(systems):
        for domain, levels in intervals(*tables, unit="system", folds=folds).items():
            _add_ci(_levels_of(results, domain)["utterance"], levels["utterance"], "ci_system")
    if "system_mos" in results:
        names, means_SA, published_SA = _published(systems, predictions, axes, system_scores or {})
        nameless = [""] * len(names)
        found = intervals(names, names, nameless, means_SA, published_SA, axes, unit="system", folds=folds)
        _add_ci(results["system_mos"], found[""]["utterance"])
    return results


def _add_ci(entries: dict[str, Any], table: Mapping[str, Mapping[str, Sureness]], key: str = "ci") -> None:
    for axis, of_metrics in table.items():
        entries[axis][key] = {metric: list(of.interval) for metric, of in of_metrics.items()}
        reasons = {metric: of.why for metric, of in of_metrics.items() if of.why}
        if reasons:
            entries[axis][f"{key}_why"] = reasons


def _published(
    systems: Sequence[str], predictions: Array, axes: Sequence[str], system_scores: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], Array, Array]:
    rows = rows_of_systems(systems)
    means_SA = system_means(predictions, np.full(predictions.shape, True), rows)
    published = [[system_scores.get(name, {}).get(axis, math.nan) for axis in axes] for name in rows]
    return list(rows), means_SA, np.array(published, dtype=np.float64)


def _levels_of(results: Results, domain: str) -> dict[str, Any]:
    return results["domains"][domain] if domain else results
