"""Samplers of batches of windows; everything follows from (seed, epoch)."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
from torch.utils.data import Sampler

from lightning_aqa.data.buckets import (
    WIDEST_BY_SECONDS,
    Order,
    bucketed,
    choose_width,
    ends_by_seconds,
    sizes_by_clips,
    sizes_by_seconds,
)
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.data.windows import Window

MAX_PADDING = 1.15
"""Padded seconds over real seconds that training batches may have, unless the user says otherwise."""

SHIFT = (math.sqrt(5) - 1) / 2
"""Step from batch to batch of the position of windows, so that a clip that is drawn twice gives two."""


class TrainingBatches(Sampler[list[Window]]):
    """Draw each clip once an epoch, in batches that depend on (seed, epoch) alone.

    The clips are shuffled and cut into batches. By clips, these are of equal size (give or take one, so there is no
    tiny last batch); by seconds, of at most so many padded seconds. Where shuffled batches would pad more than is
    allowed, clips of like length share a batch, in buckets as wide as that allows, which are made anew each epoch.

    Under W processes a global batch holds W times ``batch_size`` clips or ``batch_seconds``, and each rank takes every
    W-th of its clips: two processes with batch size 8 see the batches that one sees with 16. Where the clips of a
    global batch do not divide by W, some ranks have one more, and by seconds may exceed their share by that clip.

    Args:
        seconds: Length of each clip, in seconds.
        batch_size: Clips per batch and process; None cuts by seconds.
        window_seconds: Longest window; a longer clip gives a window drawn anew each epoch. None takes clips whole.
        seed: Seed of the order and of the windows.
        rank: This process.
        num_ranks: Number of processes.
        covers: Fixed windows per clip to draw from, where only those can be read (cached features); a window's chance
            is its weight.
        batch_seconds: Padded seconds per batch and process, in place of ``batch_size``.
        max_padding: Padded seconds over real seconds that are allowed; None shuffles freely.
        augmented: Name the epoch in each window, for augmentations to be drawn by.

    Attributes:
        draw: Draws the clips of an epoch, as many as there are, in a random order, by their positions in ``drawn``;
            None takes each once.
        drawn: Numbers of the clips that come by themselves: all of them.

    Raises:
        ValueError: If the clips are too few for the processes, or ``batch_seconds`` is too short for one of them.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        batch_size: int | None,
        window_seconds: float | None,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        covers: Sequence[Sequence[Window]] | None = None,
        batch_seconds: float | None = None,
        max_padding: float | None = MAX_PADDING,
        augmented: bool = False,
    ) -> None:
        assert (batch_size is None) != (batch_seconds is None)
        if len(seconds) < num_ranks:
            raise CorpusError(
                f"{len(seconds)} training clips are too few for {num_ranks} processes: use fewer devices."
            )
        self.seconds, self.window_seconds, self.seed = seconds, window_seconds, seed
        self.rank, self.num_ranks, self.covers, self.augmented = rank, num_ranks, covers, augmented
        self.batch_size, self.batch_seconds = batch_size, batch_seconds
        self.epoch = 0
        self.draw: Callable[[np.random.Generator], Order] | None = None
        self.drawn: Order = np.arange(len(seconds))
        self._lengths = np.minimum(np.asarray(seconds, dtype=np.float64), window_seconds or math.inf)
        if batch_seconds is not None and self._lengths.max() > batch_seconds:
            raise CorpusError(
                f"batch_seconds is {batch_seconds:g}, and the longest training window lasts {self._lengths.max():g} s; "
                "allow at least that much."
            )
        widest = math.inf if batch_seconds is None else WIDEST_BY_SECONDS
        self.width = choose_width(self._lengths, self._cut, max_padding, widest)
        self.sizes = self._cut(self.width)

    def _cut(self, width: float) -> list[int]:
        """Return the sizes of the global batches, the same in all epochs."""
        if self.batch_seconds is not None:
            return sizes_by_seconds(self._lengths, self.batch_seconds * self.num_ranks, width, self.num_ranks)
        assert self.batch_size is not None
        return sizes_by_clips(len(self.seconds), self.batch_size * self.num_ranks, self.num_ranks)

    @property
    def sampler(self) -> TrainingBatches:
        """This sampler: Lightning looks for ``set_epoch`` here."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the batches of an epoch, the same in every epoch and on every rank."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[Window]]:
        """Yield this rank's batches."""
        random = np.random.Generator(np.random.PCG64([self.seed, self.epoch]))
        order = random.permutation(len(self.seconds)) if self.draw is None else self.draw(random)
        positions = random.random(len(self.seconds))
        for clips in self._global_batches(order, random):
            if self.draw is not None:
                positions = (positions + SHIFT) % 1
            yield [self._draw(int(clip), float(positions[clip])) for clip in clips[self.rank :: self.num_ranks]]

    def _global_batches(self, order: Order, random: np.random.Generator) -> list[Order]:
        batches = np.split(bucketed(order, self._lengths, self.width), np.cumsum(self.sizes)[:-1])
        return batches if math.isinf(self.width) else [batches[i] for i in random.permutation(len(batches))]

    def _draw(self, clip: int, position: float) -> Window:
        window = self._draw_window(clip, position)
        return window._replace(epoch=self.epoch) if self.augmented else window

    def _draw_window(self, clip: int, position: float) -> Window:
        if self.covers is not None:
            choices = self.covers[clip]
            ends = list(accumulate(window.weight for window in choices))
            return choices[min(bisect(ends, position), len(choices) - 1)]._replace(weight=1.0)
        length = self.seconds[clip]
        if self.window_seconds is None or length <= self.window_seconds:
            return Window(clip, 0.0, length, 1.0)
        return Window(clip, position * (length - self.window_seconds), self.window_seconds, 1.0)


class EvaluationBatches(Sampler[list[Window]]):
    """Read every window of every clip once, in order of length so that batches pad little.

    Each rank takes every W-th window. A rank that would get one less than others reads the shortest one again with
    weight 0, so that all ranks run the same steps and no score moves.

    Args:
        windows: What to read.
        batch_size: Windows per batch and process; None cuts by seconds.
        rank: This process.
        num_ranks: Number of processes.
        batch_seconds: Padded seconds per batch and process, in place of ``batch_size``; a longer window is read alone.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        batch_size: int | None,
        rank: int = 0,
        num_ranks: int = 1,
        batch_seconds: float | None = None,
    ) -> None:
        ordered = sorted(windows, key=lambda window: (window.seconds, window.clip, window.start))
        ordered += [ordered[0]._replace(weight=0.0)] * (-len(ordered) % num_ranks)
        self.windows = ordered[rank::num_ranks]
        if batch_seconds is None:
            assert batch_size is not None
            self.ends = list(range(batch_size, len(self.windows) + batch_size, batch_size))
        else:
            steps = range(0, len(ordered), num_ranks)
            longest = [max(window.seconds for window in ordered[i : i + num_ranks]) for i in steps]
            self.ends = ends_by_seconds(longest, batch_seconds)

    def __len__(self) -> int:
        """Count the batches of this rank."""
        return len(self.ends)

    def __iter__(self) -> Iterator[list[Window]]:
        """Yield this rank's batches."""
        for first, end in pairwise([0, *self.ends]):
            yield self.windows[first:end]
