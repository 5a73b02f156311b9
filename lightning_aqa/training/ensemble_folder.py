"""Several runs as one folder: their models with weights, their mean predictions, and what is gained."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.levels import evaluate
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.metrics.stacking import FEWEST_FOLDS, combined, equal_weights, held_out_ridge, ridge_weights
from lightning_aqa.results.clip_intervals import calibrated_by, with_coverage, with_held_out_ends, write_calibration
from lightning_aqa.results.evidence import TRAINING, with_evidence
from lightning_aqa.results.facts import axes_of_run, read_facts
from lightning_aqa.results.files import (
    CHECKPOINTS,
    CONFIG,
    ENSEMBLE,
    HELD_OUT,
    MEMBERS,
    PREDICTIONS,
    RATINGS,
    RESULTS,
    RUN,
    TRAINED,
    find_checkpoint,
    fold_checkpoints,
)
from lightning_aqa.results.predictions import read_predictions, write_predictions, write_results
from lightning_aqa.results.ratings import read_ratings, write_ratings
from lightning_aqa.results.run_folder import run_of
from lightning_aqa.results.runs import Run, choose_split
from lightning_aqa.results.variants import SharedClips, Variant, collect
from lightning_aqa.utils.files import replacing

Array = NDArray[np.float64]
Weights = Literal["mean", "ridge"]
OF_ONE_MODEL = ("evaluated", "mlflow", "wandb", "probe", "training_speed", "speed")
"""Facts that are no ensemble's."""


class Stacked(NamedTuple):
    """An ensemble's predictions and what it is made of.

    Args:
        evidence: The ensemble and its members on their clips, the ensemble first.
        table: Predictions of the ensemble, of clips that neither a member nor its weights have seen.
        weights: Weight of each run on each axis, shape ``(M, A)``.
        folds: Fold of each clip by its id; empty where the runs are no cross-validations.
        notes: Sentences on clips that were left out.
    """

    evidence: SharedClips
    table: Predictions
    weights: Array
    folds: Mapping[str, int]
    notes: Sequence[str]


def stack(runs: Sequence[Run], by: Weights, split: str | None = None) -> Stacked:
    """Average the predictions of runs on the clips that all of them have.

    Args:
        runs: The runs, at least two.
        by: Equal weights, or those of a ridge regression on predictions out of fold.
        split: The split; None is test, else dev.

    Raises:
        ValueError: If there are fewer than two runs, they share no clips or axes, or the folds that a ridge takes are
            not there or differ.
    """
    if len(runs) < 2:
        given = f"{runs[0].folder} alone" if runs else "none"
        raise ValueError(
            f"an ensemble takes two different runs or more, got {given}; one that is named twice counts once."
        )
    split = choose_split(runs, split)
    if split == TRAINING:
        raise ValueError(f"--split={split}: the runs were trained on these clips; give one that they have not seen.")
    for run in runs:
        if list(run.axes) != list(runs[0].axes):
            names = [", ".join(of.axes) for of in (run, runs[0])]
            raise ValueError(
                f"{run.folder}: predicts {names[0]}, and {runs[0].folder} {names[1]}; name runs of the same."
            )
    shared = collect(runs, split)
    scores, deviations = _tables(runs, split, shared)
    folds, told = _folds(runs, split, shared.ids, by)
    if by == "ridge":
        of_clips = [folds[id_] for id_ in shared.ids]
        weights = ridge_weights(scores, shared.targets, of_clips)
        means = held_out_ridge(scores, shared.targets, of_clips)
    else:
        weights = equal_weights(len(runs), len(shared.axes))
        means = combined(scores, weights)
    spread = None if deviations is None else combined(deviations, weights)
    ids, systems, domains = list(shared.ids), list(shared.systems), list(shared.domains)
    table = Predictions(ids, systems, domains, shared.targets, means, list(shared.prompts), spread)
    first = Variant("ensemble", [runs[0]], means[None], is_fixed=True)
    members = [Variant(_name(run, runs), [run], of[None]) for run, of in zip(runs, scores, strict=True)]
    evidence = replace(shared, variants=[first, *members])
    num_left = len({id_ for run in runs for id_ in run.splits[split].ids}) - len(shared.ids)
    cut = [f"{num_left} clips are not in every run and are left out; {len(shared.ids)} are."] if num_left else []
    return Stacked(evidence, table, weights, folds, [*cut, *told])


def _name(run: Run, runs: Sequence[Run]) -> str:
    return run.name if sum(other.name == run.name for other in runs) == 1 else str(run.folder)


def _tables(runs: Sequence[Run], split: str, shared: SharedClips) -> tuple[Array, Array | None]:
    """Return scores and deviations of the shared clips, shape ``(M, N, A)``; no deviations where a run has none."""
    scores, deviations = [], []
    for run in runs:
        table, columns = run.splits[split], [list(run.axes).index(axis) for axis in shared.axes]
        row_of = {id_: row for row, id_ in enumerate(table.ids)}
        chosen = np.ix_([row_of[id_] for id_ in shared.ids], columns)
        scores.append(table.scores[chosen])
        deviations += [] if table.deviations is None else [table.deviations[chosen]]
        if not np.isfinite(scores[-1]).all():
            raise ValueError(f"{run.folder / PREDICTIONS}: scores of {split} are not finite; leave the run out.")
    return np.array(scores), np.array(deviations) if len(deviations) == len(runs) else None


def _folds(runs: Sequence[Run], split: str, ids: Sequence[str], by: Weights) -> tuple[dict[str, int], list[str]]:
    """Return the fold of each clip, which all runs must have alike for a ridge; and a note where they differ."""
    found = [folds_of(run, split) for run in runs]
    without = [run for run, folds in zip(runs, found, strict=True) if not set(ids) <= folds.keys()]
    if by == "ridge" and without:
        raise ValueError(
            f"{without[0].folder}: no folds in it for the clips of {split}; weights by ridge take predictions out of "
            "fold, of cross-validated runs (data.folds). --weights=mean takes any runs."
        )
    if without:
        return {}, []
    parts = [_partition(folds, ids) for folds in found]
    differing = next((run for run, part in zip(runs, parts, strict=True) if part != parts[0]), None)
    if differing is not None and by == "ridge":
        raise ValueError(
            f"{differing.folder}: other folds than in {runs[0].folder}; weights by ridge take runs over the same folds "
            "(data.folds, data.seed, data.group)."
        )
    if by == "ridge" and len(set(parts[0])) < FEWEST_FOLDS:
        raise ValueError(f"{runs[0].folder}: {len(set(parts[0]))} folds; weights by ridge take {FEWEST_FOLDS} or more.")
    told = [f"The folds of {differing.folder} are others than those of {runs[0].folder}."] if differing else []
    return {id_: found[0][id_] for id_ in ids}, told


def folds_of(run: Run, split: str) -> dict[str, int]:
    """Return the fold of each clip of a split; empty without a cross-validation."""
    folds: dict[str, int] = {}
    for fold in range(run.folds_of(split)):
        tables, _ = read_predictions(run.folder / f"fold{fold}" / PREDICTIONS)
        folds |= dict.fromkeys(dict(tables)[HELD_OUT].ids, fold)
    return folds


def _partition(folds: Mapping[str, int], ids: Sequence[str]) -> list[int]:
    """Number the folds in the order in which clips come, so that their names do not matter."""
    order = {fold: number for number, fold in enumerate(dict.fromkeys(folds[id_] for id_ in ids))}
    return [order[folds[id_]] for id_ in ids]


def write_ensemble(folder: Path, stacked: Stacked, by: Weights, command: Sequence[str], unit: Unit | None) -> Any:
    """Write an ensemble's folder: models, weights, predictions, results and intervals.

    Args:
        folder: The folder, which is not there yet.
        stacked: What it is made of.
        by: How its weights came about.
        command: Arguments of the command line, for the record.
        unit: What varies as one piece in the intervals.

    Returns:
        The results by split.

    Raises:
        ValueError: If there is such a folder, or a run has no model.
    """
    runs = [variant.runs[0] for variant in stacked.evidence.variants[1:]]
    axes, split = list(stacked.evidence.axes), stacked.evidence.split
    checkpoints = [_checkpoints(run.folder) for run in runs]
    folder.mkdir(parents=True)
    members: list[dict[str, Any]] = []
    for run, found, weights in zip(runs, checkpoints, stacked.weights.tolist(), strict=True):
        share = {axis: weight / len(found) for axis, weight in zip(axes, weights, strict=True)}
        for checkpoint in found if any(weights) else ():  # no score takes what weighs nothing
            copied = _copy(checkpoint, folder / MEMBERS / f"{len(members)}")
            named = copied.relative_to(folder).as_posix()
            members.append({"checkpoint": named, "run": os.path.relpath(run.folder, folder), "weights": share})
    record = {"format": 1, "by": by, "members": members}
    with replacing(folder / ENSEMBLE) as file:
        file.write(json.dumps(record, indent=1) + "\n")
    folds = len(set(stacked.folds.values()))
    facts = {name: fact for name, fact in read_facts(runs[0].folder).items() if name not in OF_ONE_MODEL}
    about = {"subcommand": "ensemble", "command": list(command), "folds": folds, "folds_split": split}
    with replacing(folder / RUN) as file:
        file.write(json.dumps({**facts, **about}, indent=1) + "\n")
    return _write_results(folder, stacked, runs, unit, folds)


def _checkpoints(run: Path) -> list[Path]:
    """Return the checkpoint of a run, or those of the folds of a cross-validation without a refit."""
    try:
        return [find_checkpoint(run)]
    except ValueError:
        return fold_checkpoints(run)


def _copy(checkpoint: Path, member: Path) -> Path:
    """Copy a checkpoint with what a score takes beside it, as links where the disk is the same one."""
    checkpoint = checkpoint.resolve()
    target = member / CHECKPOINTS / checkpoint.name
    target.parent.mkdir(parents=True)
    wanted = {checkpoint: target, run_of(checkpoint) / CONFIG: member / CONFIG}
    for source, to in (wanted | {checkpoint.parent.parent / TRAINED: member / TRAINED}).items():
        if source.is_file():
            try:
                os.link(source, to)
            except OSError:
                shutil.copyfile(source, to)
    return target


def _write_results(folder: Path, stacked: Stacked, runs: Sequence[Run], unit: Unit | None, folds: int) -> Any:
    axes, split, table = list(stacked.evidence.axes), stacked.evidence.split, stacked.table
    scales = {axis.name: axis for axis in axes_of_run(runs[0].facts)}
    known = read_ratings(runs[0].folder / RATINGS).get(split, []) if (runs[0].folder / RATINGS).is_file() else []
    ratings = [row for row in known if row[0] in set(table.ids) and row[1] in axes]
    numbers = evaluate(table.ids, table.systems, table.domains, table.scores, table.targets, axes)
    numbers = with_evidence(split, numbers, table, axes, ratings, unit=unit, folds=folds)
    if all(axis in scales for axis in axes):
        calibration = calibrated_by(split, table, axes, unit)
        write_calibration(folder, calibration)
        if stacked.folds:
            table = with_held_out_ends(table, [scales[axis] for axis in axes], calibration, stacked.folds)
            numbers = with_coverage(numbers, table, calibration, are_by_others=True)
    write_predictions(folder / PREDICTIONS, [(split, table)], axes)
    write_ratings(folder / RATINGS, [(split, ratings)])
    write_results(folder / RESULTS, {split: numbers})
    return {split: numbers}
