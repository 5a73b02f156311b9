"""A made-up copy of a challenge: a list, ratings and scores of clips that nobody has heard, to see how it works."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_aqa.data.manifest import SIMULATED_STAMP
from lightning_aqa.results.challenges.formats import AnswerFormat
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
    random = np.random.default_rng(0)
    form, numbers = challenge.form, [(s, n) for s in range(1, NUM_SYSTEMS + 1) for n in range(1, CLIPS_PER_SYSTEM + 1)]
    names = [challenge.example.format(s=s, n=n) for s, n in numbers]
    quality_NA = random.normal(size=(NUM_SYSTEMS, 1, len(form.axes))) + 0.6 * random.normal(
        size=(NUM_SYSTEMS, CLIPS_PER_SYSTEM, len(form.axes))
    )
    quality_NA = quality_NA.reshape(len(names), -1)
    ratings_NA, scores_NA = (_on_scale(quality_NA + 0.4 * random.normal(size=quality_NA.shape), form) for _ in range(2))
    header = ["id", "system", *(axis.name for axis in form.axes)]
    ratings = [[name, f"system {s}", *np.round(row, 1)] for name, (s, _), row in zip(names, numbers, ratings_NA, strict=True)]
    scores = [[name, *np.round(row, 4)] for name, row in zip(names, scores_NA, strict=True)]
    texts = {
        SIMULATED_STAMP: f'{{"note": "{NOTE}", "challenge": "{challenge.title}"}}\n',
        "clips.txt": "".join(f"{name}\n" for name in names),
        "labels.csv": "".join(map(csv_line, [header, *ratings])),
        "scores.csv": "".join(map(csv_line, [[header[0], *header[2:]], *scores])),
        **{name: f"team: nobody\n# {NOTE}\n" for name in form.beside},
    }
    _write(folder, texts)
    paths = {key: str(folder / name) for key, name in (("clips", "clips.txt"), ("labels", "labels.csv"))}
    readme = next((str(folder / name) for name in form.beside), None)
    return Files(scores=str(folder / "scores.csv"), readme=readme, **paths)


def _on_scale(values_NA: np.ndarray[tuple[int, ...], np.dtype[np.float64]], form: AnswerFormat):
    low, high = (np.array([getattr(axis, end) for axis in form.axes]) for end in ("low", "high"))
    return np.clip((low + high) / 2 + (high - low) / 6 * values_NA, low, high)


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
