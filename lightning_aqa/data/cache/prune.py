"""Look after a folder of features: find damaged entries, and remove what nobody needs."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.data.cache.entry import PART, SUFFIX, DamagedError, read_entry

HOUR, DAY = 3600.0, 86400.0


class Found(NamedTuple):
    """A file of the cache: its path, its size in bytes, and when it was used last, in seconds since 1970."""

    path: Path
    size: int
    used: float


def files_of(folder: Path, suffix: str = SUFFIX) -> Iterator[Found]:
    """Find the files of a cache; what other processes remove meanwhile is left out.

    Raises:
        ValueError: If there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of features.")
    for path in sorted(folder.glob(f"[0-9a-f][0-9a-f]/*{suffix}")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        yield Found(path, stat.st_size, max(stat.st_atime, stat.st_mtime))


def damaged(folder: Path) -> list[Found]:
    """Read all entries of a folder and return those that are not whole."""
    bad = []
    for file in files_of(folder):
        try:
            read_entry(file.path)
        except DamagedError:
            bad.append(file)
        except FileNotFoundError:
            pass
    return bad


def unneeded(
    folder: Path,
    kept: Collection[Path] = (),
    older_than: float | None = None,
    budget: float | None = None,
    now: float | None = None,
) -> list[Found]:
    """Return what can be removed: what a killed process left behind, and entries by age, by size, or all but some.

    Args:
        folder: Folder of features.
        kept: Entries that stay in any case. With neither age nor budget all others go, if any are named.
        older_than: Entries not used for so many days go.
        budget: What may stay, in bytes: those not used for the longest time go first.
        now: Time to count from, in seconds since 1970; None is now.
    """
    now = time.time() if now is None else now
    left = [file for file in files_of(folder, PART) if now - file.used > HOUR]
    others = sorted((file for file in files_of(folder) if file.path not in kept), key=lambda file: file.used)
    if older_than is None and budget is None:
        return left + (others if kept else [])
    total = sum(file.size for file in files_of(folder))
    for file in others:
        is_old = older_than is not None and now - file.used > older_than * DAY
        if is_old or (budget is not None and total > budget):
            left.append(file)
            total -= file.size
    return left


def remove(files: Collection[Found]) -> None:
    """Remove files, if they are still there."""
    for file in files:
        file.path.unlink(missing_ok=True)
