"""Score shards on a Ray cluster: the same rows in the same order as on one machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lightning_aqa.scoring.groups import Scored
from lightning_aqa.scoring.items import Item
from lightning_aqa.scoring.loading import load
from lightning_aqa.scoring.shards import shards_of

Shard = list[tuple[int, Item]]
RETRIES = 3
"""How often a shard is given out again after its worker has died."""


class Worker:
    """Hold a scorer in a process of the cluster.

    Args:
        folder: Folder that paths start from, the same on every machine.
        source: Checkpoint or config.
        model: Words that change a config.
        settings: Arguments of ``Scorer``.
        num_threads: Threads of torch.
    """

    def __init__(
        self, folder: str, source: str, model: Sequence[str], settings: Mapping[str, Any], num_threads: int
    ) -> None:
        import torch

        os.chdir(folder)
        torch.set_num_threads(num_threads)
        self.scorer = load(source, model, **settings)

    def score(self, shard: Shard) -> list[Scored]:
        """Score the clips of one shard."""
        return [row for rows in self.scorer.score_items(shard) for row in rows]


def import_ray() -> Any:
    """Return Ray.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("--engine ray needs Ray: pip install 'lightning_aqa[ray]'.") from None
    return ray


def score_on_ray(
    numbered: Iterable[tuple[int, Item]],
    source: str,
    model: Sequence[str],
    settings: Mapping[str, Any],
    num_actors: int | None = None,
    num_threads: int = 1,
) -> Iterator[list[Scored]]:
    """Yield scored clips shard by shard, in order.

    ``RAY_ADDRESS`` names the cluster; without it one is started on this machine and ended at the end.

    Args:
        numbered: Number of the shard of each clip, and the clip.
        source: Checkpoint or config.
        model: Words that change a config.
        settings: Arguments of ``Scorer``.
        num_actors: Workers, each with a copy of the model; None takes one per GPU, or as many as the CPUs allow.
        num_threads: CPUs, and threads of torch, of a worker.
    """
    ray = import_ray()
    is_mine = not ray.is_initialized()
    if is_mine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}))
    try:
        has = ray.cluster_resources()
        num_gpus = int(has.get("GPU", 0)) if str(settings.get("device") or "auto").startswith(("auto", "cuda")) else 0
        count = num_actors or num_gpus or max(1, int(has.get("CPU", 1)) // num_threads)
        needs = {"num_cpus": num_threads, "num_gpus": 1 if num_gpus else 0}
        remote = ray.remote(max_restarts=-1, max_task_retries=RETRIES, **needs)(Worker)
        actors = [remote.remote(os.getcwd(), source, model, settings, num_threads) for _ in range(count)]
        yield from _in_order(ray, actors, shards_of(numbered))
    finally:
        if is_mine:
            ray.shutdown()


def _in_order(ray: Any, actors: Sequence[Any], shards: Iterable[Shard]) -> Iterator[list[Scored]]:
    """Hand shards to whoever is idle, two to each, and yield what comes back in the order of the shards."""
    idle, active = [*actors, *actors], dict[Any, Any]()
    waiting: deque[tuple[Shard, Any]] = deque()
    for shard in shards:
        while not idle:
            finished, _ = ray.wait(list(active), num_returns=1)
            idle += [active.pop(task) for task in finished]
        actor = idle.pop(0)
        task = actor.score.remote(shard)
        active[task] = actor
        waiting.append((shard, task))
        while waiting and (waiting[0][1] not in active or len(waiting) > 4 * len(actors)):
            yield _result(ray, *waiting.popleft())
    while waiting:
        yield _result(ray, *waiting.popleft())


def _result(ray: Any, shard: Shard, task: Any) -> list[Scored]:
    """Return the rows of a shard; where its workers die again and again, rows that say so."""
    try:
        rows: list[Scored] = ray.get(task)
    except ray.exceptions.RayActorError:
        error = f"the worker died {RETRIES + 1} times over the {len(shard)} clips of its shard"
        return [Scored(item, error=error) for _, item in shard]
    return rows
