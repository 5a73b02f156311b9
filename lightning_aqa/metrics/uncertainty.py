"""Uncertainty of a metric over units, seeds and folds: on Fisher's z or a logarithm, and back as a 95 % interval."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.few import FEWEST_FOR_INTERVAL, half_step, order_bound, too_few
from lightning_aqa.metrics.jackknife import RANKS, Replicates

Array = NDArray[np.float64]
CONFIDENCE = 0.95
_EXACT = 1e-9


class Interval(NamedTuple):
    """The two ends of an interval; NaN where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


class Uncertainty(NamedTuple):
    """A value on the scale on which its error is even, and what its error is made of.

    Args:
        value: In the metric's unit.
        point: Fisher's z of a correlation, logarithm of an MSE.
        scores: Share of each unit in the error, shape ``(J,)``: their squares add up to the variance over units, and
            those of two variants, subtracted, to that of the difference.
        ways: How many of them belong to each way in which units vary.
        freedom: Degrees of freedom of each way.
        seeds: Variance that other seeds add.
        seeds_freedom: Degrees of freedom of that.
    """

    value: float
    point: float
    scores: Array
    ways: tuple[int, ...]
    freedom: tuple[float, ...]
    seeds: float
    seeds_freedom: float


def why_no_interval(replicates: Replicates) -> str:
    """Say in a few words why there is no interval and no p-value; empty where there are.

    Args:
        replicates: Of one column, or of the seeds of a variant.
    """
    count, estimate = int(replicates.fewest.min()) if len(replicates.fewest) else 0, replicates.estimate
    reason = too_few(count, replicates.unit)
    if reason and replicates.metric == "MSE":
        return f"{count} {replicates.unit}: an interval needs {FEWEST_FOR_INTERVAL}"
    if reason or not np.isfinite(estimate).all():
        return reason or "undefined"
    samples = (replicates.without, replicates.doubled)
    if replicates.metric == "MSE" and not estimate.all() and estimate.any():
        return "a run without an error"
    are_known = all(np.isfinite(of).all() for of in samples)
    is_from_one = replicates.metric == "MSE" and bool((replicates.without.mean(0) == 0).any()) and estimate.any()
    return "" if are_known and not is_from_one else f"it hangs on one of the {replicates.unit}"


def uncertainty(replicates: Replicates, folds: int = 0) -> Uncertainty:
    r"""Measure the error of the mean over the columns, which are the runs of a variant, one per seed.

    Over units: the jackknife variance :math:`\frac{J - 1}{J} \sum_j (z_j - \bar z)^2` of z, Fisher's z of a correlation
    or the logarithm of an MSE. With few units the jackknife of a rank correlation is too wide, since a unit less moves
    ranks more than a unit more does; there z_j is half of what lies between a unit doubled and a unit left out. The
    logarithm of an MSE has the tail of few squared errors: its variance is multiplied by J / (J - 2), and it has J - 2
    degrees of freedom instead of J - 1.

    Over K seeds: :math:`s^2 / K` with s the deviation of the runs, less what the choice of units alone makes them
    differ, which the first part holds already; never below zero.

    Out of K folds the models share most of their training clips, so that clips of different folds are not independent.
    The variance over units is multiplied by :math:`1 + K / (K - 1)`.

    Args:
        replicates: Of K runs on the same samples.
        folds: Folds of a cross-validation that the predictions come from; 0 for others.

    Reference:
        B. Efron and C. Stein, "The jackknife estimate of variance", Annals of Statistics 9, 1981. C. Nadeau and Y.
        Bengio, "Inference for the generalization error", Machine Learning 52, 2003: the correction for folds. Differs:
        it is applied to the variance over units of the pooled predictions, not to that between folds.
    """
    metric, mean = replicates.metric, replicates.mean()
    rows = int(mean.rows[0])
    freedom = tuple(_freedom(int(groups), metric) for groups in mean.groups[0])
    widened = math.sqrt(1 + folds / (folds - 1)) if folds > 1 else 1.0
    scores = _scores(mean, rows) * widened
    seeds, seeds_freedom = _over_seeds(replicates, rows)
    value = float(mean.estimate[0])
    return Uncertainty(
        value, float(to_scale(value, metric, rows)), scores[0], replicates.ways, freedom, seeds, seeds_freedom
    )


def _freedom(groups: int, metric: str) -> float:
    return float(max(groups - (2 if metric == "MSE" else 1), 1))


def _scores(replicates: Replicates, rows: int) -> Array:
    """Return the shares of the groups in the error of each column, shape ``(C, J)``."""
    metric, parts, start = replicates.metric, [], 0
    for way, size in enumerate(replicates.ways):
        of_way = slice(start, start + size)
        start += size
        count = float(max(int(replicates.groups[:, way].min()), 3))
        moved = to_scale(replicates.without[:, of_way], metric, rows)
        factor = (count - 1) / (count - 2 if metric == "MSE" else count)
        if metric in RANKS:
            moved = (moved - to_scale(replicates.doubled[:, of_way], metric, rows)) / 2
            factor = (count - 1) * (count + 1) ** 2 / count**3
        parts.append((moved - moved.mean(1, keepdims=True)) * math.sqrt(factor))
    return np.concatenate(parts, axis=1)


def _over_seeds(replicates: Replicates, rows: int) -> tuple[float, float]:
    """Return the variance that other seeds add to the mean, and its degrees of freedom."""
    num_seeds = len(replicates.estimate)
    if num_seeds < 2:
        return 0.0, 1.0
    z_K = to_scale(replicates.estimate, replicates.metric, rows)
    scores_KJ = _scores(replicates, rows)
    over_units = float(((scores_KJ - scores_KJ.mean(0)) ** 2).sum()) / (num_seeds - 1)
    return max(float(z_K.var(ddof=1)) - over_units, 0.0) / num_seeds, float(num_seeds - 1)


def to_scale(values: float | Array, metric: str, rows: int) -> Array:
    """Return Fisher's z of correlations, the logarithm of an MSE.

    A perfect order of few values counts as half a step below 1, see ``half_step``.
    """
    if metric == "MSE":
        return np.asarray(np.log(np.maximum(values, 1e-300)))
    most = 1 - half_step(rows, metric)
    return np.asarray(np.arctanh(np.clip(values, -most, most)))


def is_in_order(replicates: Replicates) -> bool:
    """Tell whether the mean of a rank correlation over the columns is nearer to a perfect order than half a step."""
    least = half_step(int(replicates.rows.min()), replicates.metric)
    return bool(abs(replicates.estimate.mean()) >= 1 - least - _EXACT)


def from_scale(value: float, metric: str) -> float:
    """Return the metric of a point on its scale."""
    return math.exp(min(value, 700.0)) if metric == "MSE" else math.tanh(value)


def spread(parts: Uncertainty) -> tuple[float, float]:
    """Return the standard error on the scale, and its degrees of freedom by Satterthwaite's formula."""
    return spread_of(parts.scores, parts)


def spread_of(scores: Array, *of: Uncertainty) -> tuple[float, float]:
    """Return standard error and degrees of freedom of the sum or difference of independent runs on the same units.

    Args:
        scores: Sum or difference of their scores, shape ``(J,)``.
        of: What it is of.
    """
    borders = np.cumsum(of[0].ways)[:-1]
    variances = [float((part**2).sum()) for part in np.split(scores, borders)]
    freedoms = [min(freedom) for freedom in zip(*(parts.freedom for parts in of), strict=True)]
    variances += [parts.seeds for parts in of]
    freedoms += [parts.seeds_freedom for parts in of]
    total = sum(variances)
    if not total > 0:  # NaN too
        return total, 1.0
    return math.sqrt(total), total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))


def interval(replicates: Replicates, *, folds: int = 0, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of the mean over the columns, which are the runs of a variant, one per seed.

    Student's t on the scale of ``uncertainty``, so that no end is beyond what the metric can be. A perfect order has no
    error to measure; its interval is exact, see ``order_bound``. A mean over seeds or axes that is less than half a
    step from it has one at least as wide.

    Args:
        replicates: Of one column, or of K seeds.
        folds: Folds of a cross-validation that the predictions come from; 0 for others.
        confidence: Share of intervals that are to hold the true value.

    Returns:
        NaN where ``why_no_interval`` gives a reason.
    """
    if why_no_interval(replicates):
        return NO_INTERVAL
    from scipy.special import stdtrit

    metric, parts = replicates.metric, uncertainty(replicates, folds)
    error, freedom = spread(parts)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error if error > 0 else 0.0
    low, high = (from_scale(end, metric) for end in (parts.point - half, parts.point + half))
    if metric in RANKS and is_in_order(replicates):
        bound = order_bound(int(replicates.fewest.min()), metric)
        return Interval(min(low, bound), 1.0) if parts.value > 0 else Interval(-1.0, max(high, -bound))
    return Interval(low, high) if half else Interval(parts.value, parts.value)
