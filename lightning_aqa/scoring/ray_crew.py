"""Workers of a Ray cluster that are replaced when they are lost, and shards that are then done again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.inputs import Item

Shard = list[tuple[int, Item]]

RETRIES = 3
"""How often a shard is given out again after its worker has died, and a worker replaced that does not start."""
START_SECONDS = 300.0
"""After this time a worker that has not started is taken for lost."""
POLL_SECONDS = 1.0
AHEAD = 4
"""Shards per worker that are drawn before the first of them is done."""


class Crew:
    """Hand shards to those workers that have started, and yield their rows in the order of the shards.

    Ray restarts no actor here: it may lose one that dies while it starts, and calls to that one would wait for ever.
    So a worker gets its first shard only once it has started, and every wait has an end.

    Args:
        ray: The package.
        hire: Makes an actor; its ``start()`` prepares it, its ``score(shard)`` gives the rows of a shard.
        count: Workers that are wanted.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], count: int) -> None:
        self.ray, self.hire, self.count = ray, hire, count
        self._shards: Iterator[tuple[int, Shard]] | None = None
        self._starting: dict[Any, tuple[Any, float]] = {}
        self._idle: deque[Any] = deque()
        self._tasks: dict[Any, tuple[Any, int]] = {}
        self._open: dict[int, Shard] = {}
        self._again: deque[int] = deque()
        self._deaths: dict[int, int] = {}
        self._done: dict[int, list[ScoredClip]] = {}
        self._failed_starts = 0

    def score(self, shards: Iterable[Shard]) -> Iterator[list[ScoredClip]]:
        """Yield the rows of each shard.

        Args:
            shards: Shards of clips; drawn as workers get free, a few ahead of the one that is yielded.

        Raises:
            ValueError: If a worker cannot load the model, or none can be started.
        """
        self._shards, place = enumerate(shards), 0
        try:
            for _ in range(self.count):
                self._start_one()
            while self._shards or self._open:
                is_busy = self._hand_out()
                while place in self._done:
                    del self._open[place]
                    yield self._done.pop(place)
                    place += 1
                    is_busy = True  # there is room for more
                if not is_busy:
                    self._wait()
        finally:
            for actor in {id(actor): actor for actor in self._actors()}.values():
                self.ray.kill(actor)

    def _actors(self) -> Iterator[Any]:
        yield from (actor for actor, _ in self._starting.values())
        yield from (actor for actor, _ in self._tasks.values())
        yield from self._idle

    def _start_one(self) -> None:
        actor = self.hire()
        self._starting[actor.start.remote()] = (actor, time.monotonic())

    def _hand_out(self) -> bool:
        """Give a shard to the worker that has least to do; return False if there is nothing to do now."""
        if not self._idle:
            return False
        if self._again:
            place = self._again.popleft()
        elif self._shards and len(self._open) < AHEAD * self.count:
            found = next(self._shards, None)
            if found is None:
                self._shards = None
                return True
            place, self._open[found[0]] = found
        else:
            return False
        holders = [holder for holder, _ in self._tasks.values()]
        actor = min(self._idle, key=holders.count)
        self._idle.remove(actor)
        self._tasks[actor.score.remote(self._open[place])] = (actor, place)
        return True

    def _wait(self) -> None:
        """Wait until something happens, for a second at most."""
        refs = [*self._tasks, *self._starting]
        finished, _ = self.ray.wait(refs, num_returns=1, timeout=POLL_SECONDS)
        for ref in finished:
            if ref in self._starting:
                self._started(ref)
            elif ref in self._tasks:
                self._scored(ref)
        now = time.monotonic()
        late = [ref for ref, (_, since) in self._starting.items() if now - since > START_SECONDS]
        ready = self.ray.wait(late, num_returns=len(late), timeout=0)[0] if late else []
        for ref in late:
            actor = self._starting[ref][0]
            if ref in ready:
                self._started(ref)
            else:
                self._not_started(ref, actor, f"not ready after {START_SECONDS:g} s")

    def _started(self, ref: Any) -> None:
        actor, _ = self._starting[ref]
        try:
            self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise ValueError(
                f"a worker of the cluster cannot load the model ({error.cause}); its machine needs the same paths and "
                "packages as this one."
            ) from error
        except self.ray.exceptions.RayError as error:
            self._not_started(ref, actor, str(error).strip().splitlines()[-1])
        else:
            del self._starting[ref]
            self._failed_starts = 0
            self._idle.append(actor)  # one shard at a time, so that it is known which one a worker died of

    def _not_started(self, ref: Any, actor: Any, why: str) -> None:
        """Replace a worker that was lost before it worked."""
        del self._starting[ref]
        self.ray.kill(actor)
        self._failed_starts += 1
        if self._failed_starts <= RETRIES * self.count:
            self._start_one()
        elif next(self._actors(), None) is None:
            raise ValueError(
                f"no worker of the cluster could be started in {self._failed_starts} attempts ({why}): each needs its "
                "CPUs (or GPU) and memory for a model; see `ray status`, or take fewer by --num_actors."
            )

    def _scored(self, ref: Any) -> None:
        actor, place = self._tasks[ref]
        try:
            rows = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError:  # a mistake of ours, not of the cluster
            raise
        except self.ray.exceptions.RayError:
            self._lost(actor)
        else:
            del self._tasks[ref]
            self._done[place] = rows
            self._idle.append(actor)

    def _lost(self, actor: Any) -> None:
        """Replace a worker that died; the shard that it was at is to blame, others in its hands are not."""
        self.ray.kill(actor)
        held = [(ref, place) for ref, (holder, place) in self._tasks.items() if holder is actor]
        for ref, _ in held:
            del self._tasks[ref]
        self._idle = deque(other for other in self._idle if other is not actor)
        first, *others = [place for _, place in held]
        self._deaths[first] = self._deaths.get(first, 0) + 1
        if self._deaths[first] <= RETRIES:
            self._again.append(first)
        else:
            shard = self._open[first]
            error = (
                f"the worker died {self._deaths[first]} times over the {len(shard)} clips of this shard; --retry with "
                "--shard_clips=1 tells which one does it"
            )
            self._done[first] = [ScoredClip(item, error=error) for _, item in shard]
        self._again.extend(others)
        self._start_one()
