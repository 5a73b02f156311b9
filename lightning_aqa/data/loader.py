"""Loaders of batches: worker processes, pinned memory, a position to resume from, settings that go together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler

from lightning_aqa.data.dataset import WindowRow, collate
from lightning_aqa.data.windows import Window

BATCH_SIZE = 16

MOST_WORKERS = 8


def workers_for_gpus() -> int:
    """Return how many workers each loader gets unless the user says otherwise.

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
        "worker_init_fn": _leave_group if num_workers > 0 else None,
        "collate_fn": collate,
        "pin_memory": isinstance(trainer, L.Trainer) and trainer.strategy.root_device.type == "cuda",
        "persistent_workers": stays and num_workers > 0,
    }


def _leave_group(worker: int) -> None:
    """Keep Ctrl-C, and what else is sent to the group of the process that trains, from its workers; it ends them."""
    with suppress(OSError, AttributeError):  # there are no groups on Windows
        os.setpgid(0, 0)


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


class RestOfEpoch(Sampler[list[Window]]):
    """Leave out the first batches of the next epoch, then none.

    Args:
        batches: Draws the batches of an epoch, the same whenever it is asked for the same epoch.

    Attributes:
        first: Number of batches to leave out.
    """

    def __init__(self, batches: Sampler[list[Window]]) -> None:
        self.batches, self.first = batches, 0

    @property
    def sampler(self) -> Sampler[list[Window]]:
        """This sampler: Lightning looks for ``set_epoch`` here."""
        return self.batches

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[Window]]:
        """Yield what is left of the epoch."""
        first, self.first = self.first, 0
        yield from islice(self.batches, first, None)


class ResumableLoader(DataLoader[WindowRow]):
    """Serve batches that follow from (seed, epoch), from the batch on that a checkpoint stands at.

    Lightning keeps ``state_dict`` in its checkpoints, and loads it where it resumes within an epoch. Audio that was
    used before is not read again, whatever the number of workers: these only see the batches that are left.

    Args:
        dataset: Reads the windows of a batch.
        batches: Draws the batches of an epoch, the same whenever it is asked for the same epoch.
        options: Further arguments of torch's ``DataLoader``.
    """

    def __init__(self, dataset: Any, batches: Sampler[list[Window]], **options: Any) -> None:
        self.rest = RestOfEpoch(batches)
        self.num_served = 0
        super().__init__(dataset, batch_sampler=self.rest, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches; as a generator, so that workers start after Lightning has set the epoch."""
        self.num_served = self.rest.first
        for batch in super().__iter__():
            self.num_served += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch were served, and of how many."""
        return {"num_served": self.num_served, "num_batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start the next epoch after the batches that were served.

        Raises:
            ValueError: If an epoch has another number of batches here.
        """
        if state_dict["num_batches"] != len(self):
            raise ValueError(
                f"The checkpoint stands within an epoch of {state_dict['num_batches']} batches, which has {len(self)} "
                "here: resume with the same data, batch_size and number of processes."
            )
        self.rest.first = state_dict["num_served"]
