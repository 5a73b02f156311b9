"""Speed and memory of a model: how much audio it scores in a second, and what it takes meanwhile."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lightning_aqa.batch import Batch
from lightning_aqa.module import AQAModule
from lightning_aqa.results.facts import add_fact

MEGA = 1e6


class ScoringSpeed(Callback):
    """Add to ``run.json`` how fast a test went: encoder and head, without reading and decoding files.

    The first batch is left out if there are others, being slower. Batches of cached features say nothing of the
    encoder and do not count; a test of these alone leaves the memory only.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._start = 0.0
        self._steps: list[tuple[float, float]] = []

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew; the peak of a GPU's memory is that of the test alone."""
        self._steps = []
        forget_peak(pl_module.device)

    def on_test_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Look at the clock."""
        wait(pl_module.device)
        self._start = time.perf_counter()

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Note how many seconds of audio took how long."""
        assert isinstance(pl_module, AQAModule)
        wait(pl_module.device)
        took = time.perf_counter() - self._start
        if cast(Batch, batch).features is None:
            seconds = float(cast(Batch, batch).num_samples.sum()) / pl_module.encoder.sample_rate
            self._steps.append((seconds, took))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it down."""
        if not trainer.is_global_zero:
            return
        steps = self._steps[1:] or self._steps
        speed = {"device": device_name(pl_module.device), "peak_megabytes": round(peak_bytes(pl_module.device) / MEGA)}
        if steps:
            speed["times_real_time"] = float(f"{sum(s for s, _ in steps) / sum(took for _, took in steps):.3g}")
        add_fact(self.folder, "speed", speed)


def wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return the name of a card, or the number of threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type


def forget_peak(device: torch.device) -> None:
    """Begin anew with the peak of a GPU's memory; that of a process stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> float:
    """Return the most memory that was taken: of a GPU, or else of the whole process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
