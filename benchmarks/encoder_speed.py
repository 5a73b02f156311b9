"""Time the encoders alone: ``python benchmarks/encoder_speed.py`` writes ``encoders.csv``, which ``make table`` reads.

Each is as large as with its default weights, which are random here, frozen and in float32. What counts is the median of
the CPU time of all threads together, so that the numbers are those of one core.
"""

from __future__ import annotations

import csv
import tempfile
from functools import partial
from pathlib import Path

import torch
from encoders import HTSAT_BASE, NUM_CLIPS, NUM_THREADS, SECONDS, _random_beats, median_seconds

from lightning_aqa.encoder_table import SPEEDS
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.beats import BEATs
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.hub import Hub
from lightning_aqa.encoders.melspectrogram import MelSpectrogram


def random_beats(folder: str) -> Encoder:
    """Build a BEATs."""
    path = str(Path(folder) / "beats.pt")
    torch.save(_random_beats(), path)
    return BEATs(path)


def random_clap(folder: str) -> Encoder:
    """Build a CLAP of the size of the default one, without its text side."""
    from transformers import ClapConfig, ClapModel

    ClapModel(ClapConfig(audio_config=HTSAT_BASE)).save_pretrained(folder)
    return CLAP(folder, text=False)


def random_wavlm(folder: str) -> Encoder:
    """Build a WavLM-base."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    WavLMModel(WavLMConfig()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return Hub(folder)


BUILDS = (random_beats, random_clap, lambda folder: Descriptors(), random_wavlm, lambda folder: MelSpectrogram())


def times_real_time(encoder: Encoder) -> str:
    """Return how many seconds of audio are encoded in a second, to two digits."""
    waveform = 0.1 * torch.randn(NUM_CLIPS, SECONDS * encoder.sample_rate)
    work = partial(encoder, waveform, torch.full((NUM_CLIPS,), waveform.shape[1]))
    with torch.inference_mode():
        seconds = median_seconds({"encode": work})["encode"]
    return f"{float(f'{NUM_CLIPS * SECONDS / seconds:.2g}'):g}"


def main() -> None:
    """Write the file, and print what is in it."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(NUM_THREADS)
    torch.manual_seed(0)
    rows = [("encoder", "x_real_time")]
    for build in BUILDS:
        with tempfile.TemporaryDirectory() as folder:
            encoder = build(folder).eval().requires_grad_(False)
        rows.append((type(encoder).__name__, times_real_time(encoder)))
        print(*rows[-1])
    with SPEEDS.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
