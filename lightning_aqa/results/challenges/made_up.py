"""A made-up copy of a challenge: a list, ratings and scores of clips that nobody has heard, to see how it works."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import SIMULATED_STAMP
from lightning_aqa.results.challenges.known import Challenge
from lightning_aqa.results.challenges.settings import Files
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.records import csv_line

NUM_SYSTEMS, CLIPS_PER_SYSTEM = 8, 6
NOTE = "All names, ratings and scores here are made up: there is no audio, and no person has rated anything."


def write_made_up(folder: Path, challenge: Challenge) -> Files:
    """Write a list of clips, their ratings and a table of scores; the same in every run.

    Args:
        folder: Folder to write to; of files that are there, those of another challenge are refused.
        challenge: The challenge.

    Returns:
        The files.

    Raises:
        ValueError: If the folder holds something else.
    """
    form, axes = challenge.form, challenge.form.axes
    clips = [(s, n) for s in range(1, NUM_SYSTEMS + 1) for n in range(1, CLIPS_PER_SYSTEM + 1)]
    names = [challenge.example.format(s=s, n=n) for s, n in clips]
    ratings_NA, scores_NA = _draw(axes)
    named = [axis.name for axis in axes]
    rated = [[name, f"system {s}", *row] for name, (s, _), row in zip(names, clips, ratings_NA, strict=True)]
    scored = [[name, *row] for name, row in zip(names, scores_NA, strict=True)]
    texts = {
        SIMULATED_STAMP: json.dumps({"note": NOTE, "challenge": challenge.title}) + "\n",
        "clips.txt": "".join(f"{name}\n" for name in names),
        "labels.csv": csv_line(["id", "system", *named]) + "".join(map(csv_line, rated)),
        "scores.csv": csv_line(["id", *named]) + "".join(map(csv_line, scored)),
        **{name: f"team: nobody\n# {NOTE}\n" for name in form.beside},
    }
    _write(folder, texts)
    readme = next((str(folder / name) for name in form.beside), None)
    clips_path, labels_path, scores_path = (str(folder / name) for name in ("clips.txt", "labels.csv", "scores.csv"))
    return Files(clips=clips_path, scores=scores_path, labels=labels_path, readme=readme)


def _draw(axes: Sequence[Axis]) -> tuple[list[list[float]], list[list[float]]]:
    """Draw ratings and scores of clips that differ in quality, between systems more than within."""
    random = np.random.default_rng(0)
    shape = (NUM_SYSTEMS, CLIPS_PER_SYSTEM, len(axes))
    quality = (random.normal(size=(NUM_SYSTEMS, 1, len(axes))) + 0.6 * random.normal(size=shape)).reshape(-1, len(axes))
    low, high = np.array([axis.low for axis in axes]), np.array([axis.high for axis in axes])
    drawn = (quality + 0.4 * random.normal(size=quality.shape) for _ in range(2))
    ratings, scores = (np.clip((low + high) / 2 + (high - low) / 6 * values, low, high) for values in drawn)
    return np.round(ratings, 1).tolist(), np.round(scores, 4).tolist()


def _write(folder: Path, texts: dict[str, str]) -> None:
    there = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    for name, text in texts.items():
        if name in there and there[name].read_bytes() != text.encode():
            raise ValueError(f"{there[name]}: is not of this made-up challenge; name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        if name not in there:
            with replacing(folder / name) as file:
                file.write(text)
