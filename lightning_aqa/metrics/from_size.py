"""Interval of a correlation of which no more is known than the number of units that it is over."""

from __future__ import annotations

import math

from lightning_aqa.metrics.few import half_step, order_bound, too_few
from lightning_aqa.metrics.uncertainty import CONFIDENCE, NO_INTERVAL, Interval

CORRELATIONS = ("LCC", "SRCC", "KTAU")
_STEPS = 60


def interval_from_size(value: float, count: int, metric: str, confidence: float = CONFIDENCE) -> Interval:
    r"""Return the interval that n alone gives a published correlation, of scores that are about normal.

    .. math:: \tanh(\operatorname{artanh} r \pm t\,\sigma) \quad\text{with}\quad
        \sigma^2 = \frac{1}{n - 3},\ \frac{1 + r^2 / 2}{n - 3},\ \frac{.437}{n - 4}

    for LCC, SRCC and KTAU; t is normal for LCC, and Student's for the ranks. SRCC of few units is biased towards zero,
    much so near 1: its ends are turned by the mean that it has in samples of n into the SRCC of the population. What a
    perfect order leaves possible is ``order_bound``.

    Args:
        value: r.
        count: Clips or systems n that it is over.
        metric: ``LCC``, ``SRCC`` or ``KTAU``; there is none of another metric.
        confidence: Share of intervals that are to hold the true value.

    Returns:
        NaN below 6 units, and where the value is none.

    Example:
        >>> [round(end, 3) for end in interval_from_size(0.991, 30, "SRCC")]
        [0.985, 0.999]
        >>> [round(end, 2) for end in interval_from_size(0.896, 36, "SRCC")]
        [0.79, 0.96]

    Reference:
        D. G. Bonett and T. A. Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
        correlations", Psychometrika 65, 2000. P. A. P. Moran, "Rank correlation and product-moment correlation",
        Biometrika 35, 1948: the mean. Differs: without that mean and Student's t the intervals of Bonett and Wright
        hold .99 in 87 of 100 samples of 30 (``benchmarks/published_intervals.py``).
    """
    if metric not in CORRELATIONS or not -1 <= value <= 1 or too_few(count, "units"):
        return NO_INTERVAL
    if metric != "LCC" and abs(value) >= 1 - half_step(count, metric):
        bound = order_bound(count, metric)
        return Interval(bound, 1.0) if value > 0 else Interval(-1.0, -bound)
    from scipy.special import ndtri, stdtrit

    share = (1 + confidence) / 2
    freedom = count - (4 if metric == "KTAU" else 3)
    variance = {"LCC": 1.0, "SRCC": 1 + value**2 / 2, "KTAU": 0.437}[metric] / freedom
    half = float(ndtri(share) if metric == "LCC" else stdtrit(freedom, share)) * math.sqrt(variance)
    centre = math.atanh(min(max(value, -1 + 1e-12), 1 - 1e-12))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Interval(_unbiased(low, count), _unbiased(high, count)) if metric == "SRCC" else Interval(low, high)


def _unbiased(mean: float, count: int) -> float:
    """Return the SRCC of the bivariate normal whose samples of n have this one on average, by bisection."""
    low, high = -1.0, 1.0
    for _ in range(_STEPS):
        rho = (low + high) / 2
        of_rho = 6 / (math.pi * (count + 1)) * (math.asin(rho) + (count - 2) * math.asin(rho / 2))
        low, high = (rho, high) if of_rho < mean else (low, rho)
    return 6 / math.pi * math.asin((low + high) / 4)
