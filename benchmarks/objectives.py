"""Time QAMRO against a double loop over pairs, and weigh its memory: ``python benchmarks/objectives.py``.

The released implementation loops over pairs in Python; here all pairs of a batch are one matrix.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lightning_aqa.objectives.qamro import qamro_loss

SIZES = (16, 120, 512, 2048, 4096)
LARGEST_LOOP = 512  # a batch of 2048 would take the loop some minutes
Loss = Callable[[Tensor, Tensor], Tensor]


def loop_loss(scores: Tensor, targets: Tensor, margin_scale: float = 0.2, preference_factor: float = 7.0) -> Tensor:
    """Add up one pair after the other in scalar tensors, as the released implementation does."""
    quality = (targets - targets.min()) / (targets.max() - targets.min())
    total, count = torch.zeros(()), 0
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            gap = targets[i] - targets[j]
            if gap == 0:
                continue
            weight = 1 + (preference_factor - 1) * torch.max(quality[i], quality[j])
            hinge = torch.relu(margin_scale * gap.abs() - gap.sign() * (scores[i] - scores[j]))
            total, count = total + weight * hinge, count + 1
    return total / max(count, 1)


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    """Make scores and targets between 1 and 5, in steps of 0.2 for the targets as five raters give."""
    generator = torch.Generator().manual_seed(size)
    targets = 1 + torch.randint(0, 21, (size,), generator=generator) / 5
    return (targets + torch.randn(size, generator=generator)).requires_grad_(), targets


def seconds_of_one(loss: Loss, scores: Tensor, targets: Tensor) -> float:
    """Time one forward and backward pass, in CPU seconds."""
    scores.grad = None
    start = time.process_time()
    torch.autograd.backward(loss(scores, targets))
    return time.process_time() - start


def median_seconds(loss: Loss, size: int, repeats: int) -> float:
    """Return the median time of a pass."""
    scores, targets = batch_of(size)
    return median(seconds_of_one(loss, scores, targets) for _ in range(repeats))


def row(size: int) -> list[str]:
    """Measure one batch size; what is timed first warms up for what is timed next."""
    median_seconds(qamro_loss, size, 3)
    ours = median_seconds(qamro_loss, size, max(7, 3200 // size))
    loop = median_seconds(loop_loss, size, max(1, 320 // size)) if size <= LARGEST_LOOP else None
    peak = peak_bytes(size)
    return [
        str(size),
        "-" if loop is None else f"{loop * 1e3:.1f} ms",
        f"{ours * 1e3:.3g} ms",
        "-" if loop is None else f"{loop / ours:.0f}x",
        f"{peak / 2**20:.3g} MiB",
        f"{peak / (4 * size**2):.1f}",
    ]


def largest_difference(size: int) -> float:
    """Return by how much the two gradients differ at most."""
    scores, targets = batch_of(size)
    (ours,) = torch.autograd.grad(qamro_loss(scores, targets), scores)
    (loop,) = torch.autograd.grad(loop_loss(scores, targets), scores)
    return float((ours - loop).abs().max())


def peak_bytes(size: int) -> int:
    """Return the most bytes of tensors that one forward and backward pass of ours holds at a time."""
    scores, targets = batch_of(size)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        torch.autograd.backward(qamro_loss(scores, targets))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    held, peak = 0, 0
    for event in sorted(changes, key=lambda event: float(event["ts"])):
        held += int(event["args"]["Bytes"])
        peak = max(peak, held)
    return peak


def main() -> None:
    """Print the table."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler reports a missing GPU as an error
    torch.set_num_threads(1)
    table = Table(title="QAMRO, forward + backward, float32, CPU time of one thread")
    for column in ("B", "loop", "ours", "ratio", "peak memory", "in B x B floats"):
        table.add_column(column, justify="right")
    console = Console()
    with console.status("comparing pairs"):
        for size in SIZES:
            table.add_row(*row(size))
    console.print(table)
    console.print(f"Largest difference of the two gradients at B = 120: {largest_difference(120):.1e}")


if __name__ == "__main__":
    main()
