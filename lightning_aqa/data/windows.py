"""Windows of a clip: how it is cut, its shortest tail, and the mean of its windows' scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# A tail below this length, in seconds, comes from the rounding of a division; it may hold no sample at all.
SHORTEST_TAIL = 1e-3


class Window(NamedTuple):
    """A piece of one clip.

    Args:
        clip: Index of the clip in its manifest.
        start: Seconds from the start of the clip.
        seconds: Length in seconds.
        weight: Share of this window in the clip's score.
        epoch: Epoch to draw an augmentation for; None leaves the audio as it is.
        counts: Whether the scores of the clip count here; a clip that is here for its pairs has them elsewhere.
        pairs: On the first window of a batch: rows of both clips, outcome, weight and axis of each pair in it.
    """

    clip: int
    start: float
    seconds: float
    weight: float
    epoch: int | None = None
    counts: bool = True
    pairs: tuple[tuple[int, int, int, float, int], ...] | None = None


def cover(clip: int, seconds: float, window_seconds: float | None, min_seconds: float = 0.0) -> list[Window]:
    """Cut a clip into windows end to end, weighted by their length; a tail too short to encode is left out.

    Example:
        >>> [window.weight for window in cover(0, 25.0, 10.0)]
        [0.4, 0.4, 0.2]
    """
    if window_seconds is None or seconds <= window_seconds:
        return [Window(clip, 0.0, seconds, 1.0)]
    starts = [i * window_seconds for i in range(math.ceil(seconds / window_seconds))]
    lengths = [min(window_seconds, seconds - start) for start in starts]
    if lengths[-1] < max(min_seconds, SHORTEST_TAIL):
        starts, lengths = starts[:-1], lengths[:-1]
    total = sum(lengths)
    return [Window(clip, start, length, length / total) for start, length in zip(starts, lengths, strict=True)]


def shortest_tail(min_seconds: float, min_tail_seconds: float, window_seconds: float | None) -> float:
    """Return the shortest last window of a clip that is cut: at most half a window, unless the encoder needs more.

    Args:
        min_seconds: Shortest audio that the encoder takes, in seconds.
        min_tail_seconds: Shortest tail that the encoder wants, in seconds.
        window_seconds: Longest window, in seconds; None takes clips whole.

    Example:
        >>> shortest_tail(0.1, 2.0, 3.0)
        1.5
    """
    return max(min_seconds, min(min_tail_seconds, (window_seconds or math.inf) / 2))


def weighted_mean(rows: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """Average windows by weight, in exact sums (``math.fsum``), so that their order cannot move a digit.

    Args:
        rows: Values of each window, shape ``(N, A)``.
        weights: Weight of each window, shape ``(N,)``, of any sum.

    Returns:
        Shape ``(A,)``.

    Example:
        >>> weighted_mean([[1.0, 2.0], [4.0, 5.0]], [2.0, 1.0])
        [2.0, 3.0]
    """
    total = math.fsum(weights)
    columns = zip(*rows, strict=True)
    return [math.fsum(w * value for w, value in zip(weights, column, strict=True)) / total for column in columns]
