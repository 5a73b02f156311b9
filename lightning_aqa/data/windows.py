"""Which windows of which clips are read, in which order: everything follows from (seed, epoch)."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from lightning_aqa.data.check import CorpusError

# A tail below this length, in seconds, comes from the rounding of a division; it may hold no sample at all.
SHORTEST_TAIL = 1e-3


class Window(NamedTuple):
    """A piece of one clip.

    Args:
        clip: Index of the clip in its manifest.
        start: Seconds from the start of the clip.
        seconds: Length in seconds.
        weight: Share of this window in the clip's score.
    """

    clip: int
    start: float
    seconds: float
    weight: float


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


class TrainingBatches(Sampler[list[Window]]):
    """Draw each clip once an epoch, in batches that depend on (seed, epoch) alone.

    The clips are shuffled and cut into equal batches (sizes differ by at most one, so there is no tiny last batch).
    Under W processes a global batch holds W times ``batch_size`` clips, and each rank takes every W-th of them: two
    processes with batch size 8 see the batches that one sees with 16.

    Args:
        seconds: Length of each clip, in seconds.
        batch_size: Clips per batch and process.
        window_seconds: Longest window; a longer clip gives a window drawn anew each epoch. None takes clips whole.
        seed: Seed of the order and of the windows.
        rank: This process.
        num_ranks: Number of processes.
        covers: Fixed windows per clip to draw from, where only those can be read (cached features); a window's chance
            is its weight.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        batch_size: int,
        window_seconds: float | None,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        covers: Sequence[Sequence[Window]] | None = None,
    ) -> None:
        if len(seconds) < num_ranks:
            raise CorpusError(
                f"{len(seconds)} training clips are too few for {num_ranks} processes: use fewer devices."
            )
        self.seconds, self.batch_size, self.window_seconds, self.seed = seconds, batch_size, window_seconds, seed
        self.rank, self.num_ranks, self.covers = rank, num_ranks, covers
        self.epoch = 0

    @property
    def sampler(self) -> TrainingBatches:
        """Where Lightning looks for ``set_epoch`` in a loader's batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the batches of an epoch, the same on every rank."""
        enough = math.ceil(len(self.seconds) / (self.batch_size * self.num_ranks))
        return min(enough, len(self.seconds) // self.num_ranks)  # no rank may find a batch empty

    def __iter__(self) -> Iterator[list[Window]]:
        """Yield this rank's batches."""
        random = np.random.Generator(np.random.PCG64([self.seed, self.epoch]))
        order = random.permutation(len(self.seconds))
        places = random.random(len(self.seconds))
        for clips in np.array_split(order, len(self)):
            yield [self._draw(int(clip), float(places[clip])) for clip in clips[self.rank :: self.num_ranks]]

    def _draw(self, clip: int, place: float) -> Window:
        if self.covers is not None:
            choices = self.covers[clip]
            ends = list(accumulate(window.weight for window in choices))
            return choices[min(bisect(ends, place), len(choices) - 1)]._replace(weight=1.0)
        length = self.seconds[clip]
        if self.window_seconds is None or length <= self.window_seconds:
            return Window(clip, 0.0, length, 1.0)
        return Window(clip, place * (length - self.window_seconds), self.window_seconds, 1.0)


class EvaluationBatches(Sampler[list[Window]]):
    """Read every window of every clip once, in order of length so that batches pad little.

    Each rank takes every W-th window. A rank that would get one less than others reads the shortest one again with
    weight 0, so that all ranks run the same steps and no score moves.
    """

    def __init__(self, windows: Sequence[Window], batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        ordered = sorted(windows, key=lambda window: (window.seconds, window.clip, window.start))
        ordered += [ordered[0]._replace(weight=0.0)] * (-len(ordered) % num_ranks)
        self.windows = ordered[rank::num_ranks]
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Count the batches of this rank."""
        return math.ceil(len(self.windows) / self.batch_size)

    def __iter__(self) -> Iterator[list[Window]]:
        """Yield this rank's batches."""
        for first in range(0, len(self.windows), self.batch_size):
            yield self.windows[first : first + self.batch_size]
