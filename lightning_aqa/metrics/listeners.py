"""Ratings of single listeners as a table that keeps who rated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ListenerRatings:
    """Ratings of N clips on A axes, with the listener of each.

    Args:
        values: Shape ``(N, A, K)`` for at most K ratings per clip and axis, in score points; NaN at the end of shorter
            ones.
        listeners: The same shape, a number per listener; -1 where there is no rating.
        names: Name of each listener, by number.
    """

    values: NDArray[np.float64]
    listeners: NDArray[np.intp]
    names: Sequence[str] = ()

    def __getitem__(self, rows: Any) -> ListenerRatings:
        """Return some of the clips."""
        return ListenerRatings(self.values[rows], self.listeners[rows], self.names)

    def of_axis(self, a: int, ids: Sequence[str]) -> list[tuple[str, str, float]]:
        """List the ratings of an axis: clip id, listener, rating."""
        clips, positions = np.nonzero(self.listeners[:, a] >= 0)
        return [
            (ids[n], self.names[self.listeners[n, a, k]], float(self.values[n, a, k]))
            for n, k in zip(clips.tolist(), positions.tolist(), strict=True)
        ]


def ratings_table(
    ids: Sequence[str], axes: Sequence[str], rows: Sequence[tuple[str, str, str, float]]
) -> ListenerRatings:
    """Lay out tidy ratings, one row per rating, as one table.

    Args:
        ids: Name of each of N clips.
        axes: Names of the axes.
        rows: (clip id, axis, listener, rating) each; clips and axes that are not asked for are passed over.

    Example:
        >>> table = ratings_table(["a", "b"], ["PQ"], [("a", "PQ", "Ann", 4.0), ("a", "PQ", "Bob", 5.0)])
        >>> table.values[:, 0].tolist(), table.listeners[:, 0].tolist()
        ([[4.0, 5.0], [nan, nan]], [[0, 1], [-1, -1]])
    """
    found: dict[tuple[str, str], list[tuple[float, int]]] = {(id_, axis): [] for id_ in ids for axis in axes}
    codes = {name: code for code, name in enumerate(sorted({listener for _, _, listener, _ in rows}))}
    for id_, axis, listener, rating in rows:
        if (id_, axis) in found:
            found[id_, axis].append((rating, codes[listener]))
    most = max(map(len, found.values()), default=0)
    padded = [given + [(math.nan, -1)] * (most - len(given)) for given in found.values()]
    table = np.array(padded, dtype=np.float64).reshape(len(ids), len(axes), most, 2)
    return ListenerRatings(table[..., 0], table[..., 1].astype(np.intp), list(codes))
