"""Means over the clips of a system, the same for any order of the clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


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
