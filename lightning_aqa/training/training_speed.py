"""Speed of a training: clips in a second, the share of the device's peak that its FLOPs are, and the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar, Timer

from lightning_aqa.batch import Batch
from lightning_aqa.results.facts import add_fact
from lightning_aqa.training.flops import DTYPES, flop_counter, peak_flops
from lightning_aqa.training.speed import MEGA, device_name, forget_peak, peak_bytes, wait
from lightning_aqa.utils.text import duration

SECONDS_BETWEEN = 60.0
"""Least time between two writings of the speed while the training runs."""

CACHED, AUDIO = "cached features", "audio"


class TrainingSpeed(Callback):
    """Tell how fast a training goes, on the screen and as ``training_speed`` in ``run.json``; it changes no number.

    ``clips_per_second`` are the clips of all processes over the time that epochs take on the wall, loading included;
    validation, checkpoints and, where there are others, the first step are left out. ``reads`` says whether the
    encoder ran (``audio``) or not (``cached features``). The FLOPs of the first step are counted, see ``flop_counter``,
    and those of all steps follow by the size of their padded batches; ``mfu`` is what one device does of them in a
    second over ``peak_teraflops``, and null where that peak is not known, as on a CPU.

    Args:
        folder: The run folder.
        is_shown: Whether the screen says it.

    Attributes:
        measured: What ``run.json`` is told, to three digits; empty until there is something.
        seconds_left: Estimated after each epoch; None where nothing limits the training.
    """

    def __init__(self, folder: str | Path, is_shown: bool = True) -> None:
        self.folder, self.is_shown = Path(folder), is_shown
        self.measured: dict[str, Any] = {}
        self.seconds_left: float | None = None
        self._counter: Any = None
        self._begin(0)

    def _begin(self, step: int) -> None:
        self._start = self._written = time.perf_counter()
        self._first_step, self._epochs, self._steps = step, 0, 0
        self._lap: float | None = None
        self._flops = 0
        self._seconds, self._clips, self._size, self._flops_per_size = 0.0, 0, 0, 0.0
        self._reads = AUDIO

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew, and show the time left in a progress bar, if there is one."""
        self._begin(trainer.global_step)
        forget_peak(pl_module.device)
        if (bar := trainer.progress_bar_callback) is not None:
            cast(Any, bar).get_metrics = partial(_with_time_left, type(bar).get_metrics, bar)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._lap = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Go on after a validation; count the first step."""
        if self._lap is None:
            self._lap = time.perf_counter()
        if self._steps == 0:
            self._counter = flop_counter().__enter__()

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Count no longer: an optimiser multiplies no matrices, and its errors are told by where they are raised."""
        self._stop_counting()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the clips of a step; what the first one took is forgotten as soon as there is a second."""
        size = _size(cast(Batch, batch))
        if self._steps == 0:
            self._stop_counting()
            self._flops_per_size = self._flops / max(size, 1)
            self._reads = AUDIO if batch.features is None else CACHED
            self._halt(pl_module)
            self._lap = time.perf_counter()
        elif self._steps == 1:
            self._seconds, self._clips, self._size = 0.0, 0, 0
        self._steps += 1
        self._clips += len(batch.ids)
        self._size += size

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._halt(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock, and estimate the time left."""
        self._halt(pl_module)
        self._epochs += 1
        self.seconds_left = self._estimate(trainer)
        if time.perf_counter() - self._written > SECONDS_BETWEEN:
            self._written = time.perf_counter()
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it down, and say it in a line."""
        self.seconds_left = 0.0
        if self._seconds > 0:
            self._write(trainer, pl_module)
            if self.is_shown and trainer.is_global_zero:
                print(summary_of(self.measured), flush=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Count no longer."""
        self._stop_counting()

    def _stop_counting(self) -> None:
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.__exit__(None, None, None)
            self._flops = int(counter.get_total_flops())

    def _halt(self, module: L.LightningModule) -> None:
        if self._lap is not None:
            wait(module.device)
            self._seconds += time.perf_counter() - self._lap
            self._lap = None

    def _estimate(self, trainer: L.Trainer) -> float | None:
        """Return the seconds left by what limits the training first: epochs, steps or time; None without a limit."""
        each = (time.perf_counter() - self._start) / self._epochs
        steps = (trainer.global_step - self._first_step) / self._epochs
        left = [timer.time_remaining() for timer in cast(Any, trainer).callbacks if isinstance(timer, Timer)]
        if (trainer.max_epochs or -1) > 0:
            left.append(each * (cast(int, trainer.max_epochs) - trainer.current_epoch - 1))
        if trainer.max_steps > 0 and steps:
            left.append(each * (trainer.max_steps - trainer.global_step) / steps)
        return min((max(seconds, 0.0) for seconds in left if seconds is not None), default=None)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what was measured so far."""
        peak = peak_flops(pl_module.device, DTYPES.get(str(trainer.precision)))
        flops = self._flops_per_size * self._size
        numbers = {
            "clips_per_second": self._clips * trainer.world_size / self._seconds,
            "gigaflop_per_clip": flops / self._clips / 1e9,
            "mfu": None if peak is None or not flops else flops / self._seconds / peak,
            "peak_teraflops": None if peak is None else peak / 1e12,
            "peak_megabytes": float(round(peak_bytes(pl_module.device) / MEGA)),
            "seconds": time.perf_counter() - self._start,
            "hours_left": None if self.seconds_left is None else self.seconds_left / 3600,
        }
        about = {"device": device_name(pl_module.device), "devices": trainer.world_size, "reads": self._reads}
        about |= {"precision": str(trainer.precision)}
        self.measured = about | {name: x if x is None else float(f"{x:.3g}") for name, x in numbers.items()}
        if trainer.is_global_zero:
            add_fact(self.folder, "training_speed", self.measured)


def _size(batch: Batch) -> int:
    """Return the numbers that a step reads, padding included: samples of audio, or cached features."""
    return (batch.waveform if batch.features is None else batch.features.layers).numel()


def summary_of(measured: dict[str, Any]) -> str:
    """Say in a line how fast a training was.

    Example:
        >>> numbers = {"clips_per_second": 512.0, "mfu": 0.412, "peak_megabytes": 812.0, "seconds": 75.0}
        >>> summary_of({**numbers, "reads": "audio", "device": "NVIDIA A100", "precision": "bf16-mixed"})
        'training took 1 min 15 s: 512 clips/s from audio, MFU 41 %, 812 MB at most; NVIDIA A100, bf16-mixed'
    """
    mfu = "" if measured["mfu"] is None else f" MFU {100 * measured['mfu']:.2g} %,"
    speed = f"{measured['clips_per_second']:g} clips/s from {measured['reads']},{mfu}"
    memory = f"{measured['peak_megabytes']:.0f} MB at most"
    about = f"{measured['device']}, {measured['precision']}"
    return f"training took {duration(measured['seconds'])}: {speed} {memory}; {about}"


def time_left(trainer: L.Trainer) -> str:
    """Say how long the training will still take; empty where it is not known, or below a second."""
    found = [one for one in cast(Any, trainer).callbacks if isinstance(one, TrainingSpeed)]
    seconds = found[0].seconds_left if found else None
    return f"{duration(seconds)} left" if seconds and seconds >= 0.5 else ""


def of_runs(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one ``training_speed`` for several runs: means of rates, the sum of seconds, the highest peak."""
    if not found:
        return {}
    means = {name: _mean([each[name] for each in found]) for name in ("clips_per_second", "gigaflop_per_clip", "mfu")}
    seconds, peak = sum(each["seconds"] for each in found), max(each["peak_megabytes"] for each in found)
    return {**found[0], **means, "seconds": float(f"{seconds:.3g}"), "peak_megabytes": peak}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(f"{fmean(known):.3g}") if known else None


class RunsLeft:
    """Estimate the time that the runs of a cross-validation still take, by those that were trained here.

    Args:
        count: Number of runs, those included that are there already.
    """

    def __init__(self, count: int) -> None:
        self.count, self.num_trained, self.start = count, 0, time.perf_counter()

    def after(self, is_new: bool) -> str:
        """Return the words behind what is said of a run that has ended; empty where nothing is known or left.

        Args:
            is_new: Whether it was trained here.
        """
        self.count -= 1
        self.num_trained += is_new
        if not self.num_trained or not self.count:
            return ""
        return f"; {duration(self.count * (time.perf_counter() - self.start) / self.num_trained)} left"


def _with_time_left(usual: Any, bar: ProgressBar, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
    """Return what a progress bar shows behind it, and the time left of the whole training."""
    shown: dict[str, Any] = usual(bar, trainer, module)
    left = time_left(trainer)
    return {**shown, "left": left.removesuffix(" left")} if left else shown
