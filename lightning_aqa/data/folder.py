"""Audio without ratings, to predict: a folder, one file, or a list of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_aqa.data.audio import COMPRESSED_BY_FFMPEG
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.parsing import JSON, JSON_LINES, entries_of
from lightning_aqa.data.table import read_table
from lightning_aqa.data.validation import CorpusError

READ_BY_LIBSNDFILE = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"}
    | {".w64", ".rf64", ".voc", ".sph", ".nist"}
)
TABLES = JSON_LINES | {".csv", ".tsv", JSON}


def read_folder(root: str | Path, *, recursive: bool = True) -> Manifest:
    """List audio to predict; no axis is rated and every clip is of the split ``predict``.

    Args:
        root: A folder with audio, an audio file, or a CSV, TSV or JSON lines of files with a column ``path`` and, where
            wanted, ``id``, ``start`` and ``end`` (seconds), ``system``, ``domain`` and ``prompt``. Relative paths start
            from the list's folder.
        recursive: Look into sub-folders too; hidden ones are left alone.

    Returns:
        Clips in the order of their names (of a list: of its rows). An id is the path from ``root`` on.

    Raises:
        CorpusError: If there is no such folder or no audio in it.
    """
    root = Path(root)
    if root.is_file() and root.suffix.lower() in TABLES:
        listed = read_table(root, {}, layout="wide")
        return Manifest([replace(clip, split="predict") for clip in listed], (), listed.problems)
    if root.is_file():
        return Manifest([Clip(root.name, str(root), split="predict")], ())
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("**/*" if recursive else "*"))
    audio = [name for name in names if _is_audio(Path(name)) and (root / name).is_file()]
    if not audio:
        suffixes = " ".join(sorted(READ_BY_LIBSNDFILE | COMPRESSED_BY_FFMPEG))
        raise CorpusError(f"{root}: no audio found ({suffixes}); {entries_of(root)}")
    return Manifest([Clip(name, str(root / name), split="predict") for name in audio], ())


def _is_audio(name: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in name.parts)
    return not is_hidden and name.suffix.lower() in READ_BY_LIBSNDFILE | COMPRESSED_BY_FFMPEG


class Folder(AQADataModule):
    """Serve audio without ratings, to predict.

    Args:
        root: A folder with audio, an audio file, or a CSV, TSV or JSON lines of files with a column ``path`` and, where
            wanted, ``id``, ``start``, ``end``, ``system``, ``domain`` and ``prompt``.
        recursive: Look into sub-folders too.
    """

    def __init__(self, root: str, recursive: bool = True, **loading: Any) -> None:
        super().__init__(**loading)
        self.root, self.recursive = root, recursive

    def read(self) -> Manifest:
        """List the audio."""
        return read_folder(self.root, recursive=self.recursive)
