"""Test clips that are planted in training, changed in ten ways: how many are found, and how many others are called so.

    python benchmarks/contamination.py CLIPS [--planted 30]

CLIPS is a folder of audio. Each clip is looked for among all, itself left out, which counts what is called the same
recording though it is another file; then some are planted, changed as the table says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from lightning_aqa.data.audio import read_audio
from lightning_aqa.data.recordings import Recordings, fingerprint
from lightning_aqa.scoring.edits import EDITS, edited

RATE, SECONDS = 16000, 10
Samples = NDArray[np.float32]


def _edit(name: str) -> Callable[[Samples], Samples]:
    edit = next(edit for edit in EDITS if edit.name == name)
    return lambda x: edited(x.astype(np.float64), RATE, edit).astype(np.float32)


def _inside_more(x: Samples) -> Samples:
    noise = 0.03 * np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    return np.concatenate([noise[0], x, noise[1]])


CHANGES: dict[str, Callable[[Samples], Samples]] = {
    "copied and renamed": lambda x: x,
    "0.2 s cut off": lambda x: x[RATE // 5 :],
    "part of a longer file": _inside_more,
    "resampled to 22.05 kHz and back": lambda x: soxr.resample(soxr.resample(x, RATE, 22050), 22050, RATE).astype("f4"),
    "9 dB quieter": lambda x: x * np.float32(0.355),
    **{name: _edit(name) for name in ("MP3, lowest rate", "Vorbis, lowest rate", "low-pass, 3.5 kHz", "clipped by 6 dB",
                                      "noise, 20 dB below", "reverberation", "5 % faster")},
}  # fmt: skip


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--planted", type=int, default=30)
    chosen = parser.parse_args()
    files = [str(path) for path in sorted(chosen.clips.iterdir()) if path.is_file()]
    heard = {path: read_audio(path, RATE, 0.0, float(SECONDS)) for path in files}
    made = [fingerprint(path, samples, RATE) for path, samples in heard.items()]
    others = sum(Recordings([other for other in made if other.id != clip.id]).find(clip) is not None for clip in made)
    print(f"{len(files)} clips, {others} of them called the same recording as another one\n")
    known, planted = Recordings(made), files[: chosen.planted]
    print("| planted | found | as itself | of |\n|---|--:|--:|--:|")
    for name, change in CHANGES.items():
        matches = [(path, known.find(fingerprint("", change(heard[path]), RATE))) for path in planted]
        found = [match.other == path for path, match in matches if match is not None]
        print(f"| {name} | {len(found)} | {sum(found)} | {len(planted)} |")


if __name__ == "__main__":
    main()
