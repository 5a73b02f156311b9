"""Run trials in processes: our own program as forks of this one, which has imported it once, others as commands."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightning_aqa.sweep.trial_command import own_words

GRACE_SECONDS = 5.0
"""How long a trial has to end after it was asked to."""


class Child:
    """A process that runs a trial, in a group of its own.

    Args:
        pid: Its number.
        poll: Returns its exit code, or None while it runs; negative for the signal that ended it.
    """

    def __init__(self, pid: int, poll: Callable[[], int | None]) -> None:
        self.pid, self.poll = pid, poll

    def stop(self) -> None:
        """Ask the process and its own children to end; end them where they do not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            until = time.monotonic() + GRACE_SECONDS
            while self.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what the process left behind


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Child:
    """Start a command, its output appended to a log.

    Args:
        command: Words of the command.
        log: File for what it prints.
        environment: Variables beside those of this process.
    """
    own = own_words(command)
    if own is not None and "fork" in multiprocessing.get_all_start_methods():
        return _fork(own, log, environment)
    with open(log, "a", encoding="utf-8") as file:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    return Child(popen.pid, popen.poll)


def warm_up() -> None:
    """Import what every trial needs, so that a fork has it: seconds of processor time per trial."""
    for name in ("matplotlib.figure", "wandb", "lightning_aqa.cli.main"):
        importlib.import_module(name)
    importlib.import_module("lightning_aqa.utils.components").import_parts()


def _fork(words: list[str], log: Path, environment: Mapping[str, str]) -> Child:
    warm_up()
    sys.stdout.flush()
    sys.stderr.flush()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(words, log, dict(environment)))
    process.start()
    assert process.pid is not None
    return Child(process.pid, lambda: process.exitcode)


def _run(words: list[str], log: Path, environment: Mapping[str, str]) -> None:
    """Run the command line in a fork as a shell would: its own output, variables, threads and arguments."""
    os.setsid()
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _print_to(log)
    os.environ.update(environment)
    sys.argv[1:] = words  # Lightning starts the other processes of a run by them
    import torch

    from lightning_aqa.cli.main import main

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    code = 1
    try:
        code = main(words)
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


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the system send this process a signal if its parent is killed, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
