"""Run trials in processes: our own program as forks of this one, which has imported it once, others as commands."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.sweep.trial_command import TrialCommand
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
    if command.is_own and "fork" in multiprocessing.get_all_start_methods():
        return _fork(program, command.args, log, environment)
    with open(log, "a", encoding="utf-8") as file:
        popen = subprocess.Popen(
            command.executable,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    return Child(popen.pid, popen.poll)


def _fork(program: Program, args: list[str], log: Path, environment: Mapping[str, str]) -> Child:
    program.warm_up()
    sys.stdout.flush()
    sys.stderr.flush()
    given = (program, args, log, dict(environment))
    process = multiprocessing.get_context("fork").Process(target=_run, args=given)
    process.start()
    assert process.pid is not None
    return Child(process.pid, lambda: process.exitcode)


def _run(program: Program, args: list[str], log: Path, environment: Mapping[str, str]) -> None:
    """Run the command line in a fork as a shell would: its own output, variables, threads and arguments."""
    os.setsid()
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _print_to(log)
    os.environ.update(environment)
    sys.argv[1:] = args  # Lightning starts the other processes of a run by them
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    code = 1
    try:
        code = program.main(args)
    finally:
        _end_wandb(code)
    sys.exit(code)


def _print_to(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 (the process's own)
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115


def _end_wandb(code: int) -> None:
    """Close a W&B run that a failure left open, as W&B does at the exit of a process."""
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=code)
