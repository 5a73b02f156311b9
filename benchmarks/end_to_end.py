"""Train a head on a frozen encoder against a plain loop: ``python benchmarks/end_to_end.py``.

The loop is what one writes in an afternoon: in every epoch read each clip, pad it to the longest clip of the corpus,
encode it by transformers' own WavLM, pool by mean and train a linear layer. Ours is ``fit`` with ``--data.cache``: it
encodes once, trains on the cached features, validates after each epoch and evaluates all splits at the end. Both have
the same random weights, clips, batches per epoch and epochs; CPU seconds are of all that happens after the imports.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

EPOCHS, NUM_CLIPS, BATCH_SIZE, SECONDS = int(os.environ.get("EPOCHS", "10")), 40, 8, (1.0, 10.0)
SIZES: dict[str, Any] = {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 1024}
SIZES |= {"num_attention_heads": 4, "conv_dim": [128] * 7}


def write_weights(folder: Path) -> None:
    """Write a WavLM of random weights, smaller than the published ones."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    torch.manual_seed(0)
    WavLMModel(WavLMConfig(**SIZES)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)  # type: ignore[no-untyped-call]


def read(path: Path) -> Tensor:
    """Read a clip as mono at 16 kHz."""
    import soundfile
    import soxr

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(soxr.resample(samples.mean(axis=1), rate, 16000))


def train_plainly(weights: Path, rated: list[tuple[Path, Tensor]]) -> float:
    """Train by the loop; return its CPU seconds per epoch."""
    from transformers import WavLMModel

    start = time.process_time()
    model: Any = WavLMModel.from_pretrained(weights)
    model.eval().requires_grad_(False)
    head = nn.Linear(SIZES["hidden_size"], len(rated[0][1]))
    optimizer = torch.optim.AdamW(head.parameters())
    longest = max(len(read(path)) for path, _ in rated)
    for _ in range(EPOCHS):
        order = torch.split(torch.randperm(len(rated)), BATCH_SIZE)
        for rows in order:
            clips = [read(rated[row][0]) for row in rows]
            padded = torch.stack([nn.functional.pad(clip, (0, longest - len(clip))) for clip in clips])
            mask = torch.arange(longest) < torch.tensor([len(clip) for clip in clips])[:, None]
            with torch.no_grad():
                frames = model(padded, attention_mask=mask.long()).last_hidden_state
            loss = nn.functional.mse_loss(head(frames.mean(dim=1)), torch.stack([rated[row][1] for row in rows]))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return time.process_time() - start


def train_by_fit(weights: Path, corpus: Path, folder: Path) -> float:
    """Train by the command line; return its CPU seconds."""
    from lightning_aqa.cli.main import main

    words = ["fit", "--data=MusicEval", f"--data.root={corpus}", f"--data.batch_size={BATCH_SIZE}"]
    words += [f"--data.cache={folder / 'cache'}", "--model.encoder=Hub", f"--model.encoder.name_or_path={weights}"]
    words += ["--model.freeze=all", f"--trainer.max_epochs={EPOCHS}", f"--trainer.default_root_dir={folder}"]
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    if code:
        raise SystemExit(code)
    return time.process_time() - start


def main() -> None:
    """Print both times and their ratio."""
    from lightning_aqa.cli import lightning_cli  # noqa: F401  (imports are not timed)
    from lightning_aqa.data.musiceval import MusicEval
    from lightning_aqa.data.synthesis.corpus import write_corpus

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "weights")
        sizes: dict[str, Any] = {"num_clips": NUM_CLIPS, "num_systems": 4, "seconds": SECONDS}
        corpus = write_corpus(folder / "corpus", "musiceval", **sizes)
        clips = MusicEval(str(corpus)).manifest.split("train")
        scores = torch.from_numpy(clips.scores()).float()
        plain = train_plainly(folder / "weights", [(Path(c.path), s) for c, s in zip(clips, scores, strict=True)])
        ours = train_by_fit(folder / "weights", corpus, folder)
    print(f"{len(clips)} training clips of {SECONDS[0]:g}-{SECONDS[1]:g} s, {EPOCHS} epochs, 2 threads, CPU seconds:")
    print(f"plain loop, training alone           {plain:8.1f}")
    print(f"fit, with validation and evaluation  {ours:8.1f}   {plain / ours:.1f}x")


if __name__ == "__main__":
    main()
