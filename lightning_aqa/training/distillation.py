"""An ensemble as one model: what its members say of their training clips, and how near the model comes to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.taught import LEARNED_FROM
from lightning_aqa.metrics.correlation import lcc, srcc
from lightning_aqa.metrics.stacking import combined, ridge_weights
from lightning_aqa.results.files import CONFIG, DISTILLED, PREDICTIONS, REFIT, RESULTS
from lightning_aqa.results.predictions import read_predictions, write_results
from lightning_aqa.results.runs import Run, find_runs
from lightning_aqa.results.variants import Variant
from lightning_aqa.training.ensemble_folder import Stacked, Weights, folds_of
from lightning_aqa.utils.documents import read_json
from lightning_aqa.utils.text import did_you_mean

Array = NDArray[np.float64]
TEACHER = "teacher.csv"


class Near(NamedTuple):
    """Nearness of one model to the ensemble that it stands for, on clips that neither has seen.

    Args:
        n: Clips.
        LCC: Pearson's correlation of their scores.
        SRCC: Spearman's.
        RMSE: Root mean squared difference, in score points.
    """

    n: int
    LCC: float
    SRCC: float
    RMSE: float


def choose_student(stacked: Stacked, named: str | None) -> Run:
    """Return the run whose encoder and head the one model takes: the named one, or that with the least error.

    Args:
        stacked: The ensemble.
        named: Name of a member; None chooses.

    Raises:
        ValueError: If no member has this name, or its config is not there.
    """
    members = stacked.evidence.variants[1:]
    if named is None:
        errors = [_mean_square(of.scores[0] - stacked.evidence.targets) for of in members]
        chosen = members[int(np.argmin(errors))]
    else:
        names = [of.name for of in members]
        if named not in names:
            raise ValueError(f"--student={named}: the members are {', '.join(names)}.{did_you_mean(named, names)}")
        chosen = members[names.index(named)]
    if not (chosen.runs[0].folder / CONFIG).is_file():
        raise ValueError(f"{chosen.runs[0].folder}: no {CONFIG} to train one model by; name another by --student.")
    return chosen.runs[0]


def _mean_square(errors: Array) -> float:
    return float(np.nanmean(errors**2)) if np.isfinite(errors).any() else np.inf


def taught(stacked: Stacked, by: Weights) -> list[tuple[str, str, str, float]]:
    """Return what the members say together of the clips that they have learned from: fold, clip, axis, score.

    Those of a fold come from the members that have not seen it, weighted without it: nothing of its ratings reaches a
    model that learns from them.

    Args:
        stacked: The ensemble.
        by: How its weights came about.

    Raises:
        ValueError: If the folds of the members differ, or a member does not predict its training clips.
    """
    runs = [of.runs[0] for of in stacked.evidence.variants[1:]]
    if not stacked.folds:
        return list(_rows("", [run.folder for run in runs], stacked, stacked.weights))
    split, ids = stacked.evidence.split, stacked.evidence.ids
    for run in runs:
        folds = folds_of(run, split)
        if any(folds.get(id_) != stacked.folds[id_] for id_ in ids):
            raise ValueError(
                f"{run.folder}: other folds than in {runs[0].folder}; --distill takes runs over the same folds "
                "(data.folds, data.seed, data.group)."
            )
    found: list[tuple[str, str, str, float]] = []
    for fold in range(runs[0].folds_of(split)):
        weights = _weights_without(stacked, fold) if by == "ridge" else stacked.weights
        found += _rows(str(fold), [run.folder / f"fold{fold}" for run in runs], stacked, weights)
    refits = [run.folder / REFIT for run in runs]
    return found + (list(_rows("all", refits, stacked, stacked.weights)) if has_refits(refits) else [])


def has_refits(refits: Sequence[Path]) -> bool:
    """Tell whether all runs were trained on all clips in the end."""
    return all((refit / PREDICTIONS).is_file() for refit in refits)


def _weights_without(stacked: Stacked, fold: int) -> Array:
    evidence = stacked.evidence
    rest = np.array([stacked.folds[id_] != fold for id_ in evidence.ids])
    scores = np.array([of.scores[0][rest] for of in evidence.variants[1:]])
    of_clips = [stacked.folds[id_] for id_, is_kept in zip(evidence.ids, rest, strict=True) if is_kept]
    return ridge_weights(scores, evidence.targets[rest], of_clips)


def _rows(
    fold: str, folders: Sequence[Path], stacked: Stacked, weights: Array
) -> Iterator[tuple[str, str, str, float]]:
    """Yield the scores of the clips that all of some runs have learned from."""
    axes = list(stacked.evidence.axes)
    said = [_said(folder, stacked.evidence.split, axes) for folder in folders]
    for id_ in said[0]:
        if all(id_ in of for of in said):
            scores = combined(np.array([of[id_][None] for of in said]), weights)[0]
            yield from ((fold, id_, axis, float(score)) for axis, score in zip(axes, scores, strict=True))


def _said(folder: Path, held_out: str, axes: Sequence[str]) -> dict[str, Array]:
    tables, names = read_predictions(folder / PREDICTIONS)
    columns = [names.index(axis) for axis in axes]
    found = {
        id_: row
        for split, table in tables
        if split in LEARNED_FROM and split != held_out
        for id_, row in zip(table.ids, table.scores[:, columns], strict=True)
    }
    if not found:
        raise ValueError(f"{folder / PREDICTIONS}: no predictions of training clips, from which one model could learn.")
    return found


def compared(folder: Path, stacked: Stacked) -> tuple[Stacked, Mapping[str, Near]]:
    """Set the one model beside the members, and say in its ``results.json`` how near it comes to the ensemble.

    Args:
        folder: Its run folder.
        stacked: The ensemble.

    Returns:
        The ensemble with one variant more, and the nearness per axis.
    """
    (run,), _ = find_runs([str(folder)])
    evidence = stacked.evidence
    table, columns = run.splits[evidence.split], [list(run.axes).index(axis) for axis in evidence.axes]
    row_of = {id_: row for row, id_ in enumerate(table.ids)}
    scores = table.scores[np.ix_([row_of[id_] for id_ in evidence.ids], columns)]
    near = {axis: _near(scores[:, a], stacked.table.scores[:, a]) for a, axis in enumerate(evidence.axes)}
    results = read_json(folder / RESULTS)
    results[evidence.split][DISTILLED] = {axis: of._asdict() for axis, of in near.items()}
    write_results(folder / RESULTS, results)
    variants = [*evidence.variants, Variant(DISTILLED, [run], scores[None])]
    return stacked._replace(evidence=replace(evidence, variants=variants)), near


def _near(one: Array, other: Array) -> Near:
    return Near(len(one), lcc(one, other), srcc(one, other), float(np.sqrt(((one - other) ** 2).mean())))
