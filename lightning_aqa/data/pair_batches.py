"""Batches in which both clips of a pair stand, beside clips that are rated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.manifest import WINNERS, Manifest
from lightning_aqa.data.samplers import SHIFT, TrainingBatches
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.data.windows import Window

Numbers = NDArray[np.intp]


def training_batches(clips: Manifest, lengths: Sequence[float], *settings: Any, **more: Any) -> TrainingBatches:
    """Return the sampler of some clips: one of pairs, where there are pairs among them.

    Args:
        clips: The training clips.
        lengths: Their lengths in seconds.
        settings: Further arguments of ``TrainingBatches``, in its order.
        more: Those that are given by name.
    """
    return (
        PairBatches(clips, lengths, *settings, **more) if clips.pairs else TrainingBatches(lengths, *settings, **more)
    )


def check_settings(batch_seconds: float | None, *, augmented: bool) -> None:
    """Refuse what does not go with pairs.

    Raises:
        CorpusError: If batches are made by their seconds, or the audio is changed at random.
    """
    if batch_seconds is not None:
        raise CorpusError(
            f"batch_seconds={batch_seconds:g} does not go with pairs, whose clips share a batch whatever their "
            "length: give --data.batch_size, and drop it."
        )
    if augmented:
        raise CorpusError(
            "augment does not go with pairs, which compare the clips as they are: drop it (--data.augment=null)."
        )


class PairBatches(TrainingBatches):
    """Draw each rated clip once an epoch, and each pair once, both clips of it in one batch.

    Rated clips and pairs are shuffled and dealt out to as many batches as hold ``batch_size`` clips each; every batch
    has its share of both, give or take one. A clip that serves several pairs of a batch, or is there by itself, is in
    it once. The scores of a clip that is there for a pair alone do not count there: they do in its own batch.

    Where ``draw`` is set, it draws from the rated clips, which may then come several times; pairs still come once.

    Under W processes a rank takes every W-th clip of the global batch, and all ranks get all of its pairs.

    Args:
        clips: The clips with their pairs.
        seconds: Length of each clip, in seconds.
        batch_size: Clips per batch and process, at least those of one pair.
        window_seconds: Longest window; see ``TrainingBatches``.
        seed: Seed of the order and of the windows.
        rank: This process.
        num_ranks: Number of processes.
        covers: Fixed windows per clip to draw from; see ``TrainingBatches``.
        batch_seconds: Refused.
        max_padding: Passed over: clips share a batch by their pairs, not by their length.
        augmented: Refused, since a pair compares the clips as they are.

    Raises:
        CorpusError: If a setting does not go with pairs, or the clips are too few for the processes.
    """

    def __init__(
        self,
        clips: Manifest,
        seconds: Sequence[float],
        batch_size: int | None,
        window_seconds: float | None,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        covers: Sequence[Sequence[Window]] | None = None,
        batch_seconds: float | None = None,
        max_padding: float | None = None,
        augmented: bool = False,
    ) -> None:
        check_settings(batch_seconds, augmented=augmented)
        index = {clip.id: i for i, clip in enumerate(clips)}
        axes = {axis.name: a for a, axis in enumerate(clips.axes)}
        self.pairs = [
            (index[pair.clip_a], index[pair.clip_b], WINNERS.index(pair.winner), pair.weight, axes[pair.axis])
            for pair in clips.pairs
        ]
        self.rated = np.flatnonzero(~np.isnan(clips.scores()).all(1))
        super().__init__(seconds, batch_size, window_seconds, seed, rank, num_ranks, covers, max_padding=None)
        self.drawn = self.rated

    def _cut(self, width: float) -> list[int]:
        """Return how many rated clips and pairs the batches hold, the same in all epochs."""
        assert self.batch_size is not None
        wanted = math.ceil((len(self.rated) + 2 * len(self.pairs)) / (self.batch_size * self.num_ranks))
        count = min(wanted, len(self.rated) + len(self.pairs))
        dealt = zip(self._deal(self.rated, count), self._deal(np.arange(len(self.pairs)), count)[::-1], strict=True)
        return [len(rated) + len(pairs) for rated, pairs in dealt]

    @staticmethod
    def _deal(numbers: Numbers, count: int) -> list[Numbers]:
        return np.array_split(numbers, count)

    def __iter__(self) -> Iterator[list[Window]]:
        """Yield this rank's batches; the first window of each has the pairs."""
        random = np.random.Generator(np.random.PCG64([self.seed, self.epoch]))
        positions = random.random(len(self.seconds))
        order = random.permutation(self.rated) if self.draw is None else self.rated[self.draw(random)]
        rated = self._deal(order, len(self))
        pairs = self._deal(random.permutation(len(self.pairs)), len(self))[::-1]  # the longer with the shorter
        for own, compared in zip(rated, pairs, strict=True):
            if self.draw is not None:
                positions = (positions + SHIFT) % 1
            yield self._batch(own.tolist(), compared.tolist(), positions)

    def _batch(self, own: list[int], compared: Iterable[int], positions: NDArray[np.float64]) -> list[Window]:
        chosen = [self.pairs[number] for number in compared]
        there = set(own)
        order = [*own, *dict.fromkeys(c for one, other, *_ in chosen for c in (one, other) if c not in there)]
        rows = {clip: row for row, clip in enumerate(order)}
        pairs = tuple((rows[one], rows[other], winner, weight, axis) for one, other, winner, weight, axis in chosen)
        windows = [
            self._draw(clip, float(positions[clip]))._replace(counts=row < len(own)) for row, clip in enumerate(order)
        ]
        spare = [windows[0]._replace(counts=False)] * (self.num_ranks - len(windows))  # no rank is without any
        first, *rest = [*windows, *spare][self.rank :: self.num_ranks]
        return [first._replace(pairs=pairs), *rest]
