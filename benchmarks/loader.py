"""Time reading: ``python benchmarks/loader.py`` prints how fast one worker decodes.

The clips are synthesised stereo at 44.1 kHz, brought to mono at 16 kHz, as training reads them: whole clips of 30 s
and windows of 10 s. The others read as their documentation says: librosa.load, and torchaudio, whose own
``load`` wants torchcodec, so that soundfile decodes and torchaudio.functional.resample resamples. What counts is the
median of the CPU time of one thread; the ratios are of interleaved runs.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import soundfile
import torch

from lightning_aqa.data.audio import read_audio

RATE, NEW_RATE, SECONDS, WINDOW = 44100, 16000, 30, 10
NUM_CLIPS, NUM_ROUNDS, BLOCK = 4, 7, 16000
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III"}
STARTS = (3.1, 7.7, 12.3, 18.9)

Read = Callable[[Path, float, float], Any]


def write_clips(folder: Path) -> None:
    """Write the same clips in all formats, in blocks."""
    random = np.random.default_rng(0)
    time_T = np.arange(SECONDS * RATE) / RATE
    for number in range(NUM_CLIPS):
        tones_T2 = [0.3 * np.sin(2 * np.pi * 110 * (number + 2 + channel) * time_T) for channel in range(2)]
        samples_T2 = np.stack(tones_T2, 1) + 0.03 * random.standard_normal((len(time_T), 2))
        for suffix, subtype in FORMATS.items():
            with soundfile.SoundFile(folder / f"{number}.{suffix}", "w", RATE, 2, subtype) as file:
                for first in range(0, len(samples_T2), BLOCK):
                    file.write(samples_T2[first : first + BLOCK])


def by_us(path: Path, start: float, seconds: float) -> object:
    """Read as the package does."""
    return torch.from_numpy(read_audio(path, NEW_RATE, start, start + seconds))


def by_librosa(path: Path, start: float, seconds: float) -> object:
    """Read by ``librosa.load``."""
    import librosa

    return librosa.load(path, sr=NEW_RATE, mono=True, offset=start, duration=seconds)


def by_torchaudio(path: Path, start: float, seconds: float) -> object:
    """Read by soundfile, mix by torch, resample by torchaudio."""
    from torchaudio.functional import resample

    first = round(start * RATE)
    samples_T2, _ = soundfile.read(path, round(seconds * RATE), first, dtype="float32", always_2d=True)
    return resample(torch.from_numpy(samples_T2).T.mean(0), RATE, NEW_RATE)


READERS: dict[str, Read] = {"ours": by_us, "librosa.load": by_librosa, "torchaudio": by_torchaudio}


def time_readers(folder: Path, suffix: str, seconds: float) -> dict[str, float]:
    """Return the median CPU seconds per clip of each reader."""
    places = [(folder / f"{i}.{suffix}", 0.0 if seconds == SECONDS else STARTS[i]) for i in range(NUM_CLIPS)]
    spent: dict[str, list[float]] = {name: [] for name in READERS}
    for number in range(NUM_ROUNDS + 1):
        for name, read in READERS.items():
            begun = time.process_time()
            for path, start in places:
                read(path, start, seconds)
            if number:  # the first round imports and compiles
                spent[name].append((time.process_time() - begun) / NUM_CLIPS)
    return {name: float(np.median(values)) for name, values in spent.items()}


def print_readers(folder: Path) -> None:
    """Print clips per second of one worker, and how many times as many as the others read."""
    print(f"Clips a second of one worker, {RATE} Hz stereo to {NEW_RATE} Hz mono; in brackets, ours over it.")
    print(f"{'':18}" + "".join(f"{name:>20}" for name in READERS) + f"{'x real time':>14}")
    for suffix in FORMATS:
        for seconds in (SECONDS, WINDOW):
            spent = time_readers(folder, suffix, seconds)
            ours = spent["ours"]
            others = "".join(f"{f'{1 / s:.0f} ({s / ours:.2f})':>20}" for s in list(spent.values())[1:])
            print(f"{suffix:5}{f'{seconds} s of 30 s':13}{1 / ours:>20.0f}{others}{seconds / ours:>14.0f}")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        write_clips(Path(name))
        print_readers(Path(name))


if __name__ == "__main__":
    main()
