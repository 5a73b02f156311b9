"""Score shards on a Ray cluster: the same rows in the same order as on one machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from lightning_aqa.scoring.batching import DeviceError, ScoredClip
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.load import load
from lightning_aqa.scoring.ray_crew import Crew, Shard
from lightning_aqa.utils.ray import cluster


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
        model: Words that change a config.
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
        told = os.getcwd(), source, list(model), dict(settings), num_threads
        yield from Crew(ray, lambda: remote.remote(*told), count).score(shards_of(numbered))


def shards_of(numbered: Iterable[tuple[int, Item]]) -> Iterator[Shard]:
    """Gather the clips of each shard.

    Example:
        >>> [len(shard) for shard in shards_of([(0, Item("a", "a")), (0, Item("b", "b")), (2, Item("c", "c"))])]
        [2, 1]
    """
    return (list(shard) for _, shard in groupby(numbered, key=lambda pair: pair[0]))
