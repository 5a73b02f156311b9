"""Time an epoch of head training on cached features against one that encodes: ``python benchmarks/cache.py``.

The encoder has the size of WavLM-base and random weights; the clips are 10 s of noise. Encoding is measured on a sample
of clips and scaled to all. The cached epoch is run whole, on an entry for each clip with numbers of its own; where
entries hold all frames, on a sample too. What counts is CPU time, which a busy machine bends less than the time on the
wall.
"""

from __future__ import annotations

import os

# A thread that waits for another spins by default, and its spinning would be counted, the more the busier the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import logging
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import soundfile
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.table import Table

import lightning_aqa.data.cache.store
from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.cache.entry import write_entry
from lightning_aqa.data.cache.pooled import pack
from lightning_aqa.data.dataset import ClipWindows, collate
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.encoders.huggingface import Hub
from lightning_aqa.heads.aesa_net import AESANet
from lightning_aqa.heads.audiobox import Audiobox
from lightning_aqa.heads.base import HeadCallable
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.training.feature_cache import FeatureCache, open_store, windows_of
from lightning_aqa.training.feature_encoding import human

NUM_THREADS, NUM_CLIPS, NUM_SAMPLED, NUM_WITH_FRAMES, SECONDS, RATE = 2, 2700, 4, 32, 10.0, 16000
AXES = [Axis(name, name, 0.0, 10.0) for name in ("PQ", "PC", "CE", "CU")]


class Contest(NamedTuple):
    """A head, how many clips have entries, and how many bytes may be held in memory, in each row."""

    name: str
    head: HeadCallable
    num_clips: int
    memories: dict[str, int]


BOTH, FILES = {"memory": 2**31, "files": 0}, {"files": 0}
CONTESTS = [
    Contest("Audiobox, mean", Audiobox, NUM_CLIPS, BOTH),
    Contest("MLP, mean and deviation", MLP, NUM_CLIPS, BOTH),
    Contest("AESANet, all frames", AESANet, NUM_WITH_FRAMES, FILES),
]


class Parts(AQADataModule):
    """Serve overlapping parts of one file as clips."""

    def __init__(self, path: Path, num_clips: int, **loading: Any) -> None:
        super().__init__(check="header", **loading)
        self.path, self.num_clips = path, num_clips

    def read(self) -> Manifest:
        """Give each clip another start and scores of its own."""
        random = np.random.default_rng(0)
        return Manifest([self._clip(i, random) for i in range(self.num_clips)], AXES)

    def _clip(self, place: int, random: np.random.Generator) -> Clip:
        start, scores = 0.01 * place, {axis.name: float(random.uniform(1, 9)) for axis in AXES}
        return Clip(str(place), str(self.path), start, start + SECONDS, split="train", scores=scores)


class Clock(Callback):
    """Take the CPU time of each epoch, and of what comes before the first."""

    def __init__(self) -> None:
        self.begin, self.started, self.epochs = time.process_time(), 0.0, list[float]()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the clock after the cache is set up."""
        self.started = time.process_time() - self.begin

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.begin = time.process_time()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the clock."""
        self.epochs.append(time.process_time() - self.begin)


def train(module: AQAModule, data: AQADataModule, num_epochs: int) -> Clock:
    """Train the head as ``fit`` does, and return the times."""
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=num_epochs,
        callbacks=[FeatureCache(), clock, Regression()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=data)
    return clock


def build_encoder() -> Hub:
    """Build a WavLM-base with random weights."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        WavLMModel(WavLMConfig()).save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)  # type: ignore[no-untyped-call]
        return Hub(folder)


def write_entries(module: AQAModule, data: AQADataModule) -> int:
    """Write an entry for every clip: the features of the first, each time with other noise; return the size of one."""
    trainer: Any = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    data.trainer = trainer
    data.setup("fit")
    store, (clips, windows) = open_store(data, module), windows_of(data, "fit")
    with torch.no_grad():
        features = module.encode_live(collate([ClipWindows(clips, RATE)[windows[0]]]))
    tensors, size = pack(features, store.form), 0
    for window in windows:
        noisy = {k: v + 0.01 * torch.randn(v.shape) if v.is_floating_point() else v for k, v in tensors.items()}
        size = write_entry(store.path(clips[window.clip], window), noisy, {})
    return size


def run(contest: Contest, encoder: Hub, folder: Path, table: Table) -> None:
    """Add the rows of a head: its entries in memory, if all fit, and from files."""
    audio, cache = folder / "noise.wav", str(folder / contest.name)
    build = partial(AQAModule, AXES, encoder, contest.head, freeze="all")
    live = median(train(build(), Parts(audio, NUM_SAMPLED, batch_size=NUM_SAMPLED), 3).epochs[1:]) / NUM_SAMPLED
    size = write_entries(build(), Parts(audio, contest.num_clips, cache=cache))
    for place, memory in contest.memories.items():
        lightning_aqa.data.cache.store.MEMORY_BYTES = memory
        clock = train(build(), Parts(audio, contest.num_clips, batch_size=16, cache=cache), 3)
        cached = median(clock.epochs[1:]) / contest.num_clips
        seconds = [live, cached, clock.started / contest.num_clips]
        shown = [f"{value * NUM_CLIPS:.1f} s" for value in seconds]
        table.add_row(contest.name, place, human(size), *shown, f"{live / cached:.0f}x")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(NUM_THREADS)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    sampled = f"encoding measured on {NUM_SAMPLED} clips, frames on {NUM_WITH_FRAMES}"
    table = Table(title=f"CPU seconds for {NUM_CLIPS} clips of {SECONDS:g} s, WavLM-base; {sampled}")
    table.add_column("head")
    for column in ("from", "an entry", "epoch, encoding", "epoch, cached", "start, cached", "ratio"):
        table.add_column(column, justify="right")
    encoder, console = build_encoder(), Console(width=120)
    with tempfile.TemporaryDirectory() as folder, console.status("training"):
        length = int((0.01 * NUM_CLIPS + SECONDS + 1) * RATE)
        noise = 0.1 * np.random.default_rng(0).standard_normal(length)
        soundfile.write(Path(folder) / "noise.wav", noise, RATE)
        for contest in CONTESTS:
            run(contest, encoder, Path(folder), table)
    console.print(table)


if __name__ == "__main__":
    main()
