"""A file as several stretches, each to be decoded as a file of its own, with headers that tell the truth."""

from __future__ import annotations

import io
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple


class Stretch(NamedTuple):
    """A stretch of a file.

    Args:
        parts: Its content in order: bytes as they are, or a range (first, end) of the bytes of the file.
    """

    parts: tuple[bytes | tuple[int, int], ...]


class Layout(NamedTuple):
    """Way in which a file is to be read.

    Args:
        stretches: What to decode one after the other; none where the file can be read as it is.
        share: Part of what the headers promise that is there, from 0 to 1.
    """

    stretches: tuple[Stretch, ...] = ()
    share: float = 1.0


class StretchReader(io.RawIOBase):
    """A stretch as a binary file.

    Args:
        path: The file.
        stretch: What of it to read.
    """

    def __init__(self, path: str | Path, stretch: Stretch) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self._parts, self._position = stretch.parts, 0
        sizes = (len(part) if isinstance(part, bytes) else part[1] - part[0] for part in stretch.parts)
        self._starts = [0, *accumulate(sizes)]

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that any position can be gone to."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read as much as there is room for; what the disk does not give is the end."""
        view, done = memoryview(buffer).cast("B"), 0
        with suppress(OSError):  # there is no one to raise it to inside the decoder, which calls this
            while done < len(view) and self._position < self._starts[-1]:
                data = self._read(len(view) - done)
                if not data:
                    break
                view[done : done + len(data)] = data
                done += len(data)
                self._position += len(data)
        return done

    def _read(self, size: int) -> bytes:
        index = bisect_right(self._starts, self._position) - 1
        part, offset = self._parts[index], self._position - self._starts[index]
        if isinstance(part, bytes):
            return part[offset : offset + size]
        self._file.seek(part[0] + offset)
        return self._file.read(min(size, part[1] - part[0] - offset))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
