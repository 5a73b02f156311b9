"""Score shards on a Ray cluster: the same rows in the same order as on one machine, also where workers are lost."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from lightning_aqa.scoring.batching import DeviceError, ScoredClip
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.load import load
from lightning_aqa.utils.ray import cluster

Shard = list[tuple[int, Item]]

RETRIES = 3
"""How often a shard is given out again after its worker has died, and a worker replaced that does not start."""
START_SECONDS = 300.0
"""After this time a worker that has not started is taken for lost."""
POLL_SECONDS = 1.0
PREFETCH = 4
"""Shards per worker that are drawn before the first of them is done."""


def score_on_ray(
    numbered: Iterable[tuple[int, Item]],
    source: str,
    model: Sequence[str],
    settings: Mapping[str, Any],
    num_actors: int | None = None,
    num_threads: int = 1,
) -> Iterator[list[ScoredClip]]:
    """Yield scored clips shard by shard, in order.

    ``RAY_ADDRESS`` names the cluster; without it one is started on this machine and ended at the end.

    Args:
        numbered: Number of the shard of each clip, and the clip.
        source: Checkpoint or config.
        model: Arguments that change a config.
        settings: Arguments of ``Scorer``.
        num_actors: Workers, each with a copy of the model; None takes one per GPU, or as many as the CPUs allow.
        num_threads: CPUs, and threads of torch, of a worker.
    """
    with cluster() as ray:
        has = ray.cluster_resources()
        num_gpus = int(has.get("GPU", 0)) if str(settings.get("device") or "auto").startswith(("auto", "cuda")) else 0
        count = num_actors or num_gpus or max(1, int(has.get("CPU", 1)) // num_threads)
        needs = {"num_cpus": num_threads, "num_gpus": 1 if num_gpus else 0}
        remote = ray.remote(max_restarts=0, max_task_retries=0, **needs)(Worker)
        args = os.getcwd(), source, list(model), dict(settings), num_threads
        yield from ActorPool(ray, lambda: remote.remote(*args), count).score(shards_of(numbered))


def shards_of(numbered: Iterable[tuple[int, Item]]) -> Iterator[Shard]:
    """Gather the clips of each shard.

    Example:
        >>> [len(shard) for shard in shards_of([(0, Item("a", "a")), (0, Item("b", "b")), (2, Item("c", "c"))])]
        [2, 1]
    """
    return (list(shard) for _, shard in groupby(numbered, key=lambda pair: pair[0]))


class Worker:
    """Hold a scorer in a process of the cluster.

    Args:
        folder: Folder that paths start from, the same on every machine.
        source: Checkpoint or config.
        model: Arguments that change a config.
        settings: Arguments of ``Scorer``.
        num_threads: Threads of torch.
    """

    def __init__(
        self, folder: str, source: str, model: Sequence[str], settings: Mapping[str, Any], num_threads: int
    ) -> None:
        self.folder, self.source, self.model = folder, source, model
        self.settings, self.num_threads = settings, num_threads

    def start(self) -> None:
        """Load the model.

        Raises:
            ValueError: If it cannot be loaded on this machine.
        """
        import torch

        os.chdir(self.folder)
        torch.set_num_threads(self.num_threads)
        self.scorer = load(self.source, self.model, **self.settings)

    def score(self, shard: Shard) -> list[ScoredClip]:
        """Score the clips of one shard; where the device has failed, end the process, so that it is replaced."""
        try:
            return [row for rows in self.scorer.score_items(shard) for row in rows]
        except DeviceError:
            os._exit(1)


class ActorPool:
    """Hand shards to those workers that have started, and yield their rows in the order of the shards.

    Ray restarts no actor here: it may lose one that dies while it starts, and calls to that one would wait for ever.
    So a worker gets its first shard only once it has started, and every wait has an end.

    Args:
        ray: The package.
        make_actor: Makes an actor; its ``start()`` prepares it, its ``score(shard)`` gives the rows of a shard.
        count: Workers that are wanted.
    """

    def __init__(self, ray: Any, make_actor: Callable[[], Any], count: int) -> None:
        self.ray, self.make_actor, self.count = ray, make_actor, count
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
        self._shards, index = enumerate(shards), 0
        try:
            for _ in range(self.count):
                self._start_one()
            while self._shards or self._open:
                is_busy = self._dispatch()
                while index in self._done:
                    del self._open[index]
                    yield self._done.pop(index)
                    index += 1
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
        actor = self.make_actor()
        self._starting[actor.start.remote()] = (actor, time.monotonic())

    def _dispatch(self) -> bool:
        """Give a shard to the worker that has least to do; return False if there is nothing to do now."""
        if not self._idle:
            return False
        if self._again:
            index = self._again.popleft()
        elif self._shards and len(self._open) < PREFETCH * self.count:
            found = next(self._shards, None)
            if found is None:
                self._shards = None
                return True
            index, self._open[found[0]] = found
        else:
            return False
        holders = [holder for holder, _ in self._tasks.values()]
        actor = min(self._idle, key=holders.count)
        self._idle.remove(actor)
        self._tasks[actor.score.remote(self._open[index])] = (actor, index)
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
        actor, index = self._tasks[ref]
        try:
            rows = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError:  # a mistake of ours, not of the cluster
            raise
        except self.ray.exceptions.RayError:
            self._lost(actor)
        else:
            del self._tasks[ref]
            self._done[index] = rows
            self._idle.append(actor)

    def _lost(self, actor: Any) -> None:
        """Replace a worker that died; the shard that it was at is to blame, others in its hands are not."""
        self.ray.kill(actor)
        held = [(ref, index) for ref, (holder, index) in self._tasks.items() if holder is actor]
        for ref, _ in held:
            del self._tasks[ref]
        self._idle = deque(other for other in self._idle if other is not actor)
        first, *others = [index for _, index in held]
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
