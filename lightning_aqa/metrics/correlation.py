"""How well predictions agree with targets: error and correlations in float64, as scipy defines them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Values = Tensor | NDArray[np.generic] | Sequence[float]


def mse(predictions: Values, targets: Values) -> float:
    r"""Average the squared error, :math:`\frac{1}{N} \sum_n (p_n - y_n)^2`.

    Args:
        predictions: p, shape ``(N,)``.
        targets: y, shape ``(N,)``, in the same unit.

    Returns:
        The mean in squared units; NaN for N = 0.

    Raises:
        ValueError: If the two are not finite, or not one-dimensional and of one length.

    Example:
        >>> mse([1.0, 2.0], [1.0, 4.0])
        2.0
    """
    p_N, y_N = _as_arrays(predictions, targets)
    return float(np.mean((p_N - y_N) ** 2)) if len(p_N) else math.nan


def lcc(predictions: Values, targets: Values) -> float:
    """Compute Pearson's linear correlation coefficient.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``.

    Returns:
        Between -1 and 1; NaN for N < 2 or where one side is constant.

    Raises:
        ValueError: If the two are not finite, or not one-dimensional and of one length.

    Example:
        >>> round(lcc([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), 4)
        1.0
    """
    p_N, y_N = _as_arrays(predictions, targets)
    if _is_undefined(p_N, y_N):
        return math.nan
    from scipy.stats import pearsonr

    with warnings.catch_warnings():
        # Nearly constant predictions are common early in training; the value is the best there is.
        warnings.simplefilter("ignore")
        return float(pearsonr(p_N, y_N).statistic)


def srcc(predictions: Values, targets: Values) -> float:
    """Compute Spearman's rank correlation coefficient, with average ranks for ties.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``.

    Returns:
        Between -1 and 1; NaN for N < 2 or where one side is constant.

    Raises:
        ValueError: If the two are not finite, or not one-dimensional and of one length.

    Example:
        >>> round(srcc([1.0, 2.0, 30.0], [3.0, 4.0, 5.0]), 4)
        1.0
    """
    p_N, y_N = _as_arrays(predictions, targets)
    if _is_undefined(p_N, y_N):
        return math.nan
    from scipy.stats import rankdata

    # Pearson of the ranks is the definition, without the p-value that spearmanr adds.
    return lcc(rankdata(p_N), rankdata(y_N))


def ktau(predictions: Values, targets: Values) -> float:
    """Compute Kendall's rank correlation coefficient, variant tau-b.

    Args:
        predictions: Shape ``(N,)``.
        targets: Shape ``(N,)``.

    Returns:
        Between -1 and 1; NaN for N < 2 or where one side is constant.

    Raises:
        ValueError: If the two are not finite, or not one-dimensional and of one length.

    Example:
        >>> round(ktau([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]), 4)
        0.3333
    """
    p_N, y_N = _as_arrays(predictions, targets)
    if _is_undefined(p_N, y_N):
        return math.nan
    from scipy.stats import kendalltau

    return float(kendalltau(p_N, y_N).statistic)


def _as_arrays(predictions: Values, targets: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p_N, y_N = _as_array(predictions), _as_array(targets)
    if p_N.ndim != 1 or p_N.shape != y_N.shape:
        raise ValueError(f"predictions and targets must both have shape (N,), got {p_N.shape} and {y_N.shape}.")
    for name, values_N in (("predictions", p_N), ("targets", y_N)):
        bad = int(np.count_nonzero(~np.isfinite(values_N)))
        if bad:
            raise ValueError(f"{name} must be finite, got {bad} of {len(values_N)} that are not; drop them first.")
    return p_N, y_N


def _as_array(values: Values) -> NDArray[np.float64]:
    plain = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    return np.asarray(plain, dtype=np.float64)


def _is_undefined(p_N: NDArray[np.float64], y_N: NDArray[np.float64]) -> bool:
    return len(p_N) < 2 or bool(np.all(p_N == p_N[0]) or np.all(y_N == y_N[0]))
