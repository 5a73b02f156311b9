"""Are the scores right as numbers: bias, slope, error by score range, and whether predicted deviations hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NOMINAL = (0.68, 0.95)
Z_EDGES = tuple(float(z) for z in np.arange(-4, 4.5, 0.5))


class RangeError(NamedTuple):
    """The error of clips whose rating is in one range.

    Args:
        low: Lowest rating, inclusive, in score points.
        high: Highest rating, exclusive (inclusive in the last range).
        n: Clips.
        bias: Mean of predicted minus rated.
        mae: Mean of the absolute error.
        rmse: Root of the mean squared error.
    """

    low: float
    high: float
    n: int
    bias: float
    mae: float
    rmse: float


class Calibration(NamedTuple):
    """Agreement of scores with ratings as numbers.

    Args:
        n: Rated clips.
        bias: Mean of predicted minus rated, in score points.
        slope: Of the line that gives the rating from the prediction; 1 where predictions are as spread as they should
            be, below 1 where they are too spread.
        intercept: Of that line, in score points.
        ranges: The error by the range of the rating. Low ratings are over- and high ones under-rated by any predictor
            that is not perfect; compare with the slope before calling it a fault.
    """

    n: int
    bias: float
    slope: float
    intercept: float
    ranges: list[RangeError]


class Coverage(NamedTuple):
    """Whether predicted deviations hold, with z = (rated - predicted) / deviation.

    Args:
        n: Clips with a rating and a deviation.
        covered: Share of ratings inside the central interval of each nominal share, ``{0.68: ..., 0.95: ...}``.
        z_mean: Mean of z, 0 where scores have no bias.
        z_deviation: Standard deviation of z: 1 where deviations are right, above 1 where they are too small.
        z_edges: Borders of the histogram of z.
        z_counts: Clips between them; those beyond are in the outermost.
        deviation_srcc: SRCC of the deviation and the absolute error; NaN where one of them is constant.
    """

    n: int
    covered: dict[float, float]
    z_mean: float
    z_deviation: float
    z_edges: list[float]
    z_counts: list[int]
    deviation_srcc: float


def calibration(predictions: Array, targets: Array, *, edges: Sequence[float] | None = None) -> Calibration:
    """Compute bias, slope and the error by score range.

    Args:
        predictions: Shape ``(N,)``, in score points.
        targets: Shape ``(N,)``, in score points, NaN where not rated.
        edges: Borders of the ranges of the rating, growing; None is one range per score point.

    Returns:
        NaN where a number is undefined: a slope needs predictions that differ.

    Example:
        >>> found = calibration(np.array([2.0, 3.0, 4.0]), np.array([1.0, 3.0, 5.0]))
        >>> found.bias, found.slope, found.intercept
        (0.0, 2.0, -3.0)
    """
    rated_N = np.isfinite(targets) & np.isfinite(predictions)
    p_N, y_N = np.asarray(predictions, np.float64)[rated_N], np.asarray(targets, np.float64)[rated_N]
    if not len(p_N):
        return Calibration(0, math.nan, math.nan, math.nan, [])
    centred = p_N - p_N.mean()
    spread = float(centred @ centred) if np.ptp(p_N) > 0 else 0.0
    slope = float(centred @ (y_N - y_N.mean())) / spread if spread > 0 else math.nan
    if edges is None:
        edges = np.arange(math.floor(y_N.min()), math.floor(y_N.max()) + 2, dtype=np.float64).tolist()
    position = np.searchsorted(np.asarray(edges, np.float64), y_N, side="right") - 1
    position[y_N == edges[-1]] = len(edges) - 2
    ranges = [_range(edges[i], edges[i + 1], (p_N - y_N)[position == i]) for i in range(len(edges) - 1)]
    return Calibration(len(p_N), float((p_N - y_N).mean()), slope, float(y_N.mean() - slope * p_N.mean()), ranges)


def _range(low: float, high: float, error_N: Array) -> RangeError:
    if not len(error_N):
        return RangeError(low, high, 0, math.nan, math.nan, math.nan)
    numbers = error_N.mean(), np.abs(error_N).mean(), math.sqrt((error_N**2).mean())
    return RangeError(low, high, len(error_N), *map(float, numbers))


def coverage(
    predictions: Array,
    targets: Array,
    deviations: Array,
    *,
    nominal: Sequence[float] = NOMINAL,
    z_edges: Sequence[float] = Z_EDGES,
) -> Coverage:
    """Compute how often ratings fall inside what the predicted deviation promises, were errors Gaussian.

    Args:
        predictions: Shape ``(N,)``, in score points.
        targets: Shape ``(N,)``, in score points, NaN where not rated.
        deviations: Predicted standard deviations, shape ``(N,)``, in score points, NaN where there is none.
        nominal: Shares of the central intervals.
        z_edges: Borders of the histogram of z.

    Returns:
        NaN and zeros where no clip has both. A deviation of zero covers an exact hit only.
    """
    from scipy.special import ndtri

    there_N = np.isfinite(targets) & np.isfinite(predictions) & np.isfinite(deviations)
    error_N, deviation_N = (targets - predictions)[there_N], deviations[there_N]
    if not len(error_N):
        nothing = dict.fromkeys(nominal, math.nan)
        return Coverage(0, nothing, math.nan, math.nan, list(z_edges), [0] * (len(z_edges) - 1), math.nan)
    covered = {share: float(np.mean(np.abs(error_N) <= ndtri((1 + share) / 2) * deviation_N)) for share in nominal}
    z_N = error_N[deviation_N > 0] / deviation_N[deviation_N > 0]
    counts, _ = np.histogram(np.clip(z_N, z_edges[0], z_edges[-1]), bins=np.asarray(z_edges, np.float64))
    return Coverage(
        n=len(error_N),
        covered=covered,
        z_mean=float(z_N.mean()) if len(z_N) else math.nan,
        z_deviation=float(z_N.std(ddof=1)) if len(z_N) > 1 else math.nan,
        z_edges=list(z_edges),
        z_counts=counts.tolist(),
        deviation_srcc=_rank_correlation(deviation_N, np.abs(error_N)),
    )


def _rank_correlation(deviation_N: Array, error_N: Array) -> float:
    from lightning_aqa.metrics.correlation import srcc

    return srcc(deviation_N, error_N)
