"""Batches of clips of like length, mixed as widely as the padding allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.float64]
Order = NDArray[np.int64]

WIDTHS = (math.inf, 16.0, 8.0, 4.0, 3.0, 2.5, 2.0, 1.75, 1.5, 1.4, 1.3, 1.25)
"""How many times longer the longest clip of a batch may be than the shortest: widest first, inf being any clips."""

WIDEST_BY_SECONDS = 1.5
"""Widest buckets of batches cut by seconds, whose sizes allow for the longest clip that may come."""

MARGIN = 0.9
"""Share of the allowed padding to aim at, since it differs a little from epoch to epoch."""

FEWEST_BATCHES = 8
"""With fewer batches in an epoch, clips stay shuffled: buckets would be so few that the same clips always meet."""


def bucketed(order: Order, seconds: Lengths, width: float) -> Order:
    r"""Bring a shuffled order roughly into order of length, so that neighbours are alike and yet new in each epoch.

    .. math:: \text{key}_i = \log s_i + \frac{r_i}{N} \log w

    Args:
        order: Clips in a random order, shape ``(N,)``; a clip's position in it is the r of the formula.
        seconds: Length s of each clip, shape ``(N,)``, in seconds.
        width: The w of the formula: clips whose lengths differ by more than this factor are not mixed. With inf, or
            where all lengths are the same, the order stays as it is.

    Returns:
        The clips by their keys, shortest first, shape ``(N,)``.

    Example:
        >>> bucketed(np.array([2, 1, 0, 3]), np.array([1.0, 8.0, 1.1, 9.0]), 1.5)
        array([2, 0, 1, 3])
    """
    if math.isinf(width):
        return order
    keys = np.log(seconds[order]) + np.arange(len(order)) / len(order) * math.log(width)
    return order[np.argsort(keys, kind="stable")]


def sizes_by_clips(num_clips: int, clips_per_batch: int, num_ranks: int) -> list[int]:
    """Cut clips into batches of equal size, give or take one, none with fewer clips than processes.

    Example:
        >>> sizes_by_clips(10, 4, num_ranks=1)
        [4, 3, 3]
    """
    count = min(math.ceil(num_clips / clips_per_batch), num_clips // num_ranks)
    return [len(part) for part in np.array_split(np.empty(num_clips), count)]


def sizes_by_seconds(seconds: Lengths, budget: float, width: float, num_ranks: int) -> list[int]:
    """Cut clips into batches that hold at most so many padded seconds, whatever the order of an epoch.

    The clip at a position of a ``bucketed`` order is at most ``width`` times as long as the one at the same position of
    the sorted order; the sizes follow from that bound, so that all epochs have as many batches.

    Args:
        seconds: Length of each clip, shape ``(N,)``, in seconds.
        budget: Padded seconds per batch of all processes together; no less than the longest clip for each of them.
        width: Width of the buckets.
        num_ranks: Number of processes: no batch has fewer clips.

    Returns:
        Sizes, for the shortest clips first. The last two of a count that does not divide are evened out; clips too
        few for a batch of their own go to their neighbour, which then has more seconds than the budget.

    Example:
        >>> sizes_by_seconds(np.array([1.0, 1, 1, 1, 1, 4, 4, 4]), 8.0, 1.0, num_ranks=1)
        [4, 2, 2]
    """
    ascending = np.sort(seconds)
    bounds = np.minimum(width * ascending, ascending[-1])
    ends = ends_by_seconds(bounds[::-1].tolist(), budget, num_ranks)
    sizes = [end - first for first, end in pairwise([0, *ends])]
    if len(sizes) > 1 and sizes[-1] < sizes[-2]:
        total = sizes[-2] + sizes[-1]
        sizes[-2:] = [total] if total // 2 < num_ranks else [total - total // 2, total // 2]
    return sizes[::-1]


def ends_by_seconds(seconds: Sequence[float], budget: float, fewest: int = 1) -> list[int]:
    """Return where batches end that hold consecutive windows and at most so many padded seconds.

    Args:
        seconds: Length of each window in the order of the batches, shape ``(N,)``; in any unit, that of the budget.
        budget: Longest window of a batch times its size, at most.
        fewest: Windows that a batch holds even where they are longer than the budget.

    Example:
        >>> ends_by_seconds([1.0, 1.0, 2.0, 9.0], 4.0)
        [2, 3, 4]
    """
    ends, first, longest = [], 0, 0.0
    for index, length in enumerate(seconds):
        longest = max(longest, length)
        if index - first >= fewest and (index + 1 - first) * longest > budget + 1e-9:
            ends.append(index)
            first, longest = index, length
    return [*ends, len(seconds)]


def padding(seconds: Lengths, sizes: Sequence[int]) -> float:
    """Return padded seconds over real seconds of consecutive batches.

    Args:
        seconds: Length of each clip in the order of the batches, shape ``(N,)``, in seconds.
        sizes: Size of each batch.

    Example:
        >>> padding(np.array([1.0, 3.0, 4.0]), [2, 1])
        1.25
    """
    starts = np.cumsum([0, *sizes[:-1]])
    return float((np.maximum.reduceat(seconds, starts) * sizes).sum() / seconds.sum())


def choose_width(
    seconds: Lengths, sizes: Callable[[float], Sequence[int]], max_padding: float | None, widest: float = math.inf
) -> float:
    """Return the widest buckets that keep the padding within what is allowed.

    Args:
        seconds: Length of each clip, shape ``(N,)``, in seconds.
        sizes: Gives the sizes of the batches for a width.
        max_padding: Padded seconds over real ones that are allowed; None allows any.
        widest: Widest buckets to consider.

    Returns:
        One of ``WIDTHS``: inf where no buckets are needed, or too few batches to sort clips into; the narrowest
        where none is narrow enough, so that clips are still mixed with others.
    """
    if max_padding is None or seconds.max() <= seconds.mean() * max_padding:
        return math.inf
    if len(sizes(WIDTHS[-1])) < FEWEST_BATCHES:
        return math.inf
    random = np.random.Generator(np.random.PCG64(0))
    orders = [random.permutation(len(seconds)) for _ in range(4)]
    for width in (width for width in WIDTHS if width <= widest):
        found = [padding(seconds[bucketed(order, seconds, width)], sizes(width)) for order in orders]
        if max(found) <= 1 + MARGIN * (max_padding - 1):
            return width
    return WIDTHS[-1]
