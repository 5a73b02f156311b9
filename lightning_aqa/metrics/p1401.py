"""Errors as ITU-T P.1401 has them: after a mapping, with the uncertainty of the ratings, and the share of outliers."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mapping = Literal["none", "linear", "cubic"]
_GRID = 201


class MappedErrors(NamedTuple):
    """Errors of N clips after a mapping.

    Args:
        n: Clips that count.
        rmse: Root of the squared errors over ``n - d``, in score points, d the degrees of freedom of the mapping.
        rmse_star: The same of what of each error lies outside the rating's 95 % interval.
        outlier_ratio: Share of clips whose error is larger than the half width of that interval.
    """

    n: int
    rmse: float
    rmse_star: float
    outlier_ratio: float


def half_widths(ratings: Array) -> Array:
    r"""Compute half the 95 % interval of each mean rating, :math:`t_{.975, m - 1}\, s / \sqrt m`.

    Args:
        ratings: Of single listeners, shape ``(N, K)``, NaN where there is none.

    Returns:
        Shape ``(N,)``, in score points; NaN with fewer than two ratings.

    Example:
        >>> half_widths(np.array([[1.0, 2.0, 3.0], [4.0, np.nan, np.nan]])).round(3)
        array([2.484,   nan])

    Reference:
        ITU-T P.1401 (01/2020), clause 7.
    """
    from scipy.special import stdtrit

    there_NK = np.isfinite(ratings)
    m_N = there_NK.sum(1)
    mean_N = np.where(there_NK, ratings, 0.0).sum(1) / np.maximum(m_N, 1)
    squares_N = (np.where(there_NK, ratings - mean_N[:, None], 0.0) ** 2).sum(1)
    found = np.full(len(m_N), math.nan)
    some = m_N >= 2
    found[some] = stdtrit(m_N[some] - 1, 0.975) * np.sqrt(squares_N[some] / (m_N[some] - 1) / m_N[some])
    return found


def map_scores(predictions: Array, targets: Array, mapping: Mapping) -> Array:
    """Map predictions onto the ratings by least squares: not at all, by a line, or by a cubic that never falls.

    Args:
        predictions: Shape ``(N,)``, in any unit, finite.
        targets: Shape ``(N,)``, in score points, finite.
        mapping: ``none``, ``linear`` (of slope zero or more) or ``cubic``, which takes the line where predictions have
            fewer than four values.

    Returns:
        Shape ``(N,)``, in score points.

    Raises:
        ValueError: If there is no such mapping.

    Example:
        >>> map_scores(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), "linear")
        array([1., 3., 5.])
    """
    if mapping not in ("none", "linear", "cubic"):
        raise ValueError(f"mapping must be none, linear or cubic, got {mapping!r}.")
    if mapping == "none":
        return np.asarray(predictions, np.float64)
    low, wide = float(predictions.min()), float(np.ptp(predictions))
    if wide == 0:
        return np.full(len(targets), float(np.mean(targets)))
    x = (predictions - low) / wide
    if mapping == "cubic" and len(np.unique(x)) >= 4:
        return _rising_cubic(x, targets)
    slope = max(float(np.cov(x, targets, bias=True)[0, 1] / x.var()), 0.0)
    return np.asarray(targets.mean() + slope * (x - x.mean()))


def _rising_cubic(x: Array, y: Array) -> Array:
    """Fit a cubic on 0 to 1; where the free one falls somewhere, the best of those that do not."""
    powers = x[:, None] ** np.arange(4)
    beta = np.linalg.lstsq(powers, y, rcond=None)[0]
    grid = np.linspace(0, 1, _GRID)
    slopes = np.stack([np.zeros(_GRID), np.ones(_GRID), 2 * grid, 3 * grid**2], axis=1)
    if (slopes @ beta).min() >= -1e-9:
        return np.asarray(powers @ beta)
    from scipy.optimize import minimize

    gram, cross, scale = powers.T @ powers / len(y), powers.T @ y / len(y), max(float(y.var()), 1e-12)
    solve: Any = minimize  # whose stubs do not know the constraints of SLSQP
    fit = solve(
        lambda b: (b @ gram @ b - 2 * b @ cross) / scale,
        np.array([y.mean(), 0.0, 0.0, 0.0]),
        jac=lambda b: 2 * (gram @ b - cross) / scale,
        constraints={"type": "ineq", "fun": lambda b: slopes @ b, "jac": lambda b: slopes},
        method="SLSQP",
        options={"maxiter": 200, "ftol": 1e-12},
    )
    return np.asarray(powers @ fit.x)


DEGREES: dict[Mapping, int] = {"none": 0, "linear": 2, "cubic": 4}


def mapped_errors(
    predictions: Array, targets: Array, half_width: Array | None = None, *, mapping: Mapping = "none"
) -> MappedErrors:
    r"""Compute RMSE, epsilon-insensitive RMSE* and outlier ratio after a mapping.

    .. math:: P_i = \max(0, |x_i - y_i| - c_i), \qquad RMSE^* = \sqrt{\frac{1}{N - d} \sum_i P_i^2}

    Args:
        predictions: Shape ``(N,)``, in score points.
        targets: Mean opinion scores, shape ``(N,)``, in score points; NaN where not rated.
        half_width: Half of each rating's 95 % interval c, shape ``(N,)``, in score points; NaN where it is not known,
            and None where it is of none.
        mapping: Fitted on these clips; d is 0, 2 or 4.

    Returns:
        RMSE* and outlier ratio of the clips with a half width alone. NaN where no more clips than d are left, or a
        prediction is not finite.

    Example:
        >>> mapped_errors(np.array([1.0, 4.0]), np.array([2.0, 4.0]), np.array([0.5, 0.5]))
        MappedErrors(n=2, rmse=0.7071067811865476, rmse_star=0.3535533905932738, outlier_ratio=0.5)

    Reference:
        ITU-T P.1401 (01/2020), clauses 7.5 to 7.7 (statistical evaluation metrics) and annex on RMSE*.

    Differs:
        P.1401 divides by N - d with d the coefficients of the mapping, 1 without any; here none is 0, as of MSE.
    """
    rated_N = np.isfinite(targets)
    if not rated_N.any() or not np.isfinite(np.asarray(predictions)[rated_N]).all():
        return MappedErrors(int(rated_N.sum()), math.nan, math.nan, math.nan)
    y = np.asarray(targets, np.float64)[rated_N]
    error = np.abs(map_scores(np.asarray(predictions, np.float64)[rated_N], y, mapping) - y)
    width = np.full(len(y), math.nan) if half_width is None else np.asarray(half_width, np.float64)[rated_N]
    known = np.isfinite(width)
    beyond = np.maximum(0.0, error[known] - width[known])
    ratio = float(np.mean(beyond > 0)) if known.any() else math.nan
    d = DEGREES[mapping]
    return MappedErrors(len(y), _root(error, d), _root(beyond, d), ratio)


def _root(errors: Array, degrees: int) -> float:
    return math.sqrt(float(errors @ errors) / (len(errors) - degrees)) if len(errors) > degrees else math.nan
