"""Run trials in processes: our own program as forks of this one, which has imported it once, others as commands."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.sweep.trial_command import TrialCommand
from lightning_aqa.utils import forks
from lightning_aqa.utils.signals import end_with_parent

GRACE_SECONDS = 10.0
"""How long trials have to end after they were asked to, together."""


class Child:
    """A process that runs a trial, in a group of its own.

    Args:
        pid: Its number.
        poll: Returns its exit code, or None while it runs; negative for the signal that ended it.
    """

    def __init__(self, pid: int, poll: Callable[[], int | None]) -> None:
        self.pid, self.poll = pid, poll

    def signal(self, number: int) -> None:
        """Send a signal to the process and its own children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def stop(children: Sequence[Child]) -> None:
    """Ask processes to end, which ours do once their state is written; end those that do not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            child.signal(number)
        until = time.monotonic() + GRACE_SECONDS
        while any(child.poll() is None for child in children) and time.monotonic() < until:
            time.sleep(0.05)
    for child in children:
        child.signal(signal.SIGKILL)  # what the process left behind


class Program(NamedTuple):
    """Our own command line, as trials run it.

    Args:
        main: Takes the arguments, returns the exit code.
        warm_up: Imports what every trial needs, so that a fork of this process has it.
    """

    main: Callable[[list[str]], int]
    warm_up: Callable[[], None]


def start(command: TrialCommand, log: Path, environment: Mapping[str, str], program: Program) -> Child:
    """Start a trial, its output appended to a log: our own program as a fork, any other as a command.

    Args:
        command: The command of the trial.
        log: File for what it prints.
        environment: Variables beside those of this process.
        program: Our own command line.
    """
    environment = {**os.environ, **environment}
    if command.is_own and forks.can_fork():
        program.warm_up()
        process = forks.fork(program.main, command.args, log, environment)
        assert process.pid is not None
        return Child(process.pid, lambda: process.exitcode)
    with open(log, "a", encoding="utf-8") as file:
        popen = subprocess.Popen(
            command.executable,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    return Child(popen.pid, popen.poll)
