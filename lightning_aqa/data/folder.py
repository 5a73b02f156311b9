"""Audio without ratings, to predict: a folder, one file, or a list of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.decoding import AUDIO
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.parsing import JSON, JSON_LINES, entries_of
from lightning_aqa.data.table import read_table
from lightning_aqa.data.validation import CorpusError

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
    below = list(audio_below(root, recursive=recursive)) if root.is_dir() else []
    found = sorted((path.relative_to(root).as_posix(), error) for path, error in below)
    if not found:
        raise CorpusError(f"{root}: no audio found ({' '.join(sorted(AUDIO))}); {entries_of(root)}")
    problems = [Problem("unreadable folder", str(root / name), error) for name, error in found if error]
    return Manifest([Clip(name, str(root / name), split="predict") for name, error in found if not error], (), problems)


def audio_below(root: Path, *, recursive: bool = True) -> Iterator[tuple[Path, str]]:
    """Find the audio of a folder and its sub-folders, in the order of names; hidden ones are left alone.

    A linked folder is looked into once: not where it is listed already, or will be. Files are found by their names,
    so that links to nothing and files that cannot be read are found too.

    Args:
        root: The folder.
        recursive: Look into sub-folders too.

    Yields:
        A path, and nothing or the reason why it is a folder that cannot be listed.
    """
    top, seen, waiting = Path(os.path.realpath(root)), set[tuple[int, int]](), [root]
    while waiting:
        folder = waiting.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listed:
                entries = sorted((entry.name, _is_folder(entry)) for entry in listed if entry.name[0] != ".")
        except OSError as error:
            yield folder, f"cannot be listed ({error.strerror})"
            continue
        paths = [(folder / name, is_folder) for name, is_folder in entries]
        yield from ((path, "") for path, is_folder in paths if not is_folder and path.suffix.lower() in AUDIO)
        folders = [path for path, is_folder in paths if is_folder and recursive]
        waiting += [path for path in folders[::-1] if not (path.is_symlink() and _is_visible_below(path, top))]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_visible_below(path: Path, root: Path) -> bool:
    """Tell whether what a link leads to is listed under its own name."""
    target = Path(os.path.realpath(path))
    return target.is_relative_to(root) and not any(part.startswith(".") for part in target.relative_to(root).parts)


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
