"""Bootstrap of a metric: values of resampled clips or systems, and intervals from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.levels import METRICS
from lightning_aqa.metrics.resampling import Counts, Unit, Units, draw, everything, leave_out, units_of
from lightning_aqa.metrics.weighted import STATISTICS, means_of_systems, metrics_of_columns

Array = NDArray[np.float64]
Level = Literal["utterance", "system"]
Method = Literal["bca", "percentile"]
_ONE_SIDED = 0.025


class Interval(NamedTuple):
    """The two ends of an interval; NaN where it is undefined."""

    low: float
    high: float


class Replicates(NamedTuple):
    """A metric and what resampling made of it, for C columns of predictions (axes, or seeds of a variant).

    Args:
        estimate: On the clips as they are, shape ``(C,)``.
        draws: On R resamples, shape ``(C, R)``.
        left_out: Without each of J units, shape ``(C, J)``.
    """

    estimate: Array
    draws: Array
    left_out: Array

    def mean(self) -> Replicates:
        """Average over the columns, resample by resample: the mean over axes, or over seeds."""
        return Replicates(*(values.mean(0, keepdims=True) for values in self))

    def minus(self, other: Replicates) -> Replicates:
        """Subtract what the same resamples made of another prediction."""
        return Replicates(*(mine - its for mine, its in zip(self, other, strict=True)))


def replicate(
    predictions: Array,
    targets: Array,
    systems: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    level: Level = "utterance",
    unit: Unit | None = None,
    metrics: Sequence[str] = METRICS,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Replicates]:
    """Compute metrics on resamples of the clips, the same resamples for every column.

    Two calls with the same clips in the same order, unit, number and seed draw the same resamples, so what they give
    can be compared resample by resample (``Replicates.minus``). Pass clips sorted by id and the order of a file cannot
    matter.

    Args:
        predictions: Shape ``(N, C)``, in score points.
        targets: Mean opinion scores, shape ``(N, C)``, or ``(N, 1)`` for all columns; NaN where not rated.
        systems: System of each clip; empty where unknown.
        prompts: Prompt of each clip; empty where unknown.
        level: ``utterance``, over clips, or ``system``, over the means of each system's rated clips.
        unit: What is drawn as one piece: clip, system, prompt or system+prompt; None is ``clip`` at utterance level and
            ``system`` at system level.
        metrics: Which of MSE, LCC, SRCC and KTAU.
        num_resamples: R.
        seed: Of the draws.

    Returns:
        ``{metric: Replicates}``.

    Example:
        >>> y = np.arange(10.0)[:, None]
        >>> found = replicate(y + 1, y, [""] * 10, metrics=["MSE"], num_resamples=5)["MSE"]
        >>> found.estimate, found.draws
        (array([1.]), array([[1., 1., 1., 1., 1.]]))
    """
    unit = unit or ("clip" if level == "utterance" else "system")
    units = units_of(unit, systems, prompts)
    p_NC, y_NC = np.broadcast_arrays(np.asarray(predictions, np.float64), np.asarray(targets, np.float64))
    samples = (iter([everything(units)]), draw(units, num_resamples, seed), leave_out(units, seed))
    computed = [_computed(p_NC, y_NC, units, of, level, metrics) for of in samples]
    return {
        metric: Replicates(computed[0][metric][:, 0], *(part[metric] for part in computed[1:])) for metric in metrics
    }


def _computed(
    predictions_NC: Array,
    targets_NC: Array,
    units: Units,
    samples: Iterable[Counts],
    level: Level,
    metrics: Sequence[str],
) -> dict[str, Array]:
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
    if len(units.ways) == 1 and units.drawn_system is not None:
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


def interval(replicates: Replicates, method: Method = "bca", confidence: float = 0.95) -> Interval:
    r"""Return the interval of one column.

    ``percentile`` takes the quantiles of the draws. ``bca`` (bias-corrected and accelerated, Efron 1987) shifts the
    quantiles by how far the draws lie to one side of the estimate and by how the spread changes with it; it is what to
    use where draws are biased, as those of a rank correlation near 1 are.

    Args:
        replicates: Of one column.
        method: ``bca`` or ``percentile``.
        confidence: Share of intervals that are to hold the true value.

    Returns:
        NaN where the estimate, or half of the draws, is undefined.

    Reference:
        B. Efron, "Better bootstrap confidence intervals", JASA 82, 1987; as ``scipy.stats.bootstrap`` computes it.
        Differs: with more than 200 units the acceleration comes from leaving out 200 groups of them; where more than
        97.5 % of the draws are on one side of the estimate, as at system level when clips are drawn (the means of a
        resample carry the noise of their clips twice), the draws are moved to have it as their median instead.
    """
    defined = np.isfinite(replicates.draws[0])
    if not math.isfinite(replicates.estimate[0]) or not len(defined) or 2 * defined.sum() < len(defined):
        return Interval(math.nan, math.nan)
    levels = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    draws, shape = _prepared(replicates, method)
    if shape is not None:
        from scipy.special import ndtr, ndtri

        bias, acceleration = shape
        shifted = bias + ndtri(levels)
        levels = ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(draws, levels)
    return Interval(float(low), float(high))


def p_value(replicates: Replicates, method: Method = "bca") -> float:
    """Return the two-sided p-value of zero: one minus the confidence of the interval that just touches it.

    Args:
        replicates: Of one column, such as a difference.
        method: How the interval is made.

    Returns:
        Between 2 / (R + 1) and 1; NaN where the interval is.
    """
    if math.isnan(interval(replicates, method).low):
        return math.nan
    draws, shape = _prepared(replicates, method)
    share = (np.count_nonzero(draws < 0) + np.count_nonzero(draws <= 0)) / 2
    least = 1 / (len(draws) + 1)
    level = min(max(share / len(draws), least), 1 - least)
    if shape is not None:
        from scipy.special import ndtr, ndtri

        bias, acceleration = shape
        away = ndtri(level) - bias
        level = float(ndtr(away / (1 + acceleration * away) - bias))
    return min(1.0, 2 * max(min(level, 1 - level), least))


def _prepared(replicates: Replicates, method: Method) -> tuple[Array, tuple[float, float] | None]:
    """Return the draws, and bias and acceleration; None for plain quantiles.

    Where nearly all draws are on one side of the estimate BCa would read off its quantiles at the very end of them.
    The draws are then moved so that their median is the estimate, and correlations stay within -1 and 1.
    """
    estimate, draws = float(replicates.estimate[0]), replicates.draws[0][np.isfinite(replicates.draws[0])]
    if method == "percentile":
        return draws, None
    below = (np.mean(draws < estimate) + np.mean(draws <= estimate)) / 2
    if not _ONE_SIDED <= below <= 1 - _ONE_SIDED:
        moved = draws + estimate - np.median(draws)
        return np.clip(moved, -1, 1) if max(abs(estimate), np.abs(draws).max()) <= 1 else moved, None
    from scipy.special import ndtri

    left_out = replicates.left_out[0][np.isfinite(replicates.left_out[0])]
    change = left_out.mean() - left_out if len(left_out) else left_out
    spread = float((change**2).sum())
    return draws, (float(ndtri(below)), float((change**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0)
