"""Gather rows over processes: exactly, in rank order, also where ranks hold different numbers of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn import functional

from lightning_aqa.batch import Batch, Output

_all_gather: Callable[[Tensor], Sequence[Tensor]] = functional.all_gather


def num_processes() -> int:
    """Count the processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Return which of the processes this is, from 0 on."""
    return dist.get_rank() if num_processes() > 1 else 0


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all ranks, with a gradient to each rank's own.

    With the gathered rows every rank computes the same full loss; the mean of gradients that DDP takes is then the
    gradient of that loss, with no factor.

    Args:
        rows: This rank's rows, shape ``(N_rank, ...)``; sizes after the first may differ between ranks too, shorter
            ones are padded with zeros (False) at the end.

    Returns:
        All rows, shape ``(sum of N_rank, ...)``, in rank order.
    """
    num_ranks = num_processes()
    if num_ranks == 1:
        return rows
    shape = torch.tensor(rows.shape, device=rows.device)
    shapes = [torch.zeros_like(shape) for _ in range(num_ranks)]
    dist.all_gather(shapes, shape)
    largest = torch.stack(shapes).amax(0).tolist()
    padded = _pad_to(rows, largest)
    if rows.is_floating_point() and rows.requires_grad:
        parts = list(_all_gather(padded.contiguous()))
    else:
        parts = [torch.zeros_like(padded) for _ in range(num_ranks)]
        dist.all_gather(parts, padded.contiguous())
    return torch.cat([part[: int(shape[0])] for part, shape in zip(parts, shapes, strict=True)])


def _pad_to(rows: Tensor, shape: list[int]) -> Tensor:
    if list(rows.shape) == shape:
        return rows
    missing = [extra for have, want in zip(rows.shape, shape, strict=True) for extra in (want - have, 0)]
    return torch.nn.functional.pad(rows, missing[::-1])


def broadcast_from_first(tensors: Iterable[Tensor]) -> None:
    """Give all ranks the tensors of rank zero, in place."""
    if num_processes() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def gather_objects(rows: list[Any]) -> list[Any]:
    """Concatenate lists of plain objects over ranks."""
    if num_processes() == 1:
        return rows
    parts: list[list[Any] | None] = [None] * num_processes()
    dist.all_gather_object(parts, rows)
    return [row for part in parts if part for row in part]


def gather_training(output: Output, batch: Batch) -> tuple[Output, Batch]:
    """Gather what objectives read: all of the output, and the batch without its audio and features.

    Rows come in the order of the global batch, of which rank r holds every W-th row from the r-th on: an objective that
    draws at random draws the same as on one process.
    """
    if num_processes() == 1:
        return output, batch
    positions = torch.arange(len(batch.ids), device=output.scores.device) * num_processes() + process_number()
    order = gather_rows(positions).argsort()
    fields = {name: gather_rows(field)[order] for name, field in output._asdict().items() if field is not None}
    everywhere = Output(**fields)
    names = gather_objects(list(zip(batch.ids, batch.systems, batch.domains, batch.prompts, strict=True)))
    ids, systems, domains, prompts = (list(column) for column in zip(*(names[i] for i in order.tolist()), strict=True))
    num_samples, scores = gather_rows(batch.num_samples)[order], gather_rows(batch.scores)[order]
    silence = batch.waveform.new_zeros(len(ids), 0)
    return everywhere, Batch(silence, num_samples, scores, ids, systems, domains, prompts, pairs=batch.pairs)


RANKS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that were started together, from the environment alone."""
    return all(int(os.environ.get(name) or "0") == 0 for name in RANKS)


def is_local_rank_zero() -> bool:
    """Tell whether this is the first process of its machine, which tells what all of them find."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))) == 0


def wait_for_launcher_exit(seconds: float = 20.0) -> None:
    """Wait until the process that started this one is gone, or for some seconds.

    What starts processes kills the others as soon as one ends with an error: maybe that which has yet to tell it.
    """
    parent, end = os.getppid(), time.monotonic() + seconds
    while os.getppid() == parent and time.monotonic() < end:
        time.sleep(0.05)


def destroy_group() -> None:
    """Leave the group without waiting for the others, which then cannot wait for this process either."""
    if num_processes() > 1:
        dist.destroy_process_group()


def barrier_and_destroy() -> None:
    """Wait for all processes and leave the group, without which gloo may abort at exit."""
    if num_processes() > 1:
        dist.barrier()
    destroy_group()
