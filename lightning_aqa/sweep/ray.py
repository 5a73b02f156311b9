"""Run a sweep on a Ray cluster: each Ray task is a local engine with one worker, on the folder that all share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightning_aqa.utils.ray import cluster
from lightning_aqa.utils.signals import end_with_parent


def run_on_ray(args: Sequence[str], folder: Path, *, workers: int) -> None:
    """Start engines around the cluster that take the trials of one sweep folder in turns.

    The cluster is that of ``RAY_ADDRESS``; without it Ray is started on this machine. All its machines must see the
    working folder under the same path, and have this package.

    Args:
        args: Arguments of the subcommand, without the engine and the number of workers.
        folder: The sweep folder; the engines print to ``ray-<k>.log`` there.
        workers: How many engines.

    Raises:
        ValueError: If Ray is missing, no cluster is found, or an engine failed.
    """
    with cluster() as ray:
        resources = ray.cluster_resources()
        share = {name: resources.get(key, 0) / workers for name, key in (("num_cpus", "CPU"), ("num_gpus", "GPU"))}
        share = {name: amount if amount < 1 else int(amount) for name, amount in share.items()}
        task = ray.remote(**share)(engine)
        cores = max(int(share["num_cpus"]), 1)
        logs = [folder / f"ray-{number}.log" for number in range(workers)]
        codes = ray.get([task.remote(list(args), str(Path.cwd()), str(log.resolve()), cores) for log in logs])
    if any(codes):
        raise ValueError(
            f"{sum(map(bool, codes))} of {workers} engines failed, see {folder}/ray-*.log; trials that have finished "
            "are kept: the same command goes on, and --show prints their table."
        )


def engine(args: list[str], folder: str, log: str, cores: int) -> int:
    """Run a local engine with one worker in a process of its own, that ends with this task.

    Args:
        args: Arguments of the subcommand.
        folder: The working folder.
        log: File for what it prints.
        cores: Cores that it may use.
    """
    command = [sys.executable, "-m", "lightning_aqa", "sweep", "--engine=local", "--workers=1", "--part", *args]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(end_with_parent, signal.SIGTERM),  # Ray kills a task's process; its engine ends cleanly
        )
        try:
            return process.wait()
        finally:
            process.terminate()
