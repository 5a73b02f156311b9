"""Let Optuna propose the trials; its journal in the sweep folder lets a sweep go on where it stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lightning_aqa.sweep.definition import Sweep
from lightning_aqa.sweep.distributions import Parameter
from lightning_aqa.sweep.plan import name_trials
from lightning_aqa.sweep.results import final_value
from lightning_aqa.sweep.trials import Trial

JOURNAL = "optuna.journal"
PARAMETERS = "parameters"


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
        """How many trials there will be."""
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
