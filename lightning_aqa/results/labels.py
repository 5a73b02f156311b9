"""Names beside the points of a plot: placed one after the other where nothing is covered, or left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RINGS = (1.0, 7.0, 14.0)
"""Room between a marker and its name that is tried, the nearest first, in the unit of the positions."""
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""Directions from a marker to its name: right, left, above, below, and between them."""


class Box(NamedTuple):
    """Rectangle with its lower left and upper right corner."""

    left: float
    low: float
    right: float
    high: float

    def overlaps(self, other: Box) -> bool:
        """Tell whether two rectangles share more than a border."""
        return self.left < other.right and other.left < self.right and self.low < other.high and other.low < self.high

    def within(self, other: Box) -> bool:
        """Tell whether it lies in another."""
        is_wide = self.left >= other.left and self.right <= other.right
        return is_wide and self.low >= other.low and self.high <= other.high


def place_labels(points: Array, sizes: Sequence[tuple[float, float]], radius: float, area: Box) -> list[Box | None]:
    """Place a label beside each of the first points, so that none covers another, a marker or the edge.

    Each takes the nearest place that is left, in the order that they come in; earlier ones are never moved.

    Args:
        points: Centres of all markers, shape ``(N, 2)``, such as in px.
        sizes: Width and height of the labels of the first points, at most N, in the same unit.
        radius: Half the size of a marker.
        area: Where labels may be.

    Returns:
        A rectangle for each label; None where there is no place for it.

    Example:
        >>> place_labels(np.array([[5.0, 5.0]]), [(4.0, 2.0)], 1.0, Box(0, 0, 20, 10))
        [Box(left=7.0, low=4.0, right=11.0, high=6.0)]
    """
    taken = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points.tolist()]
    placed: list[Box | None] = []
    for (x, y), (width, height) in zip(points.tolist(), sizes, strict=False):
        candidates = (_beside(x, y, width, height, radius + room, side) for room, side in product(RINGS, SIDES))
        fits = (box for box in candidates if box.within(area) and not any(map(box.overlaps, taken)))
        found = next(fits, None)
        placed.append(found)
        taken += [found] if found else []
    return placed


def _beside(x: float, y: float, width: float, height: float, room: float, side: tuple[int, int]) -> Box:
    centre_x, centre_y = x + side[0] * (room + width / 2), y + side[1] * (room + height / 2)
    return Box(centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
