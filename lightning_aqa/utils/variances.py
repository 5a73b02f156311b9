"""Variances of many members, each drawn towards all of them as far as they are alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST_STRENGTH = 1e4


def shrunken_variances(sums: Array, freedom: Array, least: float) -> Array:
    """Return each member's variance, drawn towards that of all as far as members are alike.

    Args:
        sums: Sum of squares of each of M members, shape ``(M,)``.
        freedom: Degrees of freedom of each, shape ``(M,)``.
        least: Variance that none falls below.

    Returns:
        Variances, shape ``(M,)``.

    Example:
        >>> shrunken_variances(np.array([8.0, 12.0, 0.0]), np.array([10.0, 10.0, 0.0]), 1e-6).round(2)  # like by chance
        array([1., 1., 1.])

    Reference:
        Smyth, "Linear models and empirical Bayes methods", SAGMB 2004: the prior from the spread of log variances.
    """
    from scipy.special import digamma, polygamma

    pooled = max(float(sums.sum() / max(freedom.sum(), 1e-9)), least)
    told = freedom >= 2
    strength, prior = LARGEST_STRENGTH, pooled
    if told.sum() >= 2:
        half = freedom[told] / 2
        logs = np.log(np.maximum(sums[told] / freedom[told], least)) - digamma(half) + np.log(half)
        excess = float(logs.var(ddof=1) - polygamma(1, half).mean())
        if excess > 2 / LARGEST_STRENGTH:
            x = (1 + math.sqrt(1 + 2 * excess)) / (2 * excess)  # trigamma(x) is close to 1 / x + 1 / (2 x^2)
            strength, prior = 2 * x, math.exp(logs.mean() + digamma(x) - math.log(x))
    return np.maximum((sums + strength * prior) / (freedom + strength), least)
