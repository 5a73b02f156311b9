"""Forks of this process, which has imported everything once, that run our own command line."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from lightning_aqa.utils.signals import end_with_parent

Result = TypeVar("Result")
Program = Callable[[list[str]], int]
"""Our own command line: takes the arguments, returns the exit code."""

WARM = ("matplotlib.figure", "wandb")
"""Modules that runs import when they need them: seconds of processor time each."""


class _Own:
    program: Program | None = None


def allow(program: Program) -> None:
    """Let this process be forked: it was started for our command line, and has no threads of others at work."""
    _Own.program = program


def allowed() -> Program | None:
    """Return our command line, where this process may be forked to run it; a notebook or a test may not."""
    return _Own.program if can_fork() else None


def can_fork() -> bool:
    """Tell whether the system has forks."""
    return "fork" in multiprocessing.get_all_start_methods()


def warm_up(modules: Sequence[str] = WARM) -> None:
    """Import what every run needs, so that a fork has it."""
    for name in modules:
        importlib.import_module(name)


def fork(program: Program, args: Sequence[str], log: str | Path, environment: Mapping[str, str]) -> BaseProcess:
    """Start the command line in a fork, in a process group of its own, its output appended to a log.

    Args:
        program: The command line.
        args: Its arguments.
        log: File for what it prints.
        environment: All of its variables.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    given = (program, list(args), log, dict(environment))
    process = multiprocessing.get_context("fork").Process(target=_run, args=given)
    process.start()
    return process


def apart(call: Callable[[], Result]) -> Result:
    """Return what a call gives in a fork, where this process may be forked: its threads end there.

    What computes in this process before a fork starts threads of OpenMP, or a GPU, and the fork would wait for them for
    ever.

    Raises:
        Exception: That of the call.
        RuntimeError: If the fork ends without a result.
    """
    if allowed() is None:
        return call()
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_tell, args=(call, theirs))
    process.start()
    theirs.close()
    try:
        found, error = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"A forked process ended with exit code {process.exitcode}, expected a result of it. Memory that runs out "
            "ends a process so (-9): free some, or take a smaller encoder, such as --model.encoder=Descriptors."
        ) from None
    process.join()
    if error is not None:
        raise error
    result: Result = found
    return result


def _tell(call: Callable[[], Result], pipe: Connection) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        pipe.send((call(), None))
    except Exception as error:
        pipe.send((None, error))


def _run(program: Program, args: list[str], log: str | Path, environment: dict[str, str]) -> None:
    """Run the command line in a fork as a shell would: its own output, variables, threads and arguments."""
    os.setsid()
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _print_to(log)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = args  # Lightning starts the other processes of a run by them
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    code = 1
    try:
        code = program(args)
    finally:
        _end_wandb(code)
    sys.exit(code)


def _print_to(log: str | Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 (the process's own)
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115


def _end_wandb(code: int) -> None:
    """Close a W&B run that a failure left open, as W&B does at the exit of a process."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=code)
