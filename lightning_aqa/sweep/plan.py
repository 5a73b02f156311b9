"""Trials of a sweep: the points of a grid, seeded draws, or what Optuna proposes next."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lightning_aqa.results.history import final_value
from lightning_aqa.sweep.config import Sweep
from lightning_aqa.sweep.parameters import Parameter, draw, grid_values
from lightning_aqa.sweep.trial import Parameters, Trial, trial_id, variant_name

ATTEMPTS = 1000
"""How many draws in a row may repeat earlier ones before the space counts as used up."""

JOURNAL = "optuna.journal"

PARAMETERS = "parameters"


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
        """Number of trials that there will be."""


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
        """Number of trials."""
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


class BayesPlan:
    """Trials that a tree-structured Parzen estimator proposes from how the earlier ones ended.

    Args:
        sweep: The sweep.
        folder: Its folder.
        count: How many trials.
        seed: Seed of the proposals.

    Raises:
        ValueError: If Optuna is missing, or a distribution is one that it cannot propose from.
    """

    def __init__(self, sweep: Sweep, folder: Path, count: int, seed: int) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend
        except ImportError:
            raise ValueError("method: bayes needs Optuna: pip install 'lightning_aqa[bayes]'.") from None
        assert sweep.metric is not None
        self.sweep, self.folder, self.count, self.metric = sweep, folder, count, sweep.metric
        self.space = {p.name: _distribution(p) for p in sweep.parameters if p.kind != "constant"}
        self.constants = {p.name: p.fields["value"] for p in sweep.parameters if p.kind == "constant"}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        direction: Any = sweep.metric.goal
        self.study = optuna.create_study(
            study_name=sweep.name, storage=storage, direction=direction, load_if_exists=True
        )
        # Not the same start again for a sweep that goes on, nor for a second process.
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.get_trials()))
        for trial in self.trials():
            self.tell(trial.read())

    def trials(self) -> list[Trial]:
        """List what was proposed so far."""
        rows = [json.loads(trial.user_attrs[PARAMETERS]) for trial in self._proposed()]
        return name_trials(self.sweep, self.folder, rows)

    def _proposed(self) -> list[Any]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if PARAMETERS in trial.user_attrs]

    def propose(self) -> bool:
        """Ask Optuna for one more, unless there are enough."""
        if len(self._proposed()) >= self.count:
            return False
        trial = self.study.ask(self.space)
        chosen = {name: _value(self.space[name], value) for name, value in trial.params.items()}
        ordered = {p.name: {**self.constants, **chosen}[p.name] for p in self.sweep.parameters}
        trial.set_user_attr(PARAMETERS, json.dumps(ordered))
        return True

    def tell(self, trial: Trial) -> None:
        """Tell Optuna the metric that a finished trial ended with, or that it failed."""
        import optuna

        # A parameter set that was proposed twice is one trial here and two of Optuna's.
        same = [t for t in self._proposed() if json.loads(t.user_attrs[PARAMETERS]) == trial.parameters]
        for proposed in (t for t in same if not t.state.is_finished()):
            value = final_value(trial.folder, self.metric.name) if trial.state == "finished" else math.nan
            if not math.isnan(value):
                self.study.tell(proposed.number, value)
            elif trial.state in ("finished", "failed"):
                self.study.tell(proposed.number, state=optuna.trial.TrialState.FAIL)

    @property
    def total(self) -> int:
        """Number of trials that there will be."""
        return self.count


def _distribution(parameter: Parameter) -> Any:
    from optuna import distributions

    kind, fields = parameter.kind, parameter.fields
    if kind == "categorical":  # choices are kept as text, since Optuna takes plain values alone
        return distributions.CategoricalDistribution([json.dumps(value) for value in fields["values"]])
    if kind == "int_uniform":
        return distributions.IntDistribution(fields["min"], fields["max"])
    if kind in ("uniform", "q_uniform"):
        return distributions.FloatDistribution(fields["min"], fields["max"], step=fields.get("q"))
    if kind in ("log_uniform", "log_uniform_values"):
        low, high = (math.exp(fields[k]) if kind == "log_uniform" else fields[k] for k in ("min", "max"))
        return distributions.FloatDistribution(low, high, log=True)
    raise ValueError(
        f"parameters.{parameter.name}: bayes takes values, int_uniform, uniform, q_uniform, log_uniform and "
        f"log_uniform_values, got {kind}."
    )


def _value(distribution: Any, value: Any) -> Any:
    from optuna.distributions import CategoricalDistribution

    return json.loads(value) if isinstance(distribution, CategoricalDistribution) else value
