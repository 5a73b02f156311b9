"""Agreement of predictions with targets: error and correlations in float64, as scipy defines them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

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


def exact_mean(values: NDArray[np.float64]) -> float:
    """Average so that means which tie in decimal arithmetic tie here, in whatever order their values come.

    The sum is exact (``math.fsum``); divided by the number of values, it is rounded to 12 decimals.

    Args:
        values: Shape ``(N,)``.

    Returns:
        The mean; NaN for no values or one that is not finite.

    Example:
        >>> exact_mean(np.array([0.1, 0.2, 0.3]))
        0.2
    """
    if len(values) == 0 or not np.isfinite(values).all():
        return math.nan
    return round(math.fsum(values) / len(values), 12)


def rows_of_systems(systems: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each named system, in the order of the names.

    Example:
        >>> rows_of_systems(["b", "a", "", "b"])
        {'a': [1], 'b': [0, 3]}
    """
    rows: dict[str, list[int]] = {name: [] for name in sorted(set(systems) - {""})}
    for row, name in enumerate(systems):
        if name:
            rows[name].append(row)
    return rows


def system_means(
    values: NDArray[np.float64], kept: NDArray[np.bool_], rows: Mapping[str, Sequence[int]]
) -> NDArray[np.float64]:
    """Average the kept values of each system with ``exact_mean``.

    Args:
        values: Shape ``(N, A)``.
        kept: True where a value counts, shape ``(N, A)``.
        rows: Rows of each of S systems.

    Returns:
        Means in the order of ``rows``, shape ``(S, A)``; NaN where none is kept.
    """
    means = [
        [exact_mean(values_R[kept_R]) for values_R, kept_R in zip(values[of].T, kept[of].T, strict=True)]
        for of in rows.values()
    ]
    return np.array(means, dtype=np.float64)


def sorted_rows(ids: Sequence[str]) -> NDArray[np.intp]:
    """Return the rows in the order of their ids."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
