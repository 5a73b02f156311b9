"""Say how far a sweep is: a line that is kept up to date on a terminal, else a line per trial."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from lightning_aqa.results.naming import is_seed, short_names
from lightning_aqa.sweep.trial import Trial
from lightning_aqa.utils.text import duration

REFRESH_SECONDS = 0.5
MOST_NAMES = 12
"""Trials to name in a message."""
CLEAR = "\r\x1b[K"
"""Goes back to the start of a line of a terminal and empties it."""


class Progress:
    """Report on the trials of a sweep.

    Args:
        total: How many trials there will be.
        workers: How many run at a time.
    """

    def __init__(self, total: int, workers: int) -> None:
        self.total, self.workers = total, workers
        self.is_live = sys.stdout.isatty()
        self.shown = 0.0

    def is_due(self) -> bool:
        """Tell whether the line on the terminal is old."""
        return self.is_live and time.monotonic() - self.shown > REFRESH_SECONDS

    def show(self, trials: Sequence[Trial], running: Sequence[Trial]) -> None:
        """Bring the line on the terminal up to date.

        Args:
            trials: All trials as their folders record them.
            running: Those that run here.
        """
        self.shown = time.monotonic()
        names = ", ".join(trial.variant for trial in running)
        print(f"{CLEAR}{self.summary(trials)}  {names}"[:200], end="" if running else "\n", flush=True)

    def summary(self, trials: Sequence[Trial]) -> str:
        """Return one line: how many trials are in which state, and the time left."""
        states = Counter(trial.state or "waiting" for trial in trials)
        states["waiting"] += self.total - len(trials)
        shown = [f"{states[state]} {state}" for state in ("running", "waiting", "killed", "failed") if states[state]]
        left = states["waiting"] + states["running"] / 2 + states["killed"]  # one that runs is half done, on average
        seconds = [trial.seconds for trial in trials if trial.state == "finished" and trial.seconds]
        if seconds and left:
            shown.append(f"{duration(fmean(seconds) * left / min(self.workers, max(left, 1)))} left")
        return ", ".join([f"{states['finished']} of {self.total} trials finished", *shown])

    def ended(self, trial: Trial, trials: Sequence[Trial]) -> None:
        """Print a line about a trial that has ended, and how far all are.

        Args:
            trial: The trial.
            trials: All trials as their folders record them.
        """
        took = duration(trial.seconds or 0.0)
        message = f"{trial.id}  {trial.variant}{seeds_of(trial)}  {trial.state} after {took}"
        print(f"{CLEAR if self.is_live else ''}{message};  {self.summary(trials)}", flush=True)


def seeds_of(trial: Trial) -> str:
    """Return the seeds of a trial in words."""
    names = [name for name in trial.parameters if is_seed(name)]
    short = short_names(names)
    return "".join(f"  {short[name]}={trial.parameters[name]}" for name in names)


def named_missing(trials: Sequence[Trial]) -> str:
    """Say which trials a table of what has finished lacks; empty where it has all.

    Args:
        trials: The trials as their folders record them, and those that are planned, which may be the same.
    """
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.id, trial)
    missing = [trial for trial in first.values() if trial.state != "finished"]
    names = [
        f"{trial.variant}{seeds_of(trial).replace('  ', ' ')} ({trial.state or 'not run'})"
        for trial in missing[:MOST_NAMES]
    ]
    more = [f"{len(missing) - MOST_NAMES} more"] if len(missing) > MOST_NAMES else []
    return f"Not in the table: {'; '.join([*names, *more])}." if missing else ""
