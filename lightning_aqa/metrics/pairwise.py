"""Accuracy on pairs of clips and on the best systems, and correlations inside one system or prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import ktau, lcc, srcc

Array = NDArray[np.float64]
GAPS = (0.0, 0.25, 0.5, 1.0, 2.0, math.inf)
_BLOCK = 512


class PairAccuracy(NamedTuple):
    """Share of pairs of clips that are put in the right order.

    Args:
        low: Smallest gap of their ratings, exclusive, in score points.
        high: Largest gap, inclusive.
        pairs: How many pairs have such a gap.
        accuracy: Share of them in the right order, equal predictions counted half; NaN without pairs.
    """

    low: float
    high: float
    pairs: int
    accuracy: float


class Within(NamedTuple):
    """Correlations inside groups of clips.

    Args:
        lcc: Mean over the groups, weighted by their clips.
        srcc: The same.
        ktau: The same.
        pooled_lcc: LCC of all clips after each group's mean is subtracted from both sides.
        groups: Groups that count: of three rated clips or more, not constant.
        n: Clips in them.
    """

    lcc: float
    srcc: float
    ktau: float
    pooled_lcc: float
    groups: int
    n: int


def accuracy_by_gap(
    predictions: Array, targets: Array, groups: Sequence[str] | None = None, *, edges: Sequence[float] = GAPS
) -> list[PairAccuracy]:
    """Compute the share of pairs in the right order by the gap of their ratings; equal ratings are no pair.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``, NaN where not rated.
        groups: Compare only clips of the same group, such as the same system or prompt; empty is no group. None
            compares all.
        edges: Borders of the gaps, in score points, growing.

    Returns:
        One row per gap.

    Example:
        >>> accuracy_by_gap(np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 4.0]), edges=[0, 1, math.inf])
        [PairAccuracy(low=0, high=1, pairs=1, accuracy=1.0), PairAccuracy(low=1, high=inf, pairs=2, accuracy=0.5)]
    """
    pairs_G, right_G = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    rated_N = np.isfinite(targets) & np.isfinite(predictions)
    for rows in _rows_of(groups, rated_N):
        p_N, y_N = np.asarray(predictions)[rows], np.asarray(targets)[rows]
        for start in range(0, len(rows), _BLOCK):
            upper = np.arange(len(rows)) > np.arange(start, min(start + _BLOCK, len(rows)))[:, None]
            gap = np.round(y_N - y_N[start : start + _BLOCK, None], 9)[upper]
            right = (1 + np.sign(gap) * np.sign(p_N - p_N[start : start + _BLOCK, None])[upper]) / 2
            position = np.searchsorted(np.asarray(edges, dtype=np.float64), np.abs(gap), side="left") - 1
            inside = (position >= 0) & (position < len(pairs_G)) & (gap != 0)
            pairs_G += np.bincount(position[inside], minlength=len(pairs_G))
            right_G += np.bincount(position[inside], weights=right[inside], minlength=len(pairs_G))
    accuracy_G = np.divide(right_G, pairs_G, out=np.full(len(pairs_G), math.nan), where=pairs_G > 0)
    return [
        PairAccuracy(low, high, int(pairs), float(accuracy))
        for low, high, pairs, accuracy in zip(edges[:-1], edges[1:], pairs_G, accuracy_G, strict=True)
    ]


def top_k_accuracy(predictions: Array, targets: Array, k: int) -> float:
    """Compute the share of the k best that the prediction has among its k best; ties at the border share their places.

    Args:
        predictions: Of systems (or clips), shape ``(S,)``.
        targets: Shape ``(S,)``.
        k: How many.

    Returns:
        Between 0 and 1; NaN with fewer than k values or one that is not finite.

    Example:
        >>> top_k_accuracy(np.array([3.0, 2.0, 1.0]), np.array([3.0, 1.0, 2.0]), 2)
        0.5
    """
    if not 0 < k <= len(targets) or not (np.isfinite(predictions).all() and np.isfinite(targets).all()):
        return math.nan
    return float((_in_top(np.asarray(predictions), k) * _in_top(np.asarray(targets), k)).sum() / k)


def top_tier_accuracy(predictions: Array, targets: Array, threshold: float) -> float:
    """Compute how well those at or above a score are found, as the F1 of precision and recall.

    Args:
        predictions: Shape ``(N,)``, in score points.
        targets: Shape ``(N,)``, in score points; NaN where not rated.
        threshold: Lowest score of the top tier.

    Returns:
        Between 0 and 1; NaN where neither predictions nor ratings reach the threshold.

    Example:
        >>> top_tier_accuracy(np.array([4.5, 4.0, 3.0]), np.array([4.2, 3.0, 4.1]), 4.0)
        0.5

    Reference:
        Metric of the ICASSP 2026 ASAE challenge (arXiv 2601.07237), which calls it an accuracy; the formula is that of
        the code of HEAR (arXiv 2511.18869).
    """
    rated = np.isfinite(targets)
    predicted, true = np.asarray(predictions)[rated] >= threshold, np.asarray(targets)[rated] >= threshold
    both = predicted.sum() + true.sum()
    return float(2 * (predicted & true).sum() / both) if both else math.nan


def _in_top(values: Array, k: int) -> Array:
    """Return how much of each value is among the k highest; values tied at the border share what is left."""
    border = np.sort(values)[-k]
    above, at = values > border, values == border
    return np.asarray(above + at * (k - above.sum()) / at.sum(), dtype=np.float64)


def within_groups(predictions: Array, targets: Array, groups: Sequence[str]) -> Within:
    """Compute correlations inside groups: within a system, or among what different systems made of one prompt.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``, NaN where not rated.
        groups: System or prompt of each clip; clips with an empty one do not count.
    """
    sizes, values, centred = [], [], []
    for rows in _rows_of(groups, np.isfinite(targets) & np.isfinite(predictions)):
        p_N, y_N = np.asarray(predictions)[rows], np.asarray(targets)[rows]
        if len(rows) >= 3 and np.ptp(p_N) > 0 and np.ptp(y_N) > 0:
            sizes.append(len(rows))
            values.append([lcc(p_N, y_N), srcc(p_N, y_N), ktau(p_N, y_N)])
            centred.append(np.stack([p_N - p_N.mean(), y_N - y_N.mean()]))
    if not sizes:
        return Within(math.nan, math.nan, math.nan, math.nan, 0, 0)
    means = np.average(values, axis=0, weights=sizes)
    pooled = np.concatenate(centred, axis=1)
    pooled_lcc = lcc(pooled[0], pooled[1])
    return Within(float(means[0]), float(means[1]), float(means[2]), pooled_lcc, len(sizes), sum(sizes))


def _rows_of(groups: Sequence[str] | None, kept_N: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    if groups is None:
        return [np.flatnonzero(kept_N)]
    names = np.array(groups, dtype=object)
    return [np.flatnonzero(kept_N & (names == name)) for name in sorted(set(groups) - {""})]
