"""A lock on a file, which the system gives back when the process ends, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors by which a disk, or a system other than Unix, says that it has no locks; what to do then, the caller knows."""


class LockedError(ValueError):
    """Another process that is alive has the lock."""


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold the lock of a file, which is made for it and removed after it.

    It is a lock of POSIX records: those that a killed process held are gone, processes forked from the holder do not
    have it, and machines that share a disk see it where the disk has locks. Within one process it does not exclude.

    Args:
        path: The file; its folder is there.

    Raises:
        LockedError: If another process has it.
        OSError: If there is no room for the file, or, with one of ``NO_LOCKS``, no lock to be had.
    """
    descriptor = _take(Path(path))
    try:
        yield
    finally:
        Path(path).unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try_lock(descriptor)
            if _is_at(descriptor, path):
                return descriptor
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            raise LockedError(f"{path}: another process that is alive has this lock.") from None
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the holder has just removed the file, so that this lock is of one that nobody sees


def try_lock(descriptor: int, function: Literal["lockf", "flock"] = "lockf") -> None:
    """Lock an open file.

    Args:
        descriptor: The open file.
        function: ``lockf`` locks it for the process, until that closes it anywhere; ``flock`` for this opening of it.

    Raises:
        BlockingIOError: If another has it.
        OSError: With one of ``NO_LOCKS``, if there are no locks.
    """
    try:
        import fcntl
    except ImportError:
        raise OSError(errno.ENOSYS, "this system has no locks of files") from None
    getattr(fcntl, function)(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is the one that stands at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
