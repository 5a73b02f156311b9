"""Time QAMRO against a loop over pairs, and weigh the memory it takes: ``python benchmarks/objectives.py``."""

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

TARGETS = {16: 40, 120: 1000, 512: 2000}
Loss = Callable[[Tensor, Tensor], Tensor]


def loop_loss(scores: Tensor, targets: Tensor, margin_scale: float = 0.2, preference_factor: float = 7.0) -> Tensor:
    """Add up one pair after the other in scalar tensors, as the formula reads."""
    place = (targets - targets.min()) / (targets.max() - targets.min())
    total, count = torch.zeros(()), 0
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            gap = targets[i] - targets[j]
            if gap == 0:
                continue
            weight = 1 + (preference_factor - 1) * torch.max(place[i], place[j])
            hinge = torch.relu(margin_scale * gap.abs() - gap.sign() * (scores[i] - scores[j]))
            total, count = total + weight * hinge, count + 1
    return total / max(count, 1)


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    """Make scores and targets between 1 and 5, in steps of 0.2 for the targets as five raters give."""
    generator = torch.Generator().manual_seed(size)
    targets = 1 + torch.randint(0, 21, (size,), generator=generator) / 5
    return (targets + torch.randn(size, generator=generator)).requires_grad_(), targets


def seconds_of_one(loss: Loss, scores: Tensor, targets: Tensor) -> float:
    """Time one forward and backward pass."""
    scores.grad = None
    start = time.perf_counter()
    torch.autograd.backward(loss(scores, targets))
    return time.perf_counter() - start


def time_side_by_side(size: int) -> tuple[float, float]:
    """Return the median seconds of the loop and of ours, repeated in turns so that both see the same machine."""
    scores, targets = batch_of(size)
    for _ in range(20):
        seconds_of_one(qamro_loss, scores, targets)
    repeats = max(1, 20 * 16 // size)
    loop, ours = [], []
    for _ in range(repeats):
        loop.append(seconds_of_one(loop_loss, scores, targets))
        ours += [seconds_of_one(qamro_loss, scores, targets) for _ in range(max(10, 200 // repeats))]
    return median(loop), median(ours)


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
    table = Table(title="QAMRO, forward + backward, float32, one thread")
    for column in ("B", "loop", "ours", "ratio", "asked for", "peak memory", "in B x B floats"):
        table.add_column(column, justify="right")
    console = Console()
    with console.status("looping over pairs"):
        for size, asked in TARGETS.items():
            loop, ours = time_side_by_side(size)
            peak = peak_bytes(size)
            table.add_row(
                str(size),
                f"{loop * 1e3:.1f} ms",
                f"{ours * 1e3:.3f} ms",
                f"{loop / ours:.0f}x",
                f"{asked}x",
                f"{peak / 1024:.0f} KiB",
                f"{peak / (4 * size**2):.1f}",
            )
    console.print(table)
    console.print(f"Largest difference of the two gradients at B = 16: {largest_difference(16):.1e}")


if __name__ == "__main__":
    main()
