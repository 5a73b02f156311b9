"""The file that a list means where it writes the name otherwise: letter case, slashes, accents, another suffix."""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache
from pathlib import Path


def lookalike(path: str) -> str:
    """Return a sentence, after a space, with the file that is there in place of one that is not; empty without one.

    Args:
        path: A path at which there is no file.
    """
    found = find_alike(path)
    if found is None:
        return ""
    return f" Did you mean {str(found)!r}?" + (" Write / for \\." if "\\" in path else "")


def find_alike(path: str) -> Path | None:
    """Return the file that is there under a name that is alike; None without one."""
    try:
        return _find(Path(path.replace("\\", "/")))
    except (OSError, ValueError):  # no name that a file can have
        return None


def _find(path: Path) -> Path | None:
    """Follow a path by names that are alike where they are not the same."""
    if path.is_file():
        return path
    if path.parent == path:
        return None
    folder = path.parent if path.parent.is_dir() else _find_folder(path.parent)
    return None if folder is None else _in(folder, path.name)


def _find_folder(path: Path) -> Path | None:
    if path.is_dir():
        return path
    above = None if path.parent == path else _find_folder(path.parent)
    found = None if above is None else _entries(above).get(plain(path.name))
    return found if found is not None and found.is_dir() else None


def _in(folder: Path, name: str) -> Path | None:
    entries = _entries(folder)
    found = entries.get(plain(name)) or entries.get(plain(Path(name).stem))
    return found if found is not None and found.is_file() else None


@lru_cache(maxsize=64)
def _entries(folder: Path) -> dict[str, Path]:
    """Return what a folder holds by plain name; by the name without its suffix too, where one file alone has it."""
    names = sorted(os.listdir(folder))
    found: dict[str, Path | None] = {}
    for name in names:
        stem = plain(Path(name).stem)
        found[stem] = None if stem in found else folder / name
    return {**{key: path for key, path in found.items() if path}, **{plain(name): folder / name for name in names}}


def plain(name: str) -> str:
    """Return a name without what file systems and people change in it: letter case, Unicode form, outer spaces."""
    return unicodedata.normalize("NFC", name).casefold().strip()
