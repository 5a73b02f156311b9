"""Runs that differ in their seeds alone are one variant; all variants are set on the same clips."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.domains import named_domains
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.resampling import UNITS, Unit
from lightning_aqa.results.naming import tell_apart, without_seed_suffix, without_seeds
from lightning_aqa.results.runs import Run

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Variant:
    """One thing that was tried, with one run per seed.

    Args:
        name: What to call it in tables.
        runs: Its runs.
        scores: Predicted scores, shape ``(K, N, A)``: seeds, clips, axes.
        deviations: Predicted standard deviations, of the same shape; None from a head without them.
        is_fixed: Whether it is the scores of another tool, which no seed changes: its one run is the table they are in.
    """

    name: str
    runs: Sequence[Run]
    scores: Array
    deviations: Array | None = None
    is_fixed: bool = False

    @property
    def mean_scores(self) -> Array:
        """Scores averaged over the seeds, shape ``(N, A)``."""
        mean: Array = self.scores.mean(0)
        return mean

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the sweep, without seeds; outside of a sweep all of the config that says what was tried."""
        run = self.runs[0]
        return {} if self.is_fixed else without_seeds(run.parameters) or dict(run.tried)

    @property
    def reason(self) -> str:
        """Reason to try it: the comment that opens the small YAML over the base config, where a trial names one."""
        path = Path(str(self.runs[0].parameters.get("variant", "")))
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            return ""
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]
        return " ".join(line.lstrip("# ").strip() for line in comments)


@dataclass(frozen=True)
class SharedClips:
    """All variants on the clips that they share; N clips, A axes.

    Args:
        split: Split of the clips.
        axes: Names of the axes.
        ids: Clip ids, sorted.
        systems: System of each clip.
        domains: Domain of each clip.
        prompts: Text each clip was made from; empty where there is none, or where no run says.
        targets: Mean opinion scores, shape ``(N, A)``.
        variants: The variants, the baseline first.
        notes: What the reader has to know of what was left out.
    """

    split: str
    axes: Sequence[str]
    ids: Sequence[str]
    systems: Sequence[str]
    domains: Sequence[str]
    prompts: Sequence[str]
    targets: Array
    variants: Sequence[Variant]
    notes: Sequence[str]

    @property
    def named_domains(self) -> list[str]:
        """Names of the domains and of what they are parts of, where rated clips name more than one."""
        rated = np.flatnonzero(np.isfinite(self.targets).any(axis=1))
        domains = {self.domains[int(i)] for i in rated} - {""}
        return named_domains(domains) if len(domains) > 1 else []

    @property
    def unit(self) -> Unit | None:
        """Unit that varies as one piece, by the option ``evaluation.unit`` that all runs have in common."""
        trained = [run for variant in self.variants if not variant.is_fixed for run in variant.runs]
        units = {str(run.config.get("evaluation.unit")) for run in trained}
        return next((unit for unit in UNITS if units == {unit}), None)

    @property
    def folds(self) -> int:
        """Folds of the cross-validation that the predictions of some variant come from; 0 without one."""
        return max((run.folds_of(self.split) for variant in self.variants for run in variant.runs), default=0)

    @property
    def has_systems(self) -> bool:
        """Whether there are systems to compare."""
        return len(set(self.systems) - {""}) > 1


def collect(runs: Sequence[Run], split: str, baseline: str | None = None) -> SharedClips:
    """Group runs to variants and set them on the clips and axes that all of them have.

    Args:
        runs: The runs.
        split: The split to look at.
        baseline: Name of the variant that the others are compared with; None is the first.

    Raises:
        ValueError: If the runs share no clip or axis, rate a clip differently, or there is no such variant.
    """
    axes = [axis for axis in runs[0].axes if all(axis in run.axes for run in runs)]
    rows = [dict(zip(run.splits[split].ids, range(len(run.splits[split].ids)), strict=True)) for run in runs]
    ids = sorted(set(rows[0]).intersection(*rows[1:]))
    if not axes or not ids:
        raise ValueError("these runs have no clip or no axis in common; report them one by one.")
    tables = [_chosen(run, split, [of[id_] for id_ in ids], axes) for run, of in zip(runs, rows, strict=True)]
    first = tables[0]
    for run, table in zip(runs, tables, strict=True):
        if not np.array_equal(table.targets, first.targets, equal_nan=True):
            raise ValueError(
                f"{run.folder}: rates the same clips differently from {runs[0].folder}; report them one by one."
            )
    most = max(len(of) for of in rows)
    notes = [f"{most - len(ids)} clips are not in every run and are left out."] if most > len(ids) else []
    prompts = next((table.prompts for table in tables if table.prompts is not None), [""] * len(ids))
    variants, more = _variants(runs, tables)
    ordered = _baseline_first(variants, baseline)
    names = first.systems, first.domains, prompts
    return SharedClips(split, axes, ids, *names, first.targets, ordered, [*notes, *more])


def _chosen(run: Run, split: str, rows: list[int], axes: Sequence[str]) -> Predictions:
    table = run.splits[split]
    columns = [list(run.axes).index(axis) for axis in axes]
    return Predictions(
        [table.ids[row] for row in rows],
        [table.systems[row] for row in rows],
        [table.domains[row] for row in rows],
        table.targets[np.ix_(rows, columns)],
        table.scores[np.ix_(rows, columns)],
        None if table.prompts is None else [table.prompts[row] for row in rows],
        None if table.deviations is None else table.deviations[np.ix_(rows, columns)],
    )


def group_runs(runs: Sequence[Run]) -> tuple[list[tuple[str, list[Run]]], list[str]]:
    """Group runs by what was tried; a seed that was run twice counts once.

    Returns:
        Name and runs of each variant, in the order of the sweep or of the runs; notes on what is left out.
    """
    is_sweep = all(run.trial.get("variant") for run in runs)
    groups: dict[object, dict[object, Run]] = {}
    repeated = []
    for run in sorted(runs, key=lambda run: run.trial.get("number", 0)) if is_sweep else runs:
        key = (run.trial.get("sweep"), run.trial["variant"], _plain(run)) if is_sweep else run.tried
        seeds = groups.setdefault(key, {})
        repeated += [run.name] if run.seed in seeds else []
        seeds[run.seed] = run
    members = [list(seeds.values()) for seeds in groups.values()]
    names = [_name(group, is_sweep) for group in members]
    if is_sweep:
        names = tell_apart(names, [without_seeds(group[0].parameters) for group in members])
    message = f"Run twice with the same settings and seeds, the later one counts: {', '.join(repeated)}."
    return list(zip(_unique(names), members, strict=True)), [message] if repeated else []


def _variants(runs: Sequence[Run], tables: Sequence[Predictions]) -> tuple[list[Variant], list[str]]:
    """Stack the scores of the runs of each variant."""
    table_of = {id(run): table for run, table in zip(runs, tables, strict=True)}
    groups, notes = group_runs(runs)
    variants = []
    for name, members in groups:
        chosen = [table_of[id(run)] for run in members]
        scores = np.stack([table.scores for table in chosen])
        variants.append(Variant(name, members, scores, _deviations(chosen)))
    return variants, notes


def _plain(run: Run) -> str:
    """Write the parameters of a trial, seeds left out."""
    return json.dumps(without_seeds(run.parameters), sort_keys=True)


def _deviations(tables: Sequence[Predictions]) -> Array | None:
    found = [table.deviations for table in tables]
    given = [deviations for deviations in found if deviations is not None]
    return np.stack(given) if len(given) == len(found) else None


def _name(runs: Sequence[Run], is_sweep: bool) -> str:
    """Name a variant as the sweep does, or by its folder without the number of the seed."""
    if is_sweep:
        return str(runs[0].trial["variant"])
    return runs[0].name if len(runs) == 1 else without_seed_suffix(runs[0].name) or runs[0].name


def _unique(names: list[str]) -> list[str]:
    """Number names that repeat."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _baseline_first(variants: list[Variant], baseline: str | None) -> list[Variant]:
    if baseline is None:
        return variants
    chosen = [variant for variant in variants if variant.name == baseline]
    if not chosen:
        names = ", ".join(variant.name for variant in variants)
        raise ValueError(f"--baseline={baseline}: no such variant; there are: {names}.")
    return chosen + [variant for variant in variants if variant not in chosen]
