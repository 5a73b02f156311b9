"""Score 32 clips against PyPI's ``audiobox_aesthetics``, on the same random weights: ``python benchmarks/scoring.py``.

The weights have the published sizes (WavLM-base and heads) and layout; the clips last 2 to 30 s, in wav, flac and mp3
at five rates, mono and stereo. Each contestant is a process of its own; they run in turns. The reference reads files
by soundfile in place of ``torchaudio.load``, which wants torchcodec here; it runs on ten clips at once, as its command
does by default, and on one at a time. Seconds are of scoring alone: imports and loading of weights come before.
``REPEATS=3`` runs everything three times and shows medians.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else the spinning of waiting threads counts

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from needs import need

NUM_CLIPS, NUM_THREADS = 32, 2
RATES, KINDS = (16000, 22050, 32000, 44100, 48000), ("wav", "flac", "mp3")
AXES = ("CE", "CU", "PC", "PQ")
CONTESTANTS = {
    "score, float32": "ours float32",
    "score, bfloat16": "ours bfloat16",
    "audiobox_aesthetics, 10 clips at once": "reference 10",
    "audiobox_aesthetics, 1 at a time": "reference 1",
}
REFERENCE = "audiobox_aesthetics, 10 clips at once"
WINDOW_SECONDS, GEMM = 10, (2048, 768, 3072)


class Result(NamedTuple):
    """Cost of one run of a contestant: seconds on the wall and of the CPU, peak bytes before scoring and in all."""

    wall: float
    cpu: float
    before: int
    peak: int
    scores: dict[str, list[float]]


def write_clips(folder: Path) -> float:
    """Write the clips, noise whose colour differs; return their length in seconds."""
    import numpy as np
    import soundfile

    random = np.random.default_rng(0)
    lengths = np.linspace(2.0, 30.0, NUM_CLIPS)
    random.shuffle(lengths)
    for number, seconds in enumerate(lengths):
        rate, channels = RATES[number % len(RATES)], 1 + number % 2
        samples = random.standard_normal((round(seconds * rate), channels)).cumsum(axis=0)
        samples -= samples.mean(axis=0)
        path = folder / f"{number:02}.{KINDS[number % len(KINDS)]}"
        soundfile.write(str(path), 0.5 * samples / abs(samples).max(), rate)
    return float(lengths.sum())


def write_weights(path: Path) -> None:
    """Write random weights of the published sizes, in the layout of the official ``checkpoint.pt``."""
    import torch

    official = importlib.import_module("audiobox_aesthetics.model.aes")
    torch.manual_seed(0)
    settings: dict[str, Any] = {"proj_num_layer": 5, "proj_ln": True, "proj_act_fn": "gelu", "proj_dropout": 0.0}
    settings |= {"nth_layer": 13, "use_weighted_layer_sum": True, "precision": "32", "normalize_embed": True}
    settings |= {"output_dim": 1}
    transform = {axis: {"mean": 5.0, "std": 1.5} for axis in AXES}
    state = official.AesMultiOutput(**settings, target_transform=transform).state_dict()
    named = {f"model.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": named, "model_cfg": settings, "target_transform": transform}, path)


def reference(folder: Path, batch_size: int) -> Callable[[], dict[str, list[float]]]:
    """Load PyPI's predictor; return what scores the clips."""
    import soundfile
    import torch
    import torchaudio

    def read(path: str) -> tuple[torch.Tensor, int]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T), rate

    torchaudio.load = read
    predictor: Any = importlib.import_module("audiobox_aesthetics.infer").AesPredictor(
        checkpoint_pth=str(folder / "checkpoint.pt")
    )
    paths = sorted(str(path) for path in (folder / "clips").iterdir())

    def work() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for first in range(0, len(paths), batch_size):
            batch = paths[first : first + batch_size]
            rows = predictor.forward([{"path": path} for path in batch])
            found |= {Path(path).name: [row[axis] for axis in AXES] for path, row in zip(batch, rows, strict=True)}
        return found

    return work


def ours(folder: Path, dtype: str) -> Callable[[], dict[str, list[float]]]:
    """Load the zero-shot recipe; return what scores the clips."""
    from lightning_aqa import load

    recipe = Path(__file__).parent.parent / "experiments" / "aes_natural" / "audiobox_zero_shot.yaml"
    words = [f"--model.{part}.checkpoint={folder / 'checkpoint.pt'}" for part in ("encoder", "head")]
    scorer = load(recipe, words, dtype=dtype)
    paths = sorted(str(path) for path in (folder / "clips").iterdir())

    def work() -> dict[str, list[float]]:
        scores = scorer.score_files(paths)
        return {Path(path).name: [row[axis] for axis in AXES] for path, row in zip(paths, scores, strict=True)}

    return work


def peak_bytes() -> int:
    """Return the most memory that this process has held so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def contest(words: list[str]) -> None:
    """Run one contestant in this process, and print its result as JSON."""
    import torch

    folder, kind, setting = Path(words[0]), words[1], words[2]
    torch.set_num_threads(NUM_THREADS)
    work = ours(folder, setting) if kind == "ours" else reference(folder, int(setting))
    before, wall, cpu = peak_bytes(), time.perf_counter(), time.process_time()
    scores = work()
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, before, peak_bytes(), scores]))


def run(folder: Path, words: str) -> Result:
    """Run one contestant in a process of its own."""
    command = [sys.executable, __file__, str(folder), *words.split()]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Result(*json.loads(done.stdout.splitlines()[-1]))


def gemm_peak() -> float:
    """Return the operations per CPU second of a product in the shape of a transformer's perceptron, in float32."""
    import torch

    from lightning_aqa.encoders.cpu import packed

    rows, inputs, outputs = GEMM
    matrix, layer = torch.randn(rows, inputs), torch.nn.Linear(inputs, outputs).requires_grad_(False)
    times = []
    with torch.inference_mode(), packed():
        for _ in range(20):
            start = time.process_time()
            layer(matrix)
            times.append(time.process_time() - start)
    return 2 * rows * inputs * outputs / median(times)


def flops_per_second() -> float:
    """Count the operations that a WavLM-base takes for a second of audio, by the model of transformers."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import WavLMConfig, WavLMModel

    wavlm: Any = WavLMModel(WavLMConfig())  # the sizes of WavLM-base+ are the same
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        wavlm.eval()(0.1 * torch.randn(1, WINDOW_SECONDS * 16000))
    return float(counter.get_total_flops()) / WINDOW_SECONDS


def show(results: dict[str, list[Result]], seconds: float, peak: float, flops: float) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{NUM_CLIPS} clips of 2-30 s, {seconds:.0f} s in all, {NUM_THREADS} threads")
    table.add_column("contestant")
    for column in (
        "CPU s",
        "wall s",
        "clips per CPU s",
        "ratio",
        "peak MB",
        "ratio",
        "load MB",
        "of GEMM peak",
        "error",
    ):
        table.add_column(column, justify="right")
    base = results[REFERENCE]
    base_cpu, base_peak = median(result.cpu for result in base), max(result.peak for result in base)
    for name, runs in results.items():
        cpu, wall = median(result.cpu for result in runs), median(result.wall for result in runs)
        most, before = max(result.peak for result in runs), max(result.before for result in runs)
        known, found = base[0].scores, runs[0].scores
        error = max(abs(a - b) for key in known for a, b in zip(known[key], found[key], strict=True))
        share = f"{flops * seconds / cpu / peak:.0%}" if "bf" not in name else ""
        cells = [f"{cpu:.0f}", f"{wall:.0f}", f"{NUM_CLIPS / cpu:.2f}", f"{base_cpu / cpu:.2f}x", f"{most / 1e6:.0f}"]
        table.add_row(name, *cells, f"{most / base_peak:.2f}x", f"{before / 1e6:.0f}", share, f"{error:.0e}")
    Console(width=140).print(table)
    print(f"GEMM peak of a core, float32: {peak / 1e9:.0f} GFLOP/s; a second of audio takes {flops / 1e9:.1f} GFLOP.")
    print(f"error is the largest difference of a score to that of {REFERENCE}.")


def main() -> None:
    """Run all in turns, and print the table."""
    need("audiobox_aesthetics")
    repeats = int(os.environ.get("REPEATS", "1"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        seconds = write_clips(folder / "clips")
        write_weights(folder / "checkpoint.pt")
        results: dict[str, list[Result]] = {name: [] for name in CONTESTANTS}
        for _ in range(repeats):
            for contestant, words in CONTESTANTS.items():
                results[contestant].append(run(folder, words))
                last = results[contestant][-1]
                print(f"{contestant}: {last.cpu:.0f} CPU s, {last.wall:.0f} s, {last.peak / 1e6:.0f} MB", flush=True)
        show(results, seconds, gemm_peak(), flops_per_second())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        contest(sys.argv[1:])
    else:
        main()
