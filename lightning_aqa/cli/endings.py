"""The end of a run that does not end well: one line, and the exit code that shells and schedulers read."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from lightning_aqa.cli.messages import raised, unexpected
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.results.files import path_of_last
from lightning_aqa.training.finite_check import NonFiniteError
from lightning_aqa.utils.args import split_options
from lightning_aqa.utils.distributed import (
    destroy_group,
    is_local_rank_zero,
    num_processes,
    process_number,
    wait_for_launcher_exit,
)
from lightning_aqa.utils.files import DISK_FULL, FULL, advice_if_full
from lightning_aqa.utils.signals import Stopped, StopSignals
from lightning_aqa.utils.wandb import OFFLINE_HINT, is_wandb_error, told_by_wandb

COLLECTIVE_ERRORS = (CorpusError, NonFiniteError, MisconfigurationException)
USER_ERRORS = (ValueError, OSError, MisconfigurationException, OmegaConfBaseException)
RESTORING = "checkpoint_connector.py"
"""File of Lightning that brings a trainer to where a checkpoint stands."""
OPTIMISERS = Path(torch.optim.__file__).parent
"""Where a step fails whose moments, taken from a checkpoint, are not those of the weights."""


class Session:
    """A command that runs: what it holds, what it listens to, and where it writes.

    Args:
        args: Arguments of the command line.

    Attributes:
        held: Gives back at its end what the command holds.
        signals: Signals that end it.
        folder: Its run folder, once it is chosen.
        checkpoint: The checkpoint that it was given, if any.
        has_folds: Whether it finds its own unfinished work, as a cross-validation does.
    """

    def __init__(self, args: Sequence[str]) -> None:
        self.args, self.held, self.signals = list(args), ExitStack(), StopSignals()
        self.folder: Path | None = None
        self.checkpoint: str | None = None
        self.has_folds = False

    def __enter__(self) -> Session:
        """Listen to signals."""
        self.held.enter_context(self.signals)
        return self

    def __exit__(self, *error: object) -> None:
        """Give everything back."""
        self.held.close()

    def state(self) -> str:
        """Say what is kept, and the command that goes on."""
        if self.has_folds:
            return "Folds that have ended are kept; the same command goes on."
        last = None if self.folder is None else path_of_last(self.folder)
        if "fit" not in self.args or last is None or not last.is_file():
            return "Nothing is kept that a run could go on from; the same command starts anew."
        _, rest = split_options(self.args, ("--ckpt_path",), ())
        command = shlex.join(["python", "-m", "lightning_aqa", *rest, f"--ckpt_path={last}"])
        return f"The state is whole in {last}; this goes on: {command}"


def told(error: Exception, session: Session) -> tuple[str, int]:
    """Return how an error is told in a line, and the exit code: 1 where nobody foresaw it, whose traceback is kept."""
    if isinstance(error, OmegaConfBaseException):
        error = ValueError(" ".join(str(error).split()))
    if isinstance(error, OSError) and error.errno in FULL:
        where = error.filename or session.folder
        return f"{error.strerror}: {where}. {advice_if_full(error)}. {session.state()}", DISK_FULL
    if reason := _reason_of(error, session.checkpoint):
        return reason, 2
    if isinstance(error, USER_ERRORS):
        return raised(error), 2
    if is_wandb_error(error):
        return f"{told_by_wandb(error)} {OFFLINE_HINT}", 2
    return unexpected(error, session.folder), 1


def fail(error: Exception, line: str, code: int) -> int:
    """Tell an error in its line; of what all processes of a machine find, the first one tells it."""
    if is_local_rank_zero():
        sys.stderr.write(f"error: {line}\n")
    elif num_processes() == 1 or isinstance(error, COLLECTIVE_ERRORS):
        wait_for_launcher_exit()
    else:
        sys.stderr.write(f"error on process {process_number()}: {line}\n")
    destroy_group()
    return code


def stopped(stop: Stopped, session: Session) -> int:
    """Tell that a signal has ended the run, and return its exit code; the first process of a machine tells it."""
    if is_local_rank_zero():
        sys.stderr.write(f"stopped by {stop.name}. {session.state()}\n")
    else:
        wait_for_launcher_exit()
    destroy_group()
    return stop.code


def _reason_of(error: Exception, checkpoint: str | None) -> str:
    """Say why a checkpoint cannot be gone on from; nothing where the fault is another one."""
    said = " ".join(str(error).split())
    if "loading state_dict" in said:
        last = str(error).splitlines()[-1].strip()
        return f"The checkpoint's weights are not those of this model: {last} Keep the settings it was trained with."
    frames = traceback.extract_tb(error.__traceback__)
    is_in_optimiser = bool(frames) and Path(frames[-1].filename).parent == OPTIMISERS
    if checkpoint and (is_in_optimiser or any(Path(frame.filename).name == RESTORING for frame in frames)):
        return (
            f"{checkpoint}: cannot be gone on from ({type(error).__name__}: {said}); the optimiser, the loops or a "
            f"callback in it are not those of this run. --init_from={checkpoint} starts from its weights alone."
        )
    return ""
