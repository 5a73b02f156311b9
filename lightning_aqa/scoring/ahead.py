"""Decode clips in threads, ahead of their reader and in its order, with a bounded number of windows in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import Empty, Queue
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")
ITEMS_PER_WORKER = 4
VALUES_AHEAD = 4
"""Values of one key that wait for the reader; a value is a window of audio."""


class _Stream(Generic[Value]):
    """The values of one key, made by a worker, taken by the reader."""

    def __init__(self) -> None:
        self.values: Queue[Value | BaseException | None] = Queue(VALUES_AHEAD)
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


def ahead(
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
        >>> [(key, list(found)) for key, found in ahead([1, 2, 3], range, num_workers=2)]
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
