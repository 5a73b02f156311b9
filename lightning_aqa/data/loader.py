"""How batches are read: worker processes, memory that a GPU reads from, and settings that go together."""

from __future__ import annotations

import os
from typing import Any

import lightning as L
import torch

from lightning_aqa.data.dataset import collate

BATCH_SIZE = 16
MOST_WORKERS = 8


def workers_for_gpus() -> int:
    """Return how many workers each loader gets unless told otherwise.

    None without a GPU, where they would take the cores that train; else the process's share of the cores, up to 8.
    """
    if not torch.cuda.is_available():
        return 0
    return min(MOST_WORKERS, max(1, len(os.sched_getaffinity(0)) // torch.cuda.device_count()))


def loader_options(num_workers: int, trainer: Any = None, *, stays: bool = False) -> dict[str, Any]:
    """Return how a loader of torch reads: by workers that decode and resample on one thread each.

    Args:
        num_workers: Worker processes; 0 reads in this one.
        trainer: Whose device the batches go to; where that is a CUDA GPU, they are collected in pinned memory.
        stays: Keep the workers from one epoch to the next.
    """
    return {
        "num_workers": num_workers,
        "collate_fn": collate,
        "pin_memory": isinstance(trainer, L.Trainer) and trainer.strategy.root_device.type == "cuda",
        "persistent_workers": stays and num_workers > 0,
    }


def check_batch_settings(
    batch_size: int | None, batch_seconds: float | None, eval_batch_size: int | None, max_padding: float | None
) -> None:
    """Refuse settings of batches that are impossible, alone or together.

    Raises:
        ValueError: If one is out of range, or if both ``batch_size`` and ``batch_seconds`` are given.
    """
    if batch_size is not None and batch_seconds is not None:
        raise ValueError(
            f"batch_size={batch_size} and batch_seconds={batch_seconds:g} both say how large a batch is: "
            "give one of them, and null for the other if the config sets it."
        )
    for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if batch_seconds is not None and not batch_seconds > 0:
        raise ValueError(f"batch_seconds must be above 0, got {batch_seconds:g}.")
    if max_padding is not None and not max_padding >= 1:
        raise ValueError(f"max_padding is padded seconds over real ones, so at least 1; got {max_padding:g}.")
