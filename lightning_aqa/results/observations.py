"""Write where each clip's audio is, clip embeddings and scores of frames."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.manifest import Clip
from lightning_aqa.utils.files import complete, replacing

SYSTEM_COLUMNS = ("system", "axis", "score")

CLIP_COLUMNS = ("id", "path", "start", "end", "system", "domain", "prompt")

MAX_EMBEDDINGS = 1000

MAX_FRAMES = 200

MAX_CLIPS_WITH_FRAMES = 60

Half = NDArray[np.float16]


class ObservedWindow(NamedTuple):
    """Output of the head for one window: its embedding ``(E,)`` and, where it has them, frame scores ``(F, A)``."""

    split: str
    id: str
    weight: float
    embedding: Half
    frames: Half | None


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Write where the audio of each clip is, as a path from the folder of the table, and what it was made from."""
    with replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(CLIP_COLUMNS)
        for clip in clips:
            audio = Path(os.path.relpath(clip.path, path.parent)).as_posix()
            end = "" if clip.end is None else clip.end
            writer.writerow([clip.id, audio, clip.start, end, clip.system, clip.domain, clip.prompt])


def write_systems(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write the scores that a corpus publishes for its systems."""
    with replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(SYSTEM_COLUMNS)
        writer.writerows([system, axis, score] for system, axes in scores.items() for axis, score in axes.items())


def write_observations(
    path: Path, windows: Iterable[ObservedWindow], errors: dict[tuple[str, str], float], axes: list[str]
) -> None:
    """Write embeddings and frame scores as arrays; ``numpy.load`` reads them without pickle.

    Args:
        path: The file.
        windows: Windows of all clips.
        errors: Error of each clip in score points, by split and id; the worst keep their frame scores.
        axes: Names of the axes.
    """
    clips: dict[tuple[str, str], list[ObservedWindow]] = {}
    for window in windows:
        clips.setdefault((window.split, window.id), []).append(window)
    spread = _spread(sorted(clips), MAX_EMBEDDINGS)
    worst = sorted((key for key in clips if clips[key][0].frames is not None), key=lambda key: -errors.get(key, 0.0))
    framed = sorted(worst[:MAX_CLIPS_WITH_FRAMES])
    arrays = {
        "axes": np.array(axes, dtype=np.str_),
        "splits": np.array([split for split, _ in spread], dtype=np.str_),
        "ids": np.array([id_ for _, id_ in spread], dtype=np.str_),
        "embeddings": np.array([_mean_embedding(clips[key]) for key in spread], dtype=np.float16),
        "frame_splits": np.array([split for split, _ in framed], dtype=np.str_),
        "frame_ids": np.array([id_ for _, id_ in framed], dtype=np.str_),
        "frames": _stacked([clips[key][0].frames for key in framed], len(axes)),
    }
    with complete(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _mean_embedding(windows: list[ObservedWindow]) -> Half:
    weights = np.array([window.weight for window in windows]).clip(min=1e-9)
    mean: Half = np.average([window.embedding.astype(np.float64) for window in windows], axis=0, weights=weights)
    return mean


def _spread(keys: list[tuple[str, str]], limit: int) -> list[tuple[str, str]]:
    """Choose at most ``limit`` of some keys, evenly along their order."""
    if len(keys) <= limit:
        return keys
    return [keys[i * len(keys) // limit] for i in range(limit)]


def _stacked(rows: list[Half | None], num_axes: int) -> Half:
    """Stack frame scores to ``(clips, F, A)``, NaN after the last frame."""
    longest = max((len(row) for row in rows if row is not None), default=0)
    stacked: Half = np.full((len(rows), longest, num_axes), np.nan, dtype=np.float16)
    for i, row in enumerate(rows):
        if row is not None:
            stacked[i, : len(row)] = row
    return stacked
