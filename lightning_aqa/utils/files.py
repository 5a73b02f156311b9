"""Write files so that a reader finds the old one or the new one, never half of one; read those that may be damaged."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk without room, of what one may use of it, or of the most that a file may hold."""
DISK_FULL = 74
"""Exit code of a run that a full disk has stopped, as sysexits has it for failed input or output."""


def advice_if_full(error: OSError) -> str:
    """Say what to do about an error of ``FULL``.

    Example:
        >>> advice_if_full(OSError(errno.EFBIG, "File too large"))
        'Raise the limit on the size of files (ulimit -f)'
    """
    return "Raise the limit on the size of files (ulimit -f)" if error.errno == errno.EFBIG else "Make room"


@contextmanager
def complete(path: str | Path, *, is_synced: bool = True) -> Iterator[Path]:
    """Give the path to write a file at, which takes its own name once it is complete and on the disk.

    Args:
        path: Where the file will be; one that is there stays until then, and for good where writing fails.
        is_synced: Wait until the disk has it; not worth the time for many files that can be made again.

    Raises:
        OSError: If it cannot be written, as on a full disk; with its path.
    """
    part = Path(path).with_name(f"{Path(path).name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        if is_synced:
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(part)):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        part.unlink(missing_ok=True)


def remove_parts(folder: Path, name: str) -> None:
    """Remove what processes that were killed left of files whose names match a pattern."""
    for part in folder.glob(f"{name}.*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def replacing(path: str | Path, errors: str = "strict") -> Iterator[TextIO]:
    """Open a text file (UTF-8, line ends as written) that takes its name once it is complete.

    Args:
        path: Where the file will be; one that is there stays until then, and for good where writing fails.
        errors: How what is no UTF-8 is written, as of ``open``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results.json"
        >>> with replacing(path) as file:
        ...     _ = file.write("{}")
        ...     path.exists()
        False
        >>> path.read_text()
        '{}'
    """
    with complete(path) as part, open(part, "w", newline="", encoding="utf-8", errors=errors) as file:
        yield file


@contextmanager
def complete_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder to fill, which takes its own name once all of it is on the disk.

    Args:
        path: Where the folder will be; of several that are made at once, the first to be whole is there.

    Raises:
        ValueError: If there is something in its place.
        OSError: If it cannot be written, as on a full disk.
    """
    path, taken = Path(path), f"{path}: there is something already; name another folder, or move it away."
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise ValueError(taken)
    part.mkdir(parents=True)
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
        try:
            part.rename(path)  # takes the place of an empty folder, and of no other
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise ValueError(taken) from None
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sha256_of(path: str | Path) -> str:
    """Hash the bytes of a file by SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def file_size(path: str | Path) -> int:
    """Return the size of a file in bytes, before it is opened: a pipe has no end to read to.

    Raises:
        ValueError: If there is none, or it is no file; the message names it.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', error)}).") from None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(
            f"{path}: {'a folder' if stat.S_ISDIR(found.st_mode) else 'a pipe or device'}, expected a file."
        )
    return found.st_size


def read_text(path: str | Path, most_bytes: int | None = None) -> str:
    """Read a text file (UTF-8, line ends as they are) of which nothing is known.

    Args:
        path: The file.
        most_bytes: Size above which it is not looked into; None reads any.

    Raises:
        ValueError: If it is no file, no text or too large; the message names it.
    """
    size = file_size(path)
    if most_bytes is not None and size > most_bytes:
        raise ValueError(f"{path}: {size:,} bytes, expected at most {most_bytes:,}.")
    try:
        return Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}).") from None
