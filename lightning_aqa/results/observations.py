"""Write where each clip's audio is, clip embeddings and scores of frames."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.manifest import Clip
from lightning_aqa.utils.files import complete, file_size
from lightning_aqa.utils.records import write_records
from lightning_aqa.utils.text import shortened

SYSTEM_COLUMNS = ("system", "axis", "score")

CLIP_COLUMNS = ("id", "path", "start", "end", "system", "domain", "prompt")

MAX_EMBEDDINGS = 1000

MAX_FRAMES = 200

MAX_CLIPS_WITH_FRAMES = 60

MOST_BYTES = 128 * 2**20
"""Size of all arrays above which a file is not read: the largest embeddings of so many clips take a tenth of it."""

Half = NDArray[np.float16]
Checked = TypeVar("Checked")


class ObservedWindow(NamedTuple):
    """Output of the head for one window: its embedding ``(E,)`` and, where it has them, frame scores ``(F, A)``."""

    split: str
    id: str
    weight: float
    embedding: Half
    frames: Half | None


class Observed(NamedTuple):
    """Content of ``observations.npz``.

    Args:
        splits: Split of each clip with an embedding, length N.
        ids: Its id.
        embeddings: Its embedding, shape ``(N, E)``.
        frame_splits: Split of each clip with frame scores, length M.
        frame_ids: Its id.
        frames: Its frame scores, shape ``(M, F, A)``, NaN after the last frame.
    """

    splits: list[str]
    ids: list[str]
    embeddings: Half
    frame_splits: list[str]
    frame_ids: list[str]
    frames: Half


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Write where the audio of each clip is, as a path from the folder of the table, and what it was made from."""
    write_records(path, CLIP_COLUMNS, (_clip_cells(clip, path.parent) for clip in clips))


def _clip_cells(clip: Clip, folder: Path) -> list[object]:
    audio = Path(os.path.relpath(clip.path, folder)).as_posix() if clip.path else ""  # of a loader of the user's own
    return [clip.id, audio, clip.start, clip.end, clip.system, clip.domain, clip.prompt]


def write_systems(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write the scores that a corpus publishes for its systems."""
    rows = ((system, axis, score) for system, axes in scores.items() for axis, score in axes.items())
    write_records(path, SYSTEM_COLUMNS, rows)


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


def read_observations(path: Path) -> Observed:
    """Read what ``write_observations`` wrote.

    Raises:
        ValueError: If these are not its arrays, or larger than it writes them; the message names the file.
    """
    return read_arrays(path, Observed._fields, _checked)


def read_arrays(path: Path, names: Sequence[str], check: Callable[[dict[str, NDArray[Any]]], Checked]) -> Checked:
    """Read arrays that may be damaged, or made to fill the memory.

    Args:
        path: The file.
        names: Names of the arrays that it must hold.
        check: Makes of them what is returned; raises ``ValueError`` where they are not what they should be.

    Raises:
        ValueError: If they cannot be read; the message names the file.
    """
    file_size(path)
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(path) as archive:
            warnings.simplefilter("ignore")
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes of arrays")
            arrays = {name: _array(archive, name) for name in names}
        return check(arrays)
    except Exception as error:  # zipfile, zlib and NumPy let out whatever damaged bytes lead them to
        what = shortened(" ".join(str(error).split())) or type(error).__name__
        raise ValueError(f"{path}: no arrays of clips can be read ({what}).") from None


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _checked(arrays: dict[str, NDArray[Any]]) -> Observed:
    """Return the arrays, if their shapes and types are those that are written."""
    for suffix, values, most in (("", "embeddings", MAX_EMBEDDINGS), ("frame_", "frames", MAX_CLIPS_WITH_FRAMES)):
        names = [arrays[f"{suffix}splits"], arrays[f"{suffix}ids"]]
        scores = arrays[values]
        are_texts = all(array.ndim == 1 and array.dtype.kind == "U" for array in names)
        are_numbers = scores.ndim == 2 + bool(suffix) and scores.dtype.kind == "f"
        if not are_texts or not are_numbers or {len(array) for array in names} != {len(scores)} or len(scores) > most:
            raise ValueError(f"{values} and their names have other shapes or types than they are written in")
    plain: dict[str, Any] = {name: array.tolist() if array.ndim == 1 else array for name, array in arrays.items()}
    return Observed(**plain)


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
