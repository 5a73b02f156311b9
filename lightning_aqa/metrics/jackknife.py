"""Jackknife of a metric: its values when one unit is left out or doubled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.few import FEWEST_FOR_CORRELATION
from lightning_aqa.metrics.levels import METRICS
from lightning_aqa.metrics.resampling import Counts, Unit, Units, count_groups, count_units, everything, units_of, vary
from lightning_aqa.metrics.weighted import STATISTICS, means_of_systems, metrics_of_columns

Array = NDArray[np.float64]
Level = Literal["utterance", "system"]
RANKS = ("SRCC", "KTAU")


class Replicates(NamedTuple):
    """A metric and what it is with one unit less or more, for C columns of predictions (axes, or seeds of a variant).

    Args:
        metric: Name of the metric.
        estimate: On the clips as they are, shape ``(C,)``.
        without: With each of J units left out, shape ``(C, J)``; groups of units where there are many.
        doubled: With each of them counted twice, shape ``(C, J)``.
        ways: J of each way in which units vary; they add up.
        groups: How many of these hold a rated clip, shape ``(C, W)``.
        rows: Values that are correlated, shape ``(C,)``: clips, or systems.
        fewest: Units, or these values if there are fewer, shape ``(C,)``.
        unit: What is fewest, such as ``systems``.
    """

    metric: str
    estimate: Array
    without: Array
    doubled: Array
    ways: tuple[int, ...]
    groups: NDArray[np.intp]
    rows: NDArray[np.intp]
    fewest: NDArray[np.intp]
    unit: str

    def pick(self, columns: slice | Sequence[int] | NDArray[np.intp]) -> Replicates:
        """Return some of the columns."""
        names = ("estimate", "without", "doubled", "groups", "rows", "fewest")
        return self._replace(**{name: getattr(self, name)[columns] for name in names})

    def mean(self) -> Replicates:
        """Average over the columns, sample by sample: the mean over axes, or over seeds."""
        means = {name: getattr(self, name).mean(0, keepdims=True) for name in ("estimate", "without", "doubled")}
        least = {name: getattr(self, name).min(0, keepdims=True) for name in ("groups", "rows", "fewest")}
        return self._replace(**means, **least)


def mean_of(parts: Sequence[Replicates]) -> Replicates:
    """Average replicates of the same shape, such as those of several axes."""
    means = {name: np.mean([getattr(of, name) for of in parts], 0) for name in ("estimate", "without", "doubled")}
    least = {name: np.min([getattr(of, name) for of in parts], 0) for name in ("groups", "rows", "fewest")}
    return parts[0]._replace(**means, **least)


def replicate(
    predictions: Array,
    targets: Array,
    systems: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    level: Level = "utterance",
    unit: Unit | None = None,
    metrics: Sequence[str] = METRICS,
) -> dict[str, Replicates]:
    """Compute metrics with each unit left out, and for rank correlations doubled, in the same order for every column.

    Pass clips sorted by id and the order of a file cannot matter.

    Args:
        predictions: Shape ``(N, C)``, in score points.
        targets: Mean opinion scores, shape ``(N, C)``, or ``(N, 1)`` for all columns; NaN where not rated.
        systems: System of each clip; empty where unknown.
        prompts: Prompt of each clip; empty where unknown.
        level: ``utterance``, over clips, or ``system``, over the means of each system's rated clips.
        unit: What varies as one piece: clip, system, prompt or system+prompt; None is ``clip`` at utterance level and
            ``system`` at system level.
        metrics: Which of MSE, LCC, SRCC and KTAU.

    Returns:
        ``{metric: Replicates}``.

    Example:
        >>> y = np.arange(10.0)[:, None]
        >>> found = replicate(y + 1, y, [""] * 10, metrics=["MSE"])["MSE"]
        >>> found.estimate, found.without.shape
        (array([1.]), (1, 10))
    """
    unit = unit or ("clip" if level == "utterance" else "system")
    units = units_of(unit, systems, prompts)
    p_NC, y_NC = np.broadcast_arrays(np.asarray(predictions, np.float64), np.asarray(targets, np.float64))
    ranks = [metric for metric in metrics if metric in RANKS]
    whole = _computed(p_NC, y_NC, units, [everything(units)], level, metrics)
    without = _computed(p_NC, y_NC, units, vary(units, 0), level, metrics)
    doubled = without | _computed(p_NC, y_NC, units, vary(units, 2), level, ranks)
    kept_NC = ~np.isnan(y_NC) & ((units.systems >= 0)[:, None] | (level == "utterance"))
    groups = np.array([count_groups(units, kept_N) for kept_N in kept_NC.T]).reshape(kept_NC.shape[1], len(units.ways))
    ways = count_groups(units, np.ones(len(p_NC), dtype=np.bool_))
    rows = np.array([_count_rows(units, kept_N, level) for kept_N in kept_NC.T], dtype=np.intp)
    fewest, name = _fewest(units, unit, kept_NC, level)
    for metric in set(metrics) - {"MSE"}:
        whole[metric][rows < FEWEST_FOR_CORRELATION] = math.nan
    return {m: Replicates(m, whole[m][:, 0], without[m], doubled[m], ways, groups, rows, fewest, name) for m in metrics}


def _count_rows(units: Units, kept_N: NDArray[np.bool_], level: Level) -> int:
    return int(kept_N.sum()) if level == "utterance" else len(np.unique(units.systems[kept_N]))


def _fewest(units: Units, unit: Unit, kept_NC: NDArray[np.bool_], level: Level) -> tuple[NDArray[np.intp], str]:
    """Count what there is least of in each column: units of a way, or systems that are correlated."""
    names = [*unit.split("+"), "clip" if level == "utterance" else "system"]
    counts = [[*count_units(units, kept_N), _count_rows(units, kept_N, level)] for kept_N in kept_NC.T]
    table = np.array(counts, dtype=np.intp).reshape(-1, len(names))
    return table.min(1), f"{names[int(table.sum(0).argmin())]}s"


def _computed(
    predictions_NC: Array,
    targets_NC: Array,
    units: Units,
    samples: Iterable[Counts],
    level: Level,
    metrics: Sequence[str],
) -> dict[str, Array]:
    if not metrics:
        return {}
    num_columns = predictions_NC.shape[1]
    parts: dict[str, list[Array]] = {metric: [np.zeros((num_columns, 0))] for metric in metrics}
    for counts in samples:
        columns = [
            _of_column(predictions_NC[:, c], targets_NC[:, c], units, counts, level, metrics)
            for c in range(num_columns)
        ]
        for metric in metrics:
            rows = [column[metric] for column in columns] or [np.zeros(counts.clips.shape[1])][:0]
            parts[metric].append(np.array(rows).reshape(num_columns, counts.clips.shape[1]))
    return {metric: np.concatenate(chunks, axis=1) for metric, chunks in parts.items()}


def _of_column(
    p_N: Array, y_N: Array, units: Units, counts: Counts, level: Level, metrics: Sequence[str]
) -> dict[str, Array]:
    rated_N = ~np.isnan(y_N)
    if level == "system":
        rated_N &= units.systems >= 0
    p_N, y_N, w_NR = p_N[rated_N], y_N[rated_N], counts.clips[rated_N]
    if not np.isfinite(p_N).all():
        return {metric: np.full(w_NR.shape[1], math.nan) for metric in metrics}
    if level == "utterance":
        return {metric: STATISTICS[metric](p_N, y_N, w_NR) for metric in metrics}
    systems_N = units.systems[rated_N]
    if len(units.ways) == 1 and units.varied_system is not None:
        return _of_fixed_means(p_N, y_N, systems_N, counts, metrics)
    p_SR, y_SR = (means_of_systems(values, systems_N, w_NR) for values in (p_N, y_N))
    return metrics_of_columns(p_SR, y_SR, counts.systems[: int(systems_N.max(initial=-1)) + 1], metrics)


def _of_fixed_means(
    p_N: Array, y_N: Array, systems_N: NDArray[np.intp], counts: Counts, metrics: Sequence[str]
) -> dict[str, Array]:
    once_N1 = np.ones((len(p_N), 1))
    p_S, y_S = (means_of_systems(values, systems_N, once_N1)[:, 0] for values in (p_N, y_N))
    there_S = np.isfinite(p_S)
    w_SR = counts.systems[: len(p_S)][there_S]
    return {metric: STATISTICS[metric](p_S[there_S], y_S[there_S], w_SR) for metric in metrics}
