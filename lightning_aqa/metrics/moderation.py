"""Variances of groups that are known from few values each, drawn towards what the groups have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST_GROUPS = 3
_SMALLEST = 1e-4
"""Of the typical variance: what is below is taken for that, since few ratings on a coarse scale are often all equal."""


def moderated(variances: Array, freedom: Array) -> tuple[Array, Array]:
    r"""Return variances and their degrees of freedom, those of each group added to those of a common prior.

    Variances of groups are taken for draws from a scaled inverse chi-squared distribution, whose scale :math:`s_0^2`
    and degrees of freedom :math:`d_0` are found from their logarithms: :math:`(d_0 s_0^2 + d s^2) / (d_0 + d)`. Groups
    that are alike share one variance; of groups that are not, each keeps its own.

    Args:
        variances: Of each group; NaN where it has too few values.
        freedom: Degrees of freedom of each; not above 0 where it has too few values.

    Returns:
        The same without NaN, where three groups have a variance; otherwise as they are, with NaN.

    Reference:
        Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray
        experiments", Statistical Applications in Genetics and Molecular Biology 3, 2004.

    Example:
        >>> moderated(np.array([1.0, 1.0, 1.0, np.nan]), np.array([4.0, 4.0, 4.0, 0.0]))
        (array([1., 1., 1., 1.]), array([12., 12., 12., 12.]))
    """
    known = np.isfinite(variances) & (freedom > 0)
    s, d = variances[known], freedom[known]
    if known.sum() < FEWEST_GROUPS or not s.any():
        return np.where(known, variances, np.nan), np.where(known, freedom, np.nan)
    pooled, total = float(d @ s / d.sum()), float(d.sum())
    scale, prior = _prior(np.maximum(s, _SMALLEST * pooled), d, pooled)
    own = np.where(known, freedom, 0.0)
    with np.errstate(invalid="ignore"):
        mixed = (prior * scale + own * np.where(known, variances, 0.0)) / (prior + own)
    return (np.full(len(own), pooled) if np.isinf(prior) else mixed), np.minimum(prior + own, total)


def _prior(s: Array, d: Array, pooled: float) -> tuple[float, float]:
    """Return scale and degrees of freedom of the prior; endless ones where groups differ by chance alone."""
    from scipy.special import digamma, polygamma

    logs = np.log(s) - digamma(d / 2) + np.log(d / 2)
    excess = float(np.var(logs, ddof=1) - polygamma(1, d / 2).mean())
    if excess <= 0:
        return pooled, np.inf
    half = _inverse_trigamma(excess)
    return float(np.exp(logs.mean() + digamma(half) - np.log(half))), 2 * half


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = value, by Newton's method on its reciprocal."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
