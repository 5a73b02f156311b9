"""The first SIGTERM or SIGINT ends the work where it is whole, a second one at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME_SECONDS = 1.0
"""A signal that comes again within this time was sent once, to a process and to its group."""


class Stopped(BaseException):
    """The process was asked to end.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """Name of the signal, such as ``SIGTERM``."""
        return signal.Signals(self.number).name

    @property
    def code(self) -> int:
        """Exit code, as shells have it: 143 for SIGTERM, 130 for SIGINT."""
        return exit_code(self.number)


def exit_code(number: int) -> int:
    """Return the exit code of a process that a signal has ended, as shells have it.

    Example:
        >>> exit_code(signal.SIGTERM), exit_code(signal.SIGINT)
        (143, 130)
    """
    return 128 + int(number)


class StopSignals:
    """Raise ``Stopped`` at the first signal, or keep it until the work asks for it; while it is entered.

    Attributes:
        number: The signal that came; None before.
        waits: Whether the signal is kept for ``stop``, in place of being raised wherever the work is.
        passes_on: Called with the signal, for processes that this one has started.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.waits = False
        self.passes_on: Callable[[int], None] | None = None
        self._came = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Take the signals over; outside of the main thread they stay as they are."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
            self.install()
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Take the signals over again, where another library has taken them meanwhile."""
        if self._before:
            for number in SIGNALS:
                signal.signal(number, self._take)

    def stop(self) -> NoReturn:
        """Raise what was kept; of a signal that came to another process, SIGTERM.

        Raises:
            Stopped: Always.
        """
        raise Stopped(self.number or signal.SIGTERM)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is not None:
            if now - self._came > SAME_SECONDS:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.number, self._came = number, now
        if self.passes_on is not None:
            with contextlib.suppress(OSError):
                self.passes_on(number)
        if not self.waits:
            raise Stopped(number)


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the system send this process a signal if its parent is killed, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
