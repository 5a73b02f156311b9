"""Run the trials of a sweep on this machine; any number of such processes share a sweep folder."""

from __future__ import annotations

import os
import socket
import time
import zipfile
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

from lightning_aqa.results.files import CONFIG, path_of_last
from lightning_aqa.sweep.config import Sweep
from lightning_aqa.sweep.lease import Lease, take_lease
from lightning_aqa.sweep.plan import Plan
from lightning_aqa.sweep.process import Child, Program, start, stop
from lightning_aqa.sweep.progress import Progress
from lightning_aqa.sweep.trial import Trial
from lightning_aqa.sweep.trial_command import trial_command, trial_environment

LEASES = "claims"
"""Folder of the leases in a sweep folder."""
POLL_SECONDS, WAIT_SECONDS = 0.1, 1.0
"""How often to look at children, and at other processes' trials where there are no children."""


class Running(NamedTuple):
    """A trial that runs.

    Args:
        trial: The trial.
        child: Its process.
        lease: The right to run it.
        begun: When it was started, of ``time.monotonic``.
        slot: Index of the worker.
    """

    trial: Trial
    child: Child
    lease: Lease
    begun: float
    slot: int


class LocalEngine:
    """Run what is left of a plan, several trials at a time.

    Finished trials are not run again; killed ones resume from their last epoch where there is one; failed ones are left
    unless they are to be retried. The first trial prepares the corpus and the feature cache alone.

    Args:
        sweep: The sweep.
        plan: Its trials.
        folder: Its folder.
        program: Our own command line, for trials that call it.
        workers: How many trials run at a time.
        retry: Whether to run failed trials again.
        devices: GPUs to spread the workers over; empty leaves that to the trials.
    """

    def __init__(
        self,
        sweep: Sweep,
        plan: Plan,
        folder: Path,
        program: Program,
        *,
        workers: int,
        retry: bool,
        devices: list[str] | None = None,
    ) -> None:
        self.sweep, self.plan, self.folder, self.program, self.workers = sweep, plan, folder, program, workers
        self.retry, self.devices = retry, devices or []
        self.running: list[Running] = []
        self.tried: set[str] = set()
        self.finished: dict[str, Trial] = {}
        self.is_prepared = False

    def run(self, progress: Progress) -> None:
        """Run until every trial has ended, here or elsewhere; a signal ends the children, and their records say so.

        Raises:
            Stopped: At a signal, once all is in order.
        """
        try:
            while self._fill() or self.running or self._waits():
                time.sleep(POLL_SECONDS if self.running else WAIT_SECONDS)
                self._reap(progress)
                if progress.is_due():
                    progress.show(self._records(), [running.trial for running in self.running])
        finally:  # none runs, unless interrupted
            stop([running.child for running in self.running])
            for running in self.running:
                with suppress(OSError):  # of a full disk, which is told already
                    self._record_end(running, running.trial._replace(state="killed"))

    def _records(self) -> list[Trial]:
        """List the trials as their folders record them; one that has finished is read once."""
        for trial in self.plan.trials():
            if trial.id not in self.finished and (recorded := trial.read()).state == "finished":
                self.finished[trial.id] = recorded
        return [self.finished.get(trial.id) or trial.read() for trial in self.plan.trials()]

    def _fill(self) -> bool:
        """Start trials while there are free workers; return whether one was started."""
        started = False
        while len(self.running) < self.workers and (not self.running or self._has_prepared()):
            trial, lease = self._next()
            if trial is None or lease is None:
                if self.plan.propose():
                    continue
                break
            self._start(trial, lease)
            started = True
        return started

    def _has_prepared(self) -> bool:
        """Tell whether a trial got past the corpus and the feature cache, which the others then find done."""
        is_own = trial_command(self.sweep, self.running[0].trial).is_own
        self.is_prepared = self.is_prepared or not is_own or any(has_begun(path) for path in self.folder.iterdir())
        return self.is_prepared

    def _next(self) -> tuple[Trial | None, Lease | None]:
        """Take the lease of a trial that is to be run."""
        for trial in self._records():
            if not self._is_due(trial):
                continue
            lease = take_lease(self.folder / LEASES, trial.id)
            if lease is None:
                continue
            recorded = trial.read()  # another process may have ended it since the look before
            if self._is_due(recorded):
                return recorded, lease
            lease.release()
        return None, None

    def _is_due(self, trial: Trial) -> bool:
        """Tell whether a trial is to be run; one recorded as running is, if its lease turns out to be free."""
        if trial.id in self.tried:
            return False
        return trial.state in ("", "killed", "running") or (trial.state == "failed" and self.retry)

    def _waits(self) -> bool:
        """Tell whether trials still run in other processes."""
        return any(trial.id not in self.tried and trial.state == "running" for trial in self._records())

    def _start(self, trial: Trial, lease: Lease) -> None:
        checkpoint = last_checkpoint(trial)
        has_folds = any(trial.folder.glob("fold*"))  # a cross-validation finds its own unfinished work
        if checkpoint is None and not has_folds:
            rmtree(trial.folder, ignore_errors=True)
        command = trial_command(self.sweep, trial, checkpoint)
        slot = min(set(range(self.workers)) - {running.slot for running in self.running})
        record = trial._replace(
            state="running", start=_now(), end=None, seconds=None, exit_code=None, command=command.portable
        )
        record = record._replace(attempts=trial.attempts + 1, host=socket.gethostname(), pid=os.getpid())
        record.write()
        environment = trial_environment(self.sweep, trial)
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        self.tried.add(trial.id)
        child = start(command, record.log, environment, self.program)
        self.running.append(Running(record, child, lease, time.monotonic(), slot))

    def _reap(self, progress: Progress) -> None:
        """Renew leases; take note of trials that have ended."""
        for running in list(self.running):
            running.lease.renew()
            code = running.child.poll()
            if code is None and running.lease.is_lost:
                stop([running.child])
                self.running.remove(running)  # the record is the other process's
            elif code is not None:
                self.running.remove(running)
                ended = self._record_end(running, running.trial.ended(code))
                self.plan.tell(ended)
                progress.ended(ended, self._records())

    def _record_end(self, running: Running, trial: Trial) -> Trial:
        ended = trial._replace(end=_now(), seconds=round(time.monotonic() - running.begun, 2))
        ended.write()
        running.lease.release()
        return ended


def has_begun(folder: Path) -> bool:
    """Tell whether the trial of a run folder trains: its corpus is checked and its cache is filled by then."""
    return (folder / CONFIG).exists()


def last_checkpoint(trial: Trial) -> Path | None:
    """Return the checkpoint that a killed trial resumes from; None if it has none, or one that is half written."""
    path = path_of_last(trial.folder)
    is_resumable = trial.state in ("killed", "running") and (trial.folder / CONFIG).exists()
    return path if is_resumable and zipfile.is_zipfile(path) else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
