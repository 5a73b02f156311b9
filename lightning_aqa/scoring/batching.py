"""From windows of many clips to batches of like length, and from their scores to the scores of the clips."""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from queue import Empty, Queue
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_aqa.data.buckets import ends_by_seconds
from lightning_aqa.data.decoding import AudioError
from lightning_aqa.data.signal import Meter, Signal
from lightning_aqa.data.windows import weighted_mean
from lightning_aqa.scoring.decode import Piece
from lightning_aqa.scoring.inputs import Item

ADDRESS = re.compile(r" ?<?[\w.]*(?: object)? at 0x[0-9a-fA-F]+>?| ?0x[0-9a-fA-F]{6,}")
"""Places in memory, which are others in every run."""

GROUP_BATCHES = 4
"""Batches that a group of clips fills: among so many windows are some of like length."""

Key = TypeVar("Key")

Value = TypeVar("Value")

ITEMS_PER_WORKER = 4

VALUES_PREFETCHED = 4
"""Values of one key that wait for the reader; a value is a window of audio."""


class DeviceError(ValueError):
    """The device has failed, so that nothing can be computed in this process any more."""


class WindowScore(NamedTuple):
    """Output of a model for one window.

    Args:
        scores: A score per axis.
        deviations: A standard deviation per axis; None from a head without them.
        features: Pooled features, shape ``(D,)``; None where nothing is made of them.
    """

    scores: Sequence[float]
    deviations: Sequence[float] | None = None
    features: NDArray[np.float32] | None = None


Score = Callable[[Sequence[Tensor], Sequence[str]], Sequence[WindowScore]]
"""Scores windows ``(T,)`` with their prompts."""


class ScoredClip(NamedTuple):
    """A clip with its scores, one per axis, or with the reason why there are none.

    Args:
        item: The clip.
        seconds: Its length, in seconds.
        scores: A score per axis, as the model gives them.
        error: Why there are none.
        note: Why they are likely nonsense.
        ends: Two ends per axis, between which the rating lies; NaN where there are none, empty without any.
        unlike: Share of the training clips that are less far from the others than this one; None where not known.
        deviations: A standard deviation per axis; empty from a head without them.
    """

    item: Item
    seconds: float = 0.0
    scores: tuple[float, ...] = ()
    error: str = ""
    note: str = ""
    ends: tuple[tuple[float, float], ...] = ()
    unlike: float | None = None
    deviations: tuple[float, ...] = ()


Finish = Callable[[ScoredClip, Signal | None, Sequence[tuple[float, WindowScore]]], ScoredClip]
"""Adds to a scored clip what its signal and its windows, each with its weight, say of its scores."""


class Batching(NamedTuple):
    """Settings by which windows become batches.

    Args:
        seconds: Most seconds of a padded batch; a longer window goes alone.
        sample_rate: Rate of the windows, in Hz.
        num_workers: Threads that decode ahead; 0 decodes in between.
    """

    seconds: float
    sample_rate: int
    num_workers: int

    @property
    def samples(self) -> float:
        """Most samples of a padded batch."""
        return self.seconds * self.sample_rate


class _Clip:
    """A clip whose windows are being scored."""

    def __init__(self, item: Item) -> None:
        self.item, self.error = item, ""
        self.windows: list[tuple[float, WindowScore]] = []
        self.meter: Meter | None = None

    def fail(self, error: Exception) -> None:
        """Keep the reason, in one line."""
        name = "" if isinstance(error, AudioError | ValueError) else f"{type(error).__name__}: "
        text = ADDRESS.sub("", str(error).removeprefix(f"{self.item.path}: "))
        self.error = self.error or f"{name}{' '.join(text.split())}" or "unknown"

    def row(self, finish: Finish) -> ScoredClip:
        """Average the windows by weight, and look at what they were."""
        if self.error:
            return ScoredClip(self.item, error=self.error)
        weights = [weight for weight, _ in self.windows]
        scores = tuple(weighted_mean([window.scores for _, window in self.windows], weights))
        if not all(map(math.isfinite, scores)):
            return ScoredClip(self.item, error="the model gives no finite score")
        clip = ScoredClip(self.item, math.fsum(weights), scores)
        return finish(clip, None if self.meter is None else self.meter.signal(), self.windows)


class _Group:
    """Clips that come one after the other; their windows are scored together."""

    def __init__(self, shard: int, batching: Batching, score: Score, finish: Finish) -> None:
        self.shard, self.batching, self.score, self.finish = shard, batching, score, finish
        self.clips: list[_Clip] = []
        self.pending: list[tuple[_Clip, Piece]] = []
        self.num_samples = self.num_pending = 0

    @property
    def is_full(self) -> bool:
        """Whether there is enough to sort and batch."""
        return self.num_samples >= GROUP_BATCHES * self.batching.samples

    def add(self, item: Item, pieces: Iterable[Piece]) -> None:
        """Take the windows of a clip; those of a long one are scored on the way."""
        clip = _Clip(item)
        self.clips.append(clip)
        try:
            for piece in pieces:
                clip.meter = piece.meter
                self.pending.append((clip, piece))
                self.num_samples += len(piece.samples)
                self.num_pending += len(piece.samples)
                if self.num_pending >= GROUP_BATCHES * self.batching.samples:
                    self._run()
        except DeviceError:
            raise
        except Exception as error:
            clip.fail(error)

    def close(self) -> list[ScoredClip]:
        """Score what is left, and return the clips in their order."""
        self._run()
        return [clip.row(self.finish) for clip in self.clips]

    def _run(self) -> None:
        wanted = [(clip, piece) for clip, piece in self.pending if not clip.error]
        self.pending, self.num_pending = [], 0
        wanted.sort(key=lambda window: len(window[1].samples))
        ends = ends_by_seconds([len(piece.samples) for _, piece in wanted], self.batching.samples)
        for first, end in pairwise([0, *ends]):
            self._score(wanted[first:end])

    def _score(self, batch: Sequence[tuple[_Clip, Piece]]) -> None:
        """Score a batch; where that fails, each window alone, so that one cannot take others with it."""
        try:
            rows = self.score([piece.samples for _, piece in batch], [clip.item.prompt for clip, _ in batch])
        except torch.AcceleratorError as error:
            reason = str(error).splitlines()[0]
            raise DeviceError(
                f"the device has failed ({reason}); the rows are kept, and the same command goes on from there."
            ) from error
        except (ValueError, RuntimeError) as error:
            if len(batch) == 1:
                batch[0][0].fail(error)
                return
            for window in batch:
                self._score([window])
            return
        for (clip, piece), row in zip(batch, rows, strict=True):
            clip.windows.append((piece.weight, row))


def as_it_is(clip: ScoredClip, signal: Signal | None, windows: Sequence[tuple[float, WindowScore]]) -> ScoredClip:
    """Add nothing."""
    return clip


def score_groups(
    items: Iterable[tuple[int, Item]],
    read: Callable[[Item], Iterable[Piece]],
    score: Score,
    batching: Batching,
    finish: Finish = as_it_is,
) -> Iterator[list[ScoredClip]]:
    """Yield scored clips in the order of the items, group by group.

    A group ends with a shard, or with the clip that fills it. So what is computed together follows from the items
    alone: not from the number of workers, and not from where an earlier run was stopped.

    Args:
        items: Number of the shard of each clip, and the clip.
        read: Decodes the windows of a clip.
        score: Scores windows.
        batching: How windows become batches.
        finish: Looks at each clip that is scored.
    """
    group = _Group(0, batching, score, finish)
    for (shard, item), pieces in prefetch(items, lambda numbered: read(numbered[1]), batching.num_workers):
        if shard != group.shard:
            yield group.close()
            group = _Group(shard, batching, score, finish)
        group.add(item, pieces)
        if group.is_full:
            yield group.close()
            group = _Group(shard, batching, score, finish)
    yield group.close()


class _Stream(Generic[Value]):
    """The values of one key, made by a worker, taken by the reader."""

    def __init__(self) -> None:
        self.values: Queue[Value | BaseException | None] = Queue(VALUES_PREFETCHED)
        self.is_stopped = threading.Event()

    def fill(self, values: Callable[[], Iterable[Value]]) -> None:
        """Put in what there is, then the end or the error."""
        try:
            for value in values():
                self.values.put(value)
                if self.is_stopped.is_set():
                    return
            self.values.put(None)
        except Exception as error:
            self.values.put(error)

    def __iter__(self) -> Iterator[Value]:
        """Take out what comes, raising the error where it comes."""
        while (value := self.values.get()) is not None:
            if isinstance(value, BaseException):
                raise value
            yield value

    def stop(self) -> None:
        """Let a worker that waits go on, to its end."""
        self.is_stopped.set()
        while True:
            try:
                self.values.get_nowait()
            except Empty:
                return


def prefetch(
    keys: Iterable[Key], values: Callable[[Key], Iterable[Value]], num_workers: int
) -> Iterator[tuple[Key, Iterable[Value]]]:
    """Yield each key with its values, which threads make meanwhile.

    An error of ``values`` is raised where the values are read, after those that came before it; a reader may leave the
    rest of a key's values.

    Args:
        keys: The keys, of which a few more are taken than are yielded.
        values: Makes the values of a key.
        num_workers: Number of threads; 0 makes the values when they are read.

    Example:
        >>> [(key, list(found)) for key, found in prefetch([1, 2, 3], range, num_workers=2)]
        [(1, [0]), (2, [0, 1]), (3, [0, 1, 2])]
    """
    if num_workers == 0:
        yield from ((key, values(key)) for key in keys)
        return
    remaining, waiting = iter(keys), deque[tuple[Key, _Stream[Value]]]()
    with ThreadPoolExecutor(num_workers) as pool:
        try:
            while True:
                for key in islice(remaining, ITEMS_PER_WORKER * num_workers - len(waiting)):
                    waiting.append((key, _Stream()))
                    pool.submit(waiting[-1][1].fill, _bind(values, key))
                if not waiting:
                    return
                yield waiting[0][0], waiting[0][1]
                waiting.popleft()[1].stop()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for _, stream in waiting:
                stream.stop()


def _bind(values: Callable[[Key], Iterable[Value]], key: Key) -> Callable[[], Iterable[Value]]:
    return lambda: values(key)
