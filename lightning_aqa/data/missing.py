"""Files that a table names and that are not there under that name: the nearest that exist, by kind of mistake."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lightning_aqa.data.decoding import AUDIO
from lightning_aqa.data.lookalikes import find_alike, plain

MOST_FILES = 200_000
"""Files of a folder that are looked through for one that lies elsewhere in it."""
NOTHING = "nothing like it"
SLASHES, ENDING, CASE = "back-slashes", "another extension", "another letter case"
UNICODE, SPACES, NAME = "another Unicode form", "spaces around the name", "a name alike"
FOLDER, DOUBLED, TAIL = "another folder", "the folder written twice", "a path of another machine or folder"
ELSEWHERE, SEVERAL = "elsewhere under another name", "several files of that name"


class MissingFile(NamedTuple):
    """A file that is not there.

    Args:
        written: Its name in the table.
        kind: In what it differs from the nearest that exists.
        found: That file; None without one.
        root: Folder from which the name would be right; None where there is none.
    """

    written: str
    kind: str
    found: str | None = None
    root: str | None = None


def with_ending(path: str) -> str:
    """Return the one audio file that is called so but for its extension, where no file has the name itself.

    Args:
        path: A path; one that ends in the extension of audio is left as it is.
    """
    if os.path.splitext(path)[1].lower() in AUDIO or os.path.exists(path):
        return path
    found = _endings(path)
    return found[0] if len(found) == 1 else path


def _endings(path: str) -> list[str]:
    """List the audio files that are called so but for their extension."""
    folder, name = os.path.split(path)
    try:
        found = _by_stem(folder or ".", os.stat(folder or ".").st_mtime_ns).get(name, [])
    except (OSError, ValueError):  # no such folder, or no name that one can have
        return []
    return [os.path.join(folder, one) for one in found]


@lru_cache(maxsize=64)
def _by_stem(folder: str, changed: int) -> dict[str, list[str]]:
    """Return the audio files of a folder by their names without extension."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        stem, ending = os.path.splitext(name)
        if ending.lower() in AUDIO:
            found.setdefault(stem, []).append(name)
    return found


def find_missing(written: Iterable[str], folder: Path, table: Path) -> list[MissingFile]:
    """Find the nearest file of each name that leads to none.

    Args:
        written: Names, as the table has them.
        folder: Where relative names start from.
        table: The table, whose folder is looked into too.
    """
    below = _Below([folder, table.parent])
    return [_nearest(name, folder, table.parent, below) for name in written]


class _Below:
    """The audio of some folders and their sub-folders by plain name, listed at the first use."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(dict.fromkeys(folders))
        self._found: dict[str, list[Path]] | None = None

    def named(self, name: str) -> list[Path]:
        """Return the files of a name, whatever its letter case and extension."""
        if self._found is None:
            self._found = {}
            for path in self._all():
                self._found.setdefault(plain(path.stem), []).append(path)
        alike = self._found.get(plain(PurePosixPath(name).stem), [])
        return [path for path in alike if path.name == name] or alike

    def _all(self) -> Iterable[Path]:
        number = 0
        for folder in self._folders:
            for at, folders, files in os.walk(folder):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(files):
                    number += 1
                    if number > MOST_FILES:
                        return
                    if os.path.splitext(name)[1].lower() in AUDIO:
                        yield Path(at) / name


def _nearest(written: str, folder: Path, beside: Path, below: _Below) -> MissingFile:
    """Find the nearest file of a name, by what is least to change."""
    name = written.replace("\\", "/")
    slashes = SLASHES if name != written else ""
    if slashes and _is_file(folder / name):
        return MissingFile(written, SLASHES, str(folder / name))
    is_absolute = name.startswith("/") or re.match(r"[A-Za-z]:/", name)
    bases = [] if is_absolute else [beside, Path(), *folder.parents]
    for base in bases:
        if _is_file(base / name):
            kind = DOUBLED if name.startswith(f"{folder.name}/") else FOLDER
            return MissingFile(written, slashes or kind, str(base / name), str(base))
    if not is_absolute and (several := _endings(str(folder / name))):
        return MissingFile(written, SEVERAL, several[0])
    if not is_absolute and (alike := find_alike(str(folder / written))) is not None:
        return MissingFile(written, slashes or _difference(str(folder / name), str(alike)), str(alike))
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..")]
    for start in range(1, len(parts)):
        tail = folder.joinpath(*parts[start:])
        if _is_file(tail):
            return MissingFile(written, TAIL, str(tail))
    near = below.named(parts[-1]) if parts else []
    if not near:
        return MissingFile(written, NOTHING)
    root = _root_of(near[0], name)
    return MissingFile(written, FOLDER if root else ELSEWHERE, str(near[0]), root)


def _root_of(path: Path, name: str) -> str | None:
    """Return the folder from which a name leads to a file; None where it ends otherwise."""
    text = path.as_posix()
    return (text[: -len(name)].rstrip("/") or ".") if text.endswith(f"/{name}") or text == name else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _difference(written: str, found: str) -> str:
    """Say in what two names differ."""
    if written.strip() == found or PurePosixPath(written).name.strip() == PurePosixPath(found).name:
        return SPACES
    if unicodedata.normalize("NFC", written) == unicodedata.normalize("NFC", found):
        return UNICODE
    if plain(written) == plain(found):
        return CASE
    return ENDING if plain(Path(written).stem) == plain(Path(found).stem) else NAME


def mended(missing: Sequence[MissingFile], table: Path) -> str:
    """Return the line that mends files which are missing for one reason.

    Args:
        missing: Such files, all of one kind.
        table: The table.
    """
    kind = missing[0].kind
    roots = Counter(file.root for file in missing if file.root is not None)
    if kind in (FOLDER, DOUBLED) and roots:
        return f"--data.audio_root={shlex.quote(roots.most_common(1)[0][0])}"
    if kind == SLASHES:
        return _rewritten(r"s#\\+([^\"])#/\1#g", table)
    if kind == ENDING:
        pairs = Counter((Path(file.written).suffix, Path(str(file.found)).suffix) for file in missing)
        (old, new), _ = pairs.most_common(1)[0]
        return _rewritten(rf"s#{_escaped(old)}\b#{new}#g", table)
    if kind == SEVERAL:
        return f"write the names with their extension, such as {os.path.basename(str(missing[0].found))}"
    if kind == TAIL:
        prefixes = Counter(_prefix(file) for file in missing)
        prefix, _ = prefixes.most_common(1)[0]
        return _rewritten(f"s#{_escaped(prefix)}##g", table) if prefix else "shorten the names"
    if kind == NOTHING:
        return "copy these files, name their folder in --data.audio_root, or add --data.on_bad_clip=skip"
    return "write the names in the table as the files have them, or rename the files"


def _prefix(file: MissingFile) -> str:
    """Return what stands before the part of a name that is there."""
    name, found = file.written, (file.found or "").replace("\\", "/")
    for length in range(len(name), 0, -1):
        if found.endswith("/" + name[-length:].replace("\\", "/")):
            return name[:-length]
    return ""


def _escaped(text: str) -> str:
    """Write a text that sed -E takes as it is, between two #."""
    return re.sub(r"([][\\.*^$()+?{}|#])", r"\\\1", text)


def _rewritten(rule: str, table: Path) -> str:
    """Write a command that makes a mended copy of a table."""
    copy = table.with_name(f"{table.stem}_mended{table.suffix}")
    return f"sed -E {shlex.quote(rule)} {shlex.quote(str(table))} > {shlex.quote(str(copy))}"
