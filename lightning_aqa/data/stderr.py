"""Keep the chatter of a C library off the screen, and nothing else."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_lock = threading.Lock()
_users = 0
_kept: tuple[int, Path] | None = None


@contextmanager
def without_notes() -> Iterator[None]:
    """Drop lines that begin with ``Note:`` from what is written to stderr meanwhile, by C code too.

    libmpg123 writes such lines about tags at the end of an mp3, several per file, and has no switch for it. Threads may
    enter together; the last one to leave puts stderr back and passes on whatever else was written.
    """
    global _users, _kept
    with _lock:
        if _users == 0:
            _kept = _divert()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _kept is not None:
                _restore(*_kept)


def _divert() -> tuple[int, Path] | None:
    """Point descriptor 2 at a file; return the screen's and the file, or None where the process has no stderr."""
    try:
        screen = os.dup(2)
    except OSError:
        return None
    _flush()
    descriptor, path = tempfile.mkstemp()
    os.dup2(descriptor, 2)
    os.close(descriptor)
    return screen, Path(path)


def _restore(screen: int, notes: Path) -> None:
    _flush()
    os.dup2(screen, 2)
    lines = notes.read_bytes().splitlines(keepends=True)
    notes.unlink()
    kept = [line for line in lines if line.strip() and not line.startswith(b"Note:")]
    os.write(screen, b"".join(kept))
    os.close(screen)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
