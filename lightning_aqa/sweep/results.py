"""The numbers of a sweep's variants, read from the run folders: mean and deviation over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from lightning_aqa.metrics.levels import MEAN, METRICS
from lightning_aqa.results.history import read_history
from lightning_aqa.sweep.trial import Parameters, Trial, is_seed

LEVELS = ("utterance", "system", "system_mos")
SPLITS = ("test", "dev", "train")
"""Which split the tables on the screen are of: the first of these that was rated."""


class Cell(NamedTuple):
    """A metric of a variant.

    Args:
        variant: Name of the variant.
        parameters: Its parameters, seeds left out.
        split: Split of the corpus.
        level: ``utterance``, ``system`` or ``system_mos``.
        axis: Name of the axis.
        metric: Name of the metric.
        values: One value per trial that has one, in score points squared for MSE, else dimensionless.
        trials: The trials they are of.
    """

    variant: str
    parameters: Parameters
    split: str
    level: str
    axis: str
    metric: str
    values: list[float]
    trials: list[Trial]

    @property
    def mean(self) -> float:
        """Average over the trials; NaN without any."""
        return fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the trials; NaN for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else math.nan


def cells(trials: Sequence[Trial]) -> list[Cell]:
    """Compute every metric of every variant from the results of its finished trials.

    Args:
        trials: Trials by their place in the expansion; those that have not finished are left out.
    """
    found: dict[tuple[str, ...], Cell] = {}
    for trial in trials:
        for (split, level, axis, metric), value in _numbers(trial):
            key = (trial.variant, split, level, axis, metric)
            plain = {name: given for name, given in trial.parameters.items() if not is_seed(name)}
            cell = found.setdefault(key, Cell(trial.variant, plain, split, level, axis, metric, [], []))
            cell.values.append(value)
            cell.trials.append(trial)
    return list(found.values())


def _numbers(trial: Trial) -> list[tuple[tuple[str, str, str, str], float]]:
    path = trial.folder / "results.json"
    if trial.state != "finished" or not path.exists():
        return []
    results = json.loads(path.read_text(encoding="utf-8"))
    return [
        ((split, level, axis, metric), float(entry[metric]))
        for split, levels in results.items()
        for level, table in levels.items()
        if level in LEVELS
        for axis, entry in table.items()
        if axis != MEAN or len(table) > 2
        for metric in METRICS
        if entry.get(metric) is not None
    ]


def shown_split(found: Sequence[Cell]) -> str:
    """Return the split that the tables on the screen are of."""
    splits = {cell.split for cell in found}
    return next((split for split in SPLITS if split in splits), next(iter(sorted(splits)), ""))


def final_value(folder: Path, metric: str) -> float:
    """Return what W&B's summary would hold of a metric: its last value in training, or that of the evaluation.

    Args:
        folder: A run folder.
        metric: Key that the run logs.

    Returns:
        The value; NaN where there is none.
    """
    history = folder / "history.csv"
    logged = [row[metric] for row in read_history(history) if metric in row] if history.exists() else []
    if logged:
        return logged[-1]
    parts = metric.removeprefix("test/").split("/")
    results: Any = json.loads((folder / "results.json").read_text()) if (folder / "results.json").exists() else {}
    for part in (parts[0], parts[1], parts[3], parts[2]) if len(parts) == 4 else ():
        results = results.get(part) if isinstance(results, Mapping) else None
    return float(results) if isinstance(results, float | int) else math.nan
