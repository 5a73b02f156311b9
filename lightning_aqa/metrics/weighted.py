"""The four metrics of many weighted samples at once: column r of the counts says how often sample r holds each row.

A sample with a unit left out or doubled is the same rows with other counts, so none has to be sorted again. N rows, R
samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array, Array, Array], Array]
_BLOCK = 512


def weighted_mse(predictions: Array, targets: Array, counts: Array) -> Array:
    r"""Average the squared error of each sample, :math:`\sum_n w_n (p_n - y_n)^2 / \sum_n w_n`.

    Args:
        predictions: p, shape ``(N,)``.
        targets: y, shape ``(N,)``.
        counts: w, how often each sample holds each row, shape ``(N, R)``.

    Returns:
        Shape ``(R,)``; NaN for an empty sample.

    Example:
        >>> weighted_mse(np.array([1.0, 2.0]), np.array([1.0, 4.0]), np.array([[1.0, 0.0], [1.0, 2.0]]))
        array([2., 4.])
    """
    return _divide((predictions - targets) ** 2 @ counts, counts.sum(0))


def weighted_lcc(predictions: Array, targets: Array, counts: Array) -> Array:
    """Compute Pearson's correlation of each sample from its weighted moments.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``.
        counts: How often each sample holds each row, shape ``(N, R)``.

    Returns:
        Shape ``(R,)``; NaN where a sample is empty or one side of it is constant.
    """
    if not len(predictions):
        return np.full(counts.shape[1], np.nan)
    p_N, y_N = predictions - predictions.mean(), targets - targets.mean()
    moments_5R = np.stack([p_N, y_N, p_N * p_N, y_N * y_N, p_N * y_N]) @ counts
    p, y, pp, yy, py = _divide(moments_5R, counts.sum(0))
    return _correlation(py - p * y, _variance(pp, p), _variance(yy, y))


def weighted_srcc(predictions: Array, targets: Array, counts: Array) -> Array:
    """Compute Spearman's correlation of each sample, with average ranks for ties, from cumulated counts.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``.
        counts: How often each sample holds each row, shape ``(N, R)``.

    Returns:
        Shape ``(R,)``; NaN where a sample is empty or one side of it is constant.
    """
    if not len(predictions):
        return np.full(counts.shape[1], np.nan)
    p_NR, p_R = _centred_ranks(predictions, counts)
    y_NR, y_R = _centred_ranks(targets, counts)
    p_NR *= counts
    return _correlation(np.einsum("nr,nr->r", p_NR, y_NR), p_R, y_R)


def weighted_ktau(predictions: Array, targets: Array, counts: Array) -> Array:
    r"""Compute Kendall's tau-b of each sample.

    With :math:`S_{ij} = \mathrm{sign}(p_i - p_j)\,\mathrm{sign}(y_i - y_j)` the numerator of a sample is
    :math:`w^\top S w`, so many samples are one matrix product. It costs :math:`N^2 R` and blocks of S are built on the
    way; counts are whole numbers, which makes float32 exact.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``.
        counts: How often each sample holds each row, shape ``(N, R)``.

    Returns:
        Shape ``(R,)``; NaN where a sample is empty or one side of it is constant.
    """
    p_N, y_N = _codes(predictions), _codes(targets)
    w_NR = counts.astype(np.float32)
    total_R = np.zeros(counts.shape[1])
    for start in range(0, len(p_N), _BLOCK):
        rows = slice(start, start + _BLOCK)
        signs = np.sign(p_N[rows, None] - p_N[start:]) * np.sign(y_N[rows, None] - y_N[start:])
        signs[:, : len(signs)] *= 0.5  # pairs inside the block come twice
        total_R += np.sum(w_NR[rows] * (signs @ w_NR[start:]), axis=0, dtype=np.float64)
    pairs_R = counts.sum(0) ** 2
    return _correlation(2 * total_R, *(pairs_R - _squared_ties(codes, counts) for codes in (p_N, y_N)))


STATISTICS: dict[str, Statistic] = {
    "MSE": weighted_mse,
    "LCC": weighted_lcc,
    "SRCC": weighted_srcc,
    "KTAU": weighted_ktau,
}


def means_of_systems(values: Array, systems: NDArray[np.intp], counts: Array) -> Array:
    """Average the rows of each system in each sample.

    Args:
        values: Shape ``(N,)``.
        systems: Number of the system of each row, 0 to S - 1, -1 for none, shape ``(N,)``.
        counts: How often each sample holds each row, shape ``(N, R)``.

    Returns:
        Shape ``(S, R)``, rounded to 12 decimals so that systems that tie in decimal arithmetic tie; NaN for a system
        without a row in a sample.
    """
    num_systems = int(systems.max(initial=-1)) + 1
    member_SN = (np.arange(num_systems)[:, None] == systems).astype(np.float64)
    return np.round(_divide((member_SN * values) @ counts, member_SN @ counts), 12)


def metrics_of_columns(predictions: Array, targets: Array, counts: Array, metrics: Sequence[str]) -> dict[str, Array]:
    """Compute metrics where the values differ between the samples too, as the means of resampled clips do.

    SRCC and KTAU come from the signs of all differences, which costs :math:`S^2 R`.

    Args:
        predictions: Shape ``(S, R)``.
        targets: Shape ``(S, R)``.
        counts: How often each sample holds each row, shape ``(S, R)``; where a value is NaN the row does not count.
        metrics: Which of MSE, LCC, SRCC and KTAU.

    Returns:
        Shape ``(R,)`` per metric.
    """
    there_SR = np.isfinite(predictions) & np.isfinite(targets)
    w_SR = np.where(there_SR, counts, 0.0)
    p_SR, y_SR = np.where(there_SR, predictions, 0.0), np.where(there_SR, targets, 0.0)
    found: dict[str, Array] = {}
    if "MSE" in metrics:
        found["MSE"] = _divide((w_SR * (p_SR - y_SR) ** 2).sum(0), w_SR.sum(0))
    if "LCC" in metrics:
        p_SR, y_SR = (x_SR - _divide((w_SR * x_SR).sum(0), w_SR.sum(0)) for x_SR in (p_SR, y_SR))
        squares = ((w_SR * a * b).sum(0) for a, b in ((p_SR, y_SR), (p_SR, p_SR), (y_SR, y_SR)))
        found["LCC"] = _correlation(*(np.where(np.abs(square) < 1e-20, 0.0, square) for square in squares))
    if "SRCC" in metrics or "KTAU" in metrics:
        found |= _rank_metrics(p_SR, y_SR, w_SR)
    return {metric: found[metric] for metric in metrics}


def _rank_metrics(p_SR: Array, y_SR: Array, w_SR: Array) -> dict[str, Array]:
    p_SSR, y_SSR = (np.sign(x_SR[:, None] - x_SR[None]) for x_SR in (p_SR, y_SR))
    # A centred rank is half the sum of the signs against all others.
    ranks = [np.einsum("ijr,jr->ir", signs, w_SR) for signs in (p_SSR, y_SSR)]
    products = [(w_SR * a * b).sum(0) for a, b in ((ranks[0], ranks[1]), (ranks[0], ranks[0]), (ranks[1], ranks[1]))]
    pairs = [(w_SR * np.einsum("ijr,ijr,jr->ir", a, b, w_SR)).sum(0) for a, b in _both_and_each(p_SSR, y_SSR)]
    return {"SRCC": _correlation(*products), "KTAU": _correlation(*pairs)}


def _both_and_each(a: Array, b: Array) -> tuple[tuple[Array, Array], ...]:
    return (a, b), (a, a), (b, b)


def _codes(values: Array) -> NDArray[np.float32]:
    """Number the different values in their order, so that signs of differences are exact in float32."""
    return np.unique(values, return_inverse=True)[1].astype(np.float32)


def _centred_ranks(values: Array, counts: Array) -> tuple[Array, Array]:
    """Return the average rank of each row in each sample, minus the mean rank, and the sum of their squares."""
    order = np.argsort(values, kind="stable")
    last_G = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    upper_GR = np.cumsum(counts[order], axis=0)[last_G]
    lower_GR = np.concatenate([np.zeros((1, counts.shape[1])), upper_GR[:-1]])
    ranks_GR = (upper_GR + lower_GR - upper_GR[-1]) / 2
    squares_R = np.einsum("gr,gr,gr->r", ranks_GR, ranks_GR, upper_GR - lower_GR)
    group_N = np.empty(len(values), dtype=np.intp)
    group_N[order] = np.repeat(np.arange(len(last_G)), np.diff(last_G, prepend=-1))
    return ranks_GR[group_N], squares_R


def _squared_ties(codes_N: NDArray[np.float32], counts: Array) -> Array:
    """Sum the squares of how many rows share each value, in each sample."""
    num_values = int(codes_N.max(initial=-1)) + 1
    if num_values <= _BLOCK:  # ratings: few values, many ties
        member_GN = (np.arange(num_values)[:, None] == codes_N).astype(np.float64)
        return np.asarray(((member_GN @ counts) ** 2).sum(0))
    order = np.argsort(codes_N, kind="stable")
    first_G = np.flatnonzero(np.diff(codes_N[order], prepend=-1.0))
    grouped_GR = counts if len(first_G) == len(order) else np.add.reduceat(counts[order], first_G, axis=0)
    return np.asarray(np.einsum("gr,gr->r", grouped_GR, grouped_GR))


def _variance(mean_square: Array, mean: Array) -> Array:
    """Subtract, giving an exact zero where all that is left is rounding."""
    variance = mean_square - mean * mean
    return np.where(variance <= 1e-12 * mean_square, 0.0, variance)


def _correlation(product: Array, p: Array, y: Array) -> Array:
    # One root per side: the product of two sums of squares of ranks could lose digits.
    return np.clip(_divide(product, np.sqrt(p) * np.sqrt(y)), -1.0, 1.0)


def _divide(value: Array, by: Array) -> Array:
    """Divide, NaN where the divisor is zero."""
    out = np.full(np.broadcast(value, by).shape, np.nan)
    np.divide(value, by, out=out, where=by > 0)
    return out
