"""Which trials a sweep has: the points of a grid, seeded draws, or what Optuna proposes next."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lightning_aqa.sweep.definition import Sweep
from lightning_aqa.sweep.distributions import draw, grid_values
from lightning_aqa.sweep.trials import Parameters, Trial, trial_id, variant_name

ATTEMPTS = 1000
"""How many draws in a row may repeat earlier ones before the space counts as used up."""


class Plan(Protocol):
    """The trials of a sweep, those that are known and those to come."""

    def trials(self) -> list[Trial]:
        """List the trials that are known, in the order in which to run them."""

    def propose(self) -> bool:
        """Add one more trial; return False if there are no more."""

    def tell(self, trial: Trial) -> None:
        """Take note of a trial that has ended."""

    @property
    def total(self) -> int:
        """How many trials there will be."""


class FixedPlan:
    """Trials that are all known from the start.

    Args:
        trials: The trials.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._trials = list(trials)

    def trials(self) -> list[Trial]:
        """List the trials."""
        return self._trials

    def propose(self) -> bool:
        """There are no more."""
        return False

    def tell(self, trial: Trial) -> None:
        """Nothing follows from how a trial ended."""

    @property
    def total(self) -> int:
        """How many trials there are."""
        return len(self._trials)


def make_plan(sweep: Sweep, folder: Path, *, count: int | None, seed: int) -> Plan:
    """Plan the trials of a sweep.

    Args:
        sweep: The sweep.
        folder: Its folder.
        count: How many trials; None takes the file's ``run_cap``, for a grid without one all.
        seed: Seed of the draws of ``random`` and ``bayes``.

    Raises:
        ValueError: If ``random`` or ``bayes`` has no end.
    """
    count = count if count is not None else sweep.run_cap
    if sweep.method != "grid" and count is None:
        raise ValueError(f"{sweep.file}: {sweep.method} has no end; say how many trials by --count=N or run_cap.")
    if sweep.method == "bayes":
        from lightning_aqa.sweep.bayes import BayesPlan

        assert count is not None
        return BayesPlan(sweep, folder, count, seed)
    expansion = grid(sweep) if sweep.method == "grid" else random(sweep, count or 0, seed)
    return FixedPlan(name_trials(sweep, folder, list(itertools.islice(expansion, count))))


def name_trials(sweep: Sweep, folder: Path, expansion: Sequence[Parameters]) -> list[Trial]:
    """Make the trials of an expansion."""
    named = [(trial_id(sweep.name, row), row) for row in expansion]
    varying = sweep.varying
    return [
        Trial(folder / name, name, sweep.name, number, row, variant_name(row, varying))
        for number, (name, row) in enumerate(named)
    ]


def grid(sweep: Sweep) -> Iterable[Parameters]:
    """Yield the product of all values; the last parameter of the file changes fastest."""
    names = [parameter.name for parameter in sweep.parameters]
    seen = set()
    for values in itertools.product(*(grid_values(parameter) for parameter in sweep.parameters)):
        row = dict(zip(names, values, strict=True))
        if (name := trial_id(sweep.name, row)) not in seen:
            seen.add(name)
            yield row


def random(sweep: Sweep, count: int, seed: int) -> Iterable[Parameters]:
    """Yield draws, all different; the n-th is the same whatever the count. Fewer, where the space has no more."""
    generator, seen, repeated = np.random.default_rng(seed), set[str](), 0
    while len(seen) < count and repeated < ATTEMPTS:
        row = {parameter.name: draw(parameter, generator) for parameter in sweep.parameters}
        name = trial_id(sweep.name, row)
        repeated = repeated + 1 if name in seen else 0
        if name not in seen:
            seen.add(name)
            yield row
