"""Scores of other tools, read from a table, as one more variant of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.levels import MEAN
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.significance import Difference
from lightning_aqa.metrics.uncertainty import NO_INTERVAL
from lightning_aqa.results.comparison import Column, ComparisonCell, ComparisonTable
from lightning_aqa.results.facts import axes_of_run
from lightning_aqa.results.judge_scores import read_scores
from lightning_aqa.results.runs import Run
from lightning_aqa.results.variants import SharedClips, Variant

Array = NDArray[np.float64]


class JudgeFile(NamedTuple):
    """A table of scores, the name that its row has, and the column that stands for every axis; empty takes theirs."""

    name: str
    path: Path
    column: str = ""


def parse_judges(given: Sequence[str]) -> list[JudgeFile]:
    """Read what ``--judge`` was given.

    Raises:
        ValueError: If it is not ``NAME=FILE`` or ``NAME=FILE:COLUMN``, or a name comes twice.

    Example:
        >>> judge = parse_judges(["DNSMOS=scores.csv:OVRL"])[0]
        >>> judge.name, str(judge.path), judge.column
        ('DNSMOS', 'scores.csv', 'OVRL')
    """
    judges: list[JudgeFile] = []
    for text in given:
        name, _, path = (part.strip() for part in text.partition("="))
        if not name or not path:
            raise ValueError(
                f"--judge={text}: expected a name and a table of scores, such as --judge=loudness=scores.csv, or "
                "--judge=NISQA=nisqa.csv:MOS for one column of it."
            )
        if name in [judge.name for judge in judges]:
            raise ValueError(f"--judge={text}: there are two judges named {name!r}; give each its own name.")
        file, colon, column = path.rpartition(":")
        is_file = not colon or not column or "/" in column or Path(path).exists()
        judges.append(JudgeFile(name, Path(path)) if is_file else JudgeFile(name, Path(file), column))
    return judges


def with_judges(evidence: SharedClips, judges: Sequence[JudgeFile], baseline: str | None = None) -> SharedClips:
    """Add the scores of other tools, on the clips and axes that they have too.

    Args:
        evidence: The variants on their clips.
        judges: Names and tables.
        baseline: Name of the judge that the others are compared with; any other name is not looked at.

    Raises:
        ValueError: If a table cannot be read, a row of it is wrong, or it has no clip or axis in common with the runs.
    """
    for judge in judges:
        if judge.name in [variant.name for variant in evidence.variants]:
            raise ValueError(f"--judge={judge.name}=...: a variant has this name; give another.")
    found = [
        (judge, read_scores(judge.path, judge.name, evidence.split, evidence.ids, evidence.axes, judge.column))
        for judge in judges
    ]
    axes = [a for a in range(len(evidence.axes)) if all(np.isfinite(scores[:, a]).any() for _, scores in found)]
    notes = [_lacking(judge, scores, evidence) for judge, scores in found]
    if not axes:
        names = ", ".join(judge.name for judge in judges)
        raise ValueError(f"the judges {names} score no axis in common; report them one by one.")
    rows = np.flatnonzero(np.all([np.isfinite(scores[:, axes]).all(axis=1) for _, scores in found], axis=0))
    if not len(rows):
        names = ", ".join(judge.name for judge in judges)
        raise ValueError(f"no clip has a score of each of the judges {names}; report them one by one.")
    joined = _narrowed(evidence, rows, axes)
    variants = [*joined.variants, *(_variant(judge, scores[rows][:, axes], joined) for judge, scores in found)]
    first = [variant for variant in variants if variant.is_fixed and variant.name == baseline]
    ordered = first + [variant for variant in variants if variant not in first]
    return replace(joined, variants=ordered, notes=[*evidence.notes, *filter(None, notes)])


def _lacking(judge: JudgeFile, scores: Array, evidence: SharedClips) -> str:
    """Say which axes and how many clips are left out for want of scores."""
    has = np.atleast_1d(np.isfinite(scores).any(axis=0))
    axes = [axis for axis, there in zip(evidence.axes, has.tolist(), strict=True) if not there]
    missing = int((~np.isfinite(scores[:, has]).all(axis=1)).sum())
    parts = [f"axis {', '.join(axes)}"] if axes else []
    parts += [f"{missing} of {len(scores)} clips"] if missing else []
    return f"{judge.path} ({judge.name}) has no scores of {' and '.join(parts)}, left out of all rows." if parts else ""


def _narrowed(evidence: SharedClips, rows: NDArray[np.intp], axes: Sequence[int]) -> SharedClips:
    def of(names: Sequence[str]) -> list[str]:
        return [names[i] for i in rows]

    variants = [
        replace(
            variant,
            scores=variant.scores[:, rows][:, :, axes],
            deviations=None if variant.deviations is None else variant.deviations[:, rows][:, :, axes],
        )
        for variant in evidence.variants
    ]
    return replace(
        evidence,
        axes=[evidence.axes[a] for a in axes],
        ids=of(evidence.ids),
        systems=of(evidence.systems),
        domains=of(evidence.domains),
        prompts=of(evidence.prompts),
        targets=evidence.targets[rows][:, axes],
        variants=variants,
    )


def _variant(judge: JudgeFile, scores: Array, on: SharedClips) -> Variant:
    """Make a variant of one run, which lies where the table does and has no config."""
    table = Predictions(list(on.ids), list(on.systems), list(on.domains), on.targets, scores)
    return Variant(judge.name, [Run(judge.path, {on.split: table}, on.axes)], scores[None], is_fixed=True)


# Errors on another scale


def without_foreign_errors(
    evidence: SharedClips, blocks: Sequence[ComparisonTable]
) -> tuple[list[ComparisonTable], list[str]]:
    """Leave undefined the MSE of judges that score on another scale: most scores lie outside the axis's.

    Returns:
        The tables, and a note on each such judge.
    """
    foreign = {
        v: axes for v, variant in enumerate(evidence.variants) if variant.is_fixed and (axes := _foreign(evidence, v))
    }
    notes = [
        f"{evidence.variants[v].name} scores {', '.join(axes)} on a scale of its own ({low:g} to {high:g}); "
        "its MSE says nothing and is left out."
        for v, axes in foreign.items()
        for low, high in [_range(evidence.variants[v].scores)]
    ]
    of_baseline = _errors_on(foreign.get(0, ()))
    tables = []
    for block in blocks:
        rows = []
        for v, row in enumerate(block.rows):
            undefined = _errors_on(foreign.get(v, ()))
            alone = {c: _alone(cell) if c in of_baseline else cell for c, cell in row.items()}
            rows.append({c: _undefined(cell) if c in undefined else cell for c, cell in alone.items()})
        undefined_of = {v: _errors_on(foreign.get(v, ())) for v in range(len(block.rows))}
        tables.append(block._replace(rows=rows, pairs=_without(block.pairs, undefined_of)))
    return tables, notes


def _errors_on(axes: Sequence[str]) -> set[Column]:
    """Return the columns that an axis on another scale leaves undefined."""
    return {(axis, "MSE") for axis in (*axes, MEAN)} if axes else set()


def _range(scores: Array) -> tuple[float, float]:
    return float(scores.min()), float(scores.max())


def _foreign(evidence: SharedClips, v: int) -> list[str]:
    """Return the axes whose scale most scores of a judge lie outside of."""
    facts = next((run.facts for of in evidence.variants if not of.is_fixed for run in of.runs), {})
    scales = {axis.name: (axis.low, axis.high) for axis in axes_of_run(facts)}
    found = []
    for a, axis in enumerate(evidence.axes):
        rated = evidence.targets[:, a][np.isfinite(evidence.targets[:, a])]
        low, high = scales.get(axis, (rated.min(), rated.max()) if len(rated) else (-math.inf, math.inf))
        scores = evidence.variants[v].scores[0, :, a]
        if np.mean((scores < low) | (scores > high)) > 0.5:
            found.append(axis)
    return found


def _alone(cell: ComparisonCell) -> ComparisonCell:
    """Return a cell without its difference from a baseline that is undefined."""
    return cell._replace(difference=None)


def _undefined(cell: ComparisonCell) -> ComparisonCell:
    """Return a cell of an undefined number: nothing of it is known, or is best."""
    return cell._replace(
        value=math.nan,
        deviation=math.nan,
        interval=NO_INTERVAL,
        why="scores on another scale",
        difference=None,
        is_best=False,
        is_tied=False,
    )


def _without(
    pairs: Mapping[Column, list[list[Difference | None]]], undefined: Mapping[int, set[Column]]
) -> dict[Column, list[list[Difference | None]]]:
    """Return the pairs without those of an undefined number."""
    return {
        column: [
            [
                None if column in undefined[i] or column in undefined[j] else difference
                for j, difference in enumerate(row)
            ]
            for i, row in enumerate(rows)
        ]
        for column, rows in pairs.items()
    }
