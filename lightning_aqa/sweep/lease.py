"""Leases: of several processes or machines that share a sweep folder, one runs a trial."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

STALE_SECONDS = 60.0
"""A lease that was not renewed for so long is of a process that died."""
RENEWAL_SECONDS = 10.0


class Lease:
    """The right to run a trial, a file that only one process can create.

    The file is ``<id>.<k>``; the highest k holds the lease. A process that finds it stale creates the next one, which
    again only one can. Clocks of the machines may differ by less than ``STALE_SECONDS``.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.renewed = time.monotonic()

    def renew(self) -> None:
        """Say that the process still runs, if it is time to."""
        if time.monotonic() - self.renewed > RENEWAL_SECONDS:
            self.renewed = time.monotonic()
            with contextlib.suppress(FileNotFoundError):  # another took it over; it must not come back
                os.utime(self.path)

    @property
    def is_lost(self) -> bool:
        """Whether another process took over, having found this one asleep."""
        stem, number = self.path.name.rsplit(".", 1)
        return not self.path.exists() or self.path.with_name(f"{stem}.{int(number) + 1}").exists()

    def release(self) -> None:
        """Give the lease back."""
        self.path.unlink(missing_ok=True)


def take_lease(folder: Path, name: str) -> Lease | None:
    """Take the lease of a name, unless a process that is alive has it.

    Args:
        folder: Folder of the leases.
        name: Name of what is leased, such as the id of a trial.

    Returns:
        The lease; None if another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name.rsplit(".", 1)[-1]) for path in folder.glob(f"{name}.*")]
    last = max(numbers, default=0)
    if numbers and not is_stale(folder / f"{name}.{last}"):
        return None
    path = folder / f"{name}.{last + 1}"
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
    except FileExistsError:
        return None
    for number in numbers:
        (folder / f"{name}.{number}").unlink(missing_ok=True)
    return Lease(path)


def is_stale(path: Path) -> bool:
    """Tell whether the process of a lease is gone: not renewed, or no longer on this machine."""
    try:
        age = time.time() - path.stat().st_mtime
        owner = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False  # given back just now; the next look finds it free
    except json.JSONDecodeError:
        return age > STALE_SECONDS  # being written, or half written by a process that died
    # A number that is alive may be another process by now, after a restart; a live owner renews its lease.
    return age > STALE_SECONDS or (owner["host"] == socket.gethostname() and not is_alive(owner["pid"]))


def is_alive(pid: int) -> bool:
    """Tell whether there is a process of that number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
