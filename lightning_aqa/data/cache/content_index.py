"""Index of audio files by their content."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_aqa.utils.files import replacing

FORMAT = 2
"""Number of this layout; a change of it makes old entries unused."""

SETTLED_NS = 2 * 10**9
"""A file that changed less than this before it was hashed may change again within one tick of its clock."""

BLOCK_BYTES = 2**22


class ContentIndex:
    """Hash audio files by their content, and remember the hash by size and times of change, in nanoseconds.

    What the index does not know, or what may have changed, is read again, so losing it costs time and nothing else.

    Args:
        path: JSON file to remember hashes in; it may be missing, damaged, or shared with other processes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] | None = None
        self._new: dict[str, list[Any]] = {}
        self._digests: dict[str, str] = {}

    def digest(self, file: str) -> str:
        """Return the hash of a file's content; within a process a file is looked at once."""
        if file not in self._digests:
            self._digests[file] = self._look_up(Path(file).absolute())
        return self._digests[file]

    def _look_up(self, file: Path) -> str:
        if self._known is None:
            self._known = self._read()
        stat = file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        known = self._known.get(str(file))
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        is_settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS
        digest = hash_file(file)
        if is_settled:
            self._new[str(file)] = [*stamp, digest]
        return digest

    def _read(self) -> dict[str, list[Any]]:
        try:
            found: dict[str, list[Any]] = json.loads(self.path.read_text(encoding="utf-8"))
            return {file: [int(number) for number in row[:3]] + [str(row[3])] for file, row in found.items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return {}

    def reload(self) -> None:
        """Read the file again at the next look-up, for what other processes have added."""
        self._known = None

    def save(self) -> None:
        """Add what is new to the file; a folder that cannot be written to is no reason to stop."""
        if self._new:
            with suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self.path) as file:
                    json.dump({**self._read(), **self._new}, file)
                self._new = {}


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
