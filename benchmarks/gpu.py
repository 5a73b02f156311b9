"""Time training and scoring on a GPU: ``python benchmarks/gpu.py`` prints a table, then runs the tests marked ``gpu``.

Encoders have random weights in the sizes of the published ones, under a head of two layers; clips are noise that lies
in memory. Training is what ``fit`` does, by Lightning and with Adam; scoring is the forward pass of encoder and head.
Both are in float32, or under autocast in bfloat16 or float16 (gradients scaled), as ``--trainer.precision`` has it.

MFU is the FLOPs of the model over those that the maker of the card states for the type, by Lightning's table; a dash
where that does not know the card. "of GEMM" is the same over what a large matrix product reaches here, and so is known
for every card. How FLOPs are counted: ``lightning_aqa/training/flops.py``.

Without a GPU it ends in one line and exit code 0; ``--device=cpu --encoders=Descriptors,MelSpectrogram --seconds=1``
makes the table in small.
"""

from __future__ import annotations

import argparse
import io
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from encoder_speed import BUILDS
from lightning.pytorch.plugins import MixedPrecision
from rich import box
from rich.console import Console
from rich.table import Table
from torch.amp.grad_scaler import GradScaler
from torch.utils.data import DataLoader

from lightning_aqa.data.plain_batch import as_batch
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.training.flops import DTYPES, flop_counter, peak_flops
from lightning_aqa.training.speed import MEGA, device_name, forget_peak, peak_bytes, wait
from lightning_aqa.training.training_speed import TrainingSpeed

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
TRAINED = {"frozen": "all", "fine-tuned": "none"}
GEMM_SIZE = {"cuda": 8192, "cpu": 512}
COLUMNS = (
    "encoder", "computed in", "trained", "training clips/s", "MFU", "of GEMM", "peak MB",
    "scoring clips/s", "MFU", "of GEMM", "peak MB",
)  # fmt: skip
NO_GPU = (
    "no GPU here (torch finds no CUDA device), nothing to time; "
    "--device=cpu --encoders=Descriptors,MelSpectrogram --seconds=1 makes the table in small"
)


class Speed(NamedTuple):
    """Clips and FLOPs in a second, and the most bytes that were taken."""

    clips: float
    flops: float
    peak: float


class Settings(NamedTuple):
    """Settings of the command line that every row shares."""

    device: torch.device
    batch_size: int
    seconds: float
    steps: int

    def batch(self, encoder: Encoder) -> dict[str, Any]:
        """Make a batch of noise with scores."""
        waveform = 0.1 * torch.randn(self.batch_size, int(self.seconds * encoder.sample_rate))
        return {"waveform": waveform, "scores": torch.linspace(1, 5, self.batch_size)[:, None]}


def main(args: Sequence[str] | None = None) -> int:
    """Print the table and run the tests."""
    given = _parser().parse_args(args)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(NO_GPU)
        return 0
    settings = Settings(device, given.batch_size, given.seconds, given.steps)
    with quiet():
        table = measure(settings, given.encoders.split(",") if given.encoders else None, given.precisions.split(","))
    Console(width=200).print(table)
    return run_tests() if device.type == "cuda" and not given.no_tests else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time training and scoring on a GPU.")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--encoders", default="", help="names of classes, with commas between; all by default")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--batch_size", type=int, default=16, help="clips in a step")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed, after one that is not")
    parser.add_argument("--no_tests", action="store_true", help="leave the tests marked gpu out")
    return parser


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning and transformers from telling what nobody asks a benchmark for."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def measure(settings: Settings, names: Sequence[str] | None, precisions: Sequence[str]) -> Table:
    """Make the table, a line on standard error for each row that is there.

    Raises:
        SystemExit: If an encoder or a precision is not known.
    """
    if wrong := [name for name in precisions if name not in PRECISIONS]:
        raise SystemExit(f"error: --precisions={','.join(wrong)}, expected some of {','.join(PRECISIONS)}")
    clips = f"{settings.batch_size} clips of {settings.seconds:g} s at once"
    title = f"{device_name(settings.device)}; {clips}; torch {torch.__version__}, Lightning {L.__version__}"
    table = Table(*COLUMNS, title=title, box=box.MARKDOWN)
    gemms = {precision: gemm_flops(settings.device, DTYPES[PRECISIONS[precision]]) for precision in precisions}
    known = []
    for build in BUILDS:
        with tempfile.TemporaryDirectory() as folder:
            known.append(name := type(encoder := build(folder)).__name__)
            if names is not None and name not in names:
                continue
            for precision in precisions:
                for row in rows_of(encoder, name, precision, settings, gemms[precision]):
                    table.add_row(*row)
                    print(*row, sep="  ", file=sys.stderr, flush=True)
    if wrong := [name for name in names or () if name not in known]:
        raise SystemExit(f"error: --encoders={','.join(wrong)}, expected some of {','.join(known)}")
    return table


def rows_of(encoder: Encoder, name: str, precision: str, settings: Settings, gemm: float) -> Iterator[list[str]]:
    """Time an encoder in a precision: frozen, and fine-tuned where it has weights."""
    peak = peak_flops(settings.device, DTYPES[PRECISIONS[precision]])
    scoring = _or_words(partial(time_scoring, encoder, PRECISIONS[precision], settings), peak, gemm)
    for trained, freeze in TRAINED.items():
        if trained == "frozen" or any(True for _ in encoder.parameters()):
            work = partial(time_training, encoder, freeze, PRECISIONS[precision], settings)
            training = _or_words(work, peak, gemm)
            yield [name, precision, trained, *training, *(scoring if trained == "frozen" else [""] * len(scoring))]


def _or_words(measured: Callable[[], Speed], peak: float | None, gemm: float) -> list[str]:
    """Return the cells of what was measured, or why it was not."""
    try:
        speed = measured()
    except torch.OutOfMemoryError:
        return ["out of memory", "-", "-", "-"]
    finally:
        torch.cuda.empty_cache()
    mfu = "-" if peak is None else f"{speed.flops / peak:.1%}"
    return [f"{speed.clips:.3g}", mfu, f"{speed.flops / gemm:.1%}", f"{speed.peak / MEGA:.0f}"]


def _module(encoder: Encoder, freeze: Any) -> AQAModule:
    """Build a model around an encoder whose weights all take a gradient, or none."""
    encoder.requires_grad_(True)
    return AQAModule({"overall": [1, 5]}, encoder, freeze=freeze)


def time_training(encoder: Encoder, freeze: str, precision: str, settings: Settings) -> Speed:
    """Fit for an epoch; its first step is not timed."""
    module, batch = _module(encoder, freeze), settings.batch(encoder)
    on_cpu = settings.device.type == "cpu"
    fp16_on_cpu = MixedPrecision("16-mixed", "cpu", GradScaler("cpu"))  # Lightning would take bfloat16
    chosen: Any = {"plugins": [fp16_on_cpu]} if on_cpu and precision == "16-mixed" else {"precision": precision}
    with tempfile.TemporaryDirectory() as folder:
        speed = TrainingSpeed(folder, is_shown=False)
        trainer = L.Trainer(
            accelerator="cpu" if on_cpu else "gpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
            callbacks=[Regression(), speed], **chosen,
        )  # fmt: skip
        trainer.fit(module, DataLoader(cast(Any, [batch] * (settings.steps + 1)), batch_size=None))
    flops = speed.measured["clips_per_second"] * speed.measured["gigaflop_per_clip"] * 1e9
    return Speed(speed.measured["clips_per_second"], flops, speed.measured["peak_megabytes"] * MEGA)


@torch.inference_mode()
def time_scoring(encoder: Encoder, precision: str, settings: Settings) -> Speed:
    """Run encoder and head on a batch that lies on the device; the first step is counted and not timed."""
    module, device = _module(encoder, "all").to(settings.device).eval(), settings.device
    batch = as_batch(settings.batch(encoder), module.axes)
    batch = batch._replace(waveform=batch.waveform.to(device), num_samples=batch.num_samples.to(device))
    batch = batch._replace(scores=batch.scores.to(device))
    forget_peak(device)
    with torch.autocast(device.type, DTYPES[precision], enabled=precision != "32-true"):
        with flop_counter() as counter:
            module(batch)
        seconds = seconds_of(lambda: module(batch), device, settings.steps)
    peak = peak_bytes(device)
    module.cpu()
    return Speed(settings.batch_size / seconds, counter.get_total_flops() / seconds, peak)


def seconds_of(work: Callable[[], object], device: torch.device, steps: int) -> float:
    """Return the seconds on the wall that a call takes, on average."""
    wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        work()
    wait(device)
    return (time.perf_counter() - start) / steps


def gemm_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOPs in a second of a large matrix product, the first of which is not timed."""
    size = GEMM_SIZE[device.type]
    matrix = torch.randn(size, size, device=device).to(dtype)
    matrix @ matrix
    return 2 * size**3 / seconds_of(lambda: matrix @ matrix, device, 10)


def run_tests() -> int:
    """Run the tests that need a GPU; return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n0", "tests"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
