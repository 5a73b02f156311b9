"""Weights of several predictors in their mean, chosen by predictions out of fold and judged on clips of other folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, np.inf)
"""Pull towards equal weights, by the mean variance between predictors; infinity is the plain mean."""
FEWEST_FOLDS = 3


def equal_weights(num_members: int, num_axes: int) -> Array:
    """Return the weights of the plain mean, shape ``(M, A)``."""
    return np.full((num_members, num_axes), 1 / num_members)


def ridge_weights(scores: Array, targets: Array, folds: Sequence[int]) -> Array:
    r"""Return the weights that predict best, pulled towards equal ones.

    With :math:`\bar p` the plain mean of M members, :math:`w = 1/M + \delta` where :math:`\delta` minimises
    :math:`\lVert y - \bar p - \sum_m \delta_m (p_m - \bar p) \rVert^2 + \lambda \lVert \delta \rVert^2`, so that
    weights add up to 1; those below 0 are set to 0. The strength is chosen by leaving out fold after fold.

    Args:
        scores: Predictions out of fold, shape ``(M, N, A)``.
        targets: Shape ``(N, A)``; NaN where not rated.
        folds: Fold of each clip.

    Returns:
        Shape ``(M, A)``; equal weights on an axis with ratings in fewer than two folds.
    """
    weights_MA = equal_weights(len(scores), targets.shape[1])
    fold_N = np.asarray(folds)
    for a in range(targets.shape[1]):
        rated = np.isfinite(targets[:, a])
        p_NM, y_N, own = scores[:, rated, a].T, targets[rated, a], fold_N[rated]
        if len(np.unique(own)) < 2 or not np.isfinite(p_NM).all():
            continue
        errors = [_left_out_error(p_NM, y_N, own, strength) for strength in STRENGTHS]
        best = len(errors) - 1 - int(np.argmin(errors[::-1]))  # of equals the plainest
        weights_MA[:, a] = _weights(p_NM, y_N, STRENGTHS[best])
    return weights_MA


def _left_out_error(p_NM: Array, y_N: Array, folds: NDArray[np.intp], strength: float) -> float:
    parts = [(folds != fold, folds == fold) for fold in np.unique(folds)]
    errors = [y_N[out] - p_NM[out] @ _weights(p_NM[rest], y_N[rest], strength) for rest, out in parts]
    return float((np.concatenate(errors) ** 2).mean())


def _weights(p_NM: Array, y_N: Array, strength: float) -> Array:
    mean_N, num_members = p_NM.mean(axis=1), p_NM.shape[1]
    d_NM = p_NM - mean_N[:, None]
    gram_MM = d_NM.T @ d_NM
    size = float(np.trace(gram_MM)) / num_members
    equal_M = np.full(num_members, 1 / num_members)
    if not np.isfinite(strength) or size <= 1e-12 * len(y_N):
        return equal_M
    delta_M = np.linalg.solve(gram_MM + strength * size * np.eye(num_members), d_NM.T @ (y_N - mean_N))
    kept_M = (equal_M + delta_M).clip(min=0)
    weights_M: Array = kept_M / kept_M.sum()
    return weights_M


def combined(scores: Array, weights: Array) -> Array:
    """Return the weighted sum over members, shape ``(N, A)``.

    Example:
        >>> combined(np.array([[[1.0]], [[4.0]]]), np.array([[0.25], [0.75]]))
        array([[3.25]])
    """
    total: Array = np.einsum("mna,ma->na", scores, weights)
    return total


def held_out_ridge(scores: Array, targets: Array, folds: Sequence[int]) -> Array:
    """Return the scores of a ridge ensemble whose weights, and their strength, each fold's clips had no part in.

    Args:
        scores: Predictions out of fold, shape ``(M, N, A)``.
        targets: Shape ``(N, A)``; NaN where not rated.
        folds: Fold of each clip, at least three.

    Returns:
        Shape ``(N, A)``.

    Reference:
        D. Wolpert, "Stacked generalization", Neural Networks 5, 1992; L. Breiman, "Stacked regressions", Machine
        Learning 24, 1996.
    """
    fold_N, found = np.asarray(folds), np.empty(scores.shape[1:])
    for fold in np.unique(fold_N):
        rest, out = fold_N != fold, fold_N == fold
        found[out] = combined(scores[:, out], ridge_weights(scores[:, rest], targets[rest], fold_N[rest]))
    return found
