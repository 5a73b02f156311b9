"""Tables of scores that other tools gave to clips: which row is which clip, and which column is which axis."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.columns import EMPTY, ROLES
from lightning_aqa.data.decoding import AUDIO
from lightning_aqa.data.manifest import Problem
from lightning_aqa.data.parsing import Row, read_rows
from lightning_aqa.data.separated import is_number
from lightning_aqa.utils.records import LARGEST, read_cell
from lightning_aqa.utils.text import did_you_mean, shortened

Array = NDArray[np.float64]
Parts = tuple[str, ...]
IDS = tuple(dict.fromkeys((*ROLES["id"], *ROLES["file"])))
"""Names that the column of the clips goes by, the likeliest first; case does not matter."""


class _JudgedCell(NamedTuple):
    """A score of a clip on an axis: the location it comes from, and its text."""

    where: str
    clip: int
    axis: int
    text: str


def read_scores(
    path: Path,
    name: str,
    split: str,
    ids: Sequence[str],
    axes: Sequence[str],
    column: str = "",
    faults: list[Problem] | None = None,
) -> Array:
    """Read the scores of some clips.

    A row is a clip, with a column per axis; where there is one axis, its column may be called score, mos or as the
    judge. Or a row is a clip and an axis, as in predictions.csv. What ``score`` writes is read as it is.

    Args:
        path: Separated values, JSON lines or a JSON array.
        name: Name of the judge.
        split: Split of the clips; where a column names the split and some rows are of it, the others do not count.
        ids: Clip ids, length N. A table may name a clip by its id, its path, or the end of either, without suffix too.
        axes: Names of the axes, length A; case does not matter.
        column: The one column that stands for every axis; empty looks for those of the axes.
        faults: Takes what is wrong with single scores, which are then left out; None refuses the first of them.

    Returns:
        Shape ``(N, A)``, NaN where there is no score.

    Raises:
        ValueError: If the table cannot be read, or a row is wrong; the message says where.
    """
    problems: list[Problem] = []
    rows: Sequence[Row] = read_rows(path, problems)
    if problems or not rows:
        raise ValueError(f"{problems[0].where}: {problems[0].what}." if problems else f"{path}: no rows in it.")
    names = list(dict.fromkeys(column for row in rows for column in row.fields))
    lowered = _lowered(names)
    id_columns = [lowered[role] for role in IDS if role in lowered]
    if not id_columns:
        raise ValueError(f"{path}: no column of clips ({', '.join(IDS[:6])}, ...); {_has(names)}")
    axis_of = _axis_finder(path, name, rows, names, axes, column)
    rows = _of_split(rows, lowered.get("split"), split)
    find = ClipFinder(ids)
    matched = [(row, find(row.where, [_text(row.fields.get(column)) for column in id_columns])) for row in rows]
    cells = [
        _JudgedCell(row.where, clip, axis, _text(value))
        for row, clip in matched
        if clip is not None
        for axis, value in axis_of(row)
    ]
    if not cells:
        given, known = _text(rows[0].fields.get(id_columns[0])), ids[0]
        raise ValueError(
            f"{rows[0].where}: neither this nor another row is a clip of the runs (here {shortened(given)!r}, there "
            f"{shortened(known)!r}); name clips by their ids or files."
        )
    return _scores(cells, ids, axes, faults)


def other_clips(path: Path, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the clips of a table of scores that are not among some, each with its system, in the order of its rows.

    Args:
        path: Separated values, JSON lines or a JSON array.
        ids: Clips that are known.

    Raises:
        ValueError: If the table cannot be read, or a name may be several clips.
    """
    rows = read_rows(path, [])
    lowered = _lowered(list(dict.fromkeys(column for row in rows for column in row.fields)))
    id_column = next((lowered[role] for role in IDS if role in lowered), None)
    system = next((lowered[role] for role in ROLES["system"] if role in lowered), None)
    if id_column is None:
        return []  # which read_scores says
    find, found = ClipFinder(ids), dict[str, str]()
    for row in rows:
        name = _text(row.fields.get(id_column))
        if name and find(row.where, [name]) is None:
            found.setdefault(name, _text(row.fields.get(system)) if system else "")
    return list(found.items())


def _of_split(rows: Sequence[Row], column: str | None, split: str) -> Sequence[Row]:
    """Keep the rows of the split, where there are such."""
    kept = [row for row in rows if column and _text(row.fields.get(column)) == split]
    return kept or rows


def _axis_finder(
    path: Path, name: str, rows: Sequence[Row], names: Sequence[str], axes: Sequence[str], column: str
) -> Callable[[Row], Iterator[tuple[int, object]]]:
    """Return what yields the axes that a row scores, by position, and their cells."""
    if column and not _column(column, names):
        raise ValueError(f"{path}: has no column {column!r}; {_has(names)}{did_you_mean(column, names)}")
    columns = {a: found for a, axis in enumerate(axes) if (found := _column(column or axis, names))}
    lowered = _lowered(names)
    named = next((lowered[role] for role in ROLES["axis"] if role in lowered), None)
    score = next((lowered[role] for role in (*ROLES["score"], name.lower()) if role in lowered), None)
    if not columns and score and named:
        _check_axis_names(rows, named, axes)
        positions = {axis: a for a, axis in enumerate(axes)}
        return lambda row: (
            (positions[axis], row.fields.get(score)) for axis in [_text(row.fields.get(named))] if axis in positions
        )
    if not columns and score and len(axes) == 1:
        columns = {0: score}
    if not columns:
        wanted = ", ".join(axes)
        also = f"; {score!r} may be any of them" if score else ""
        near = did_you_mean(axes[0], names)
        raise ValueError(f"{path}: no column is called as an axis ({wanted}){also}; {_has(names)}{near}")
    return lambda row: ((a, row.fields.get(found)) for a, found in columns.items())


def _column(axis: str, names: Sequence[str]) -> str:
    """Return the column that is called as an axis is; ``score`` writes NAME score where it has a column NAME."""
    alike = [name for name in names if name.lower() == axis.lower()]
    return next((name for name in (f"{axis} score", axis) if name in names), alike[0] if len(alike) == 1 else "")


def _check_axis_names(rows: Sequence[Row], column: str, axes: Sequence[str]) -> None:
    """Refuse tidy rows that name no axis of the runs, or one that is likely misspelt."""
    found = {_text(row.fields.get(column)): row.where for row in reversed(rows)}
    lacking = [axis for axis in axes if axis not in found]
    for name, where in reversed(found.items()):
        near = did_you_mean(name, lacking)
        if name not in axes and (near or len(lacking) == len(axes)):
            raise ValueError(
                f"{where}: {shortened(name)!r} is no axis of the runs, which have {', '.join(axes)}.{near}"
            )


def _scores(
    cells: Sequence[_JudgedCell], ids: Sequence[str], axes: Sequence[str], faults: list[Problem] | None
) -> Array:
    found = np.full((len(ids), len(axes)), math.nan)
    first: dict[tuple[int, int], _JudgedCell] = {}
    for cell in cells:
        if cell.text == "":
            continue
        wrong = _fault(cell, ids, axes, first)
        if wrong is not None and faults is None:
            raise ValueError(f"{wrong.where}: {wrong.what}.")
        if wrong is None:
            found[cell.clip, cell.axis] = float(cell.text)
        elif faults is not None:
            faults.append(wrong)
    return found


def _fault(
    cell: _JudgedCell, ids: Sequence[str], axes: Sequence[str], first: dict[tuple[int, int], _JudgedCell]
) -> Problem | None:
    """Say what is wrong with a score; the first of each clip and axis is kept in mind."""
    value = float(cell.text) if is_number(cell.text) and "_" not in cell.text else math.nan
    axis, name = axes[cell.axis], shortened(ids[cell.clip])
    if not abs(value) < LARGEST:
        hint = "; leave the cell empty where there is none" if cell.text.lower() in EMPTY else ""
        what = f"{axis} of {name} is {shortened(cell.text)!r}, expected a finite number{hint}"
        return Problem("no finite number", cell.where, what, ids[cell.clip])
    before = first.setdefault((cell.clip, cell.axis), cell)
    if (other := float(before.text)) == value:
        return None
    what = f"{axis} of {name} is {value:g}, but {other:g} at {before.where}; keep one row"
    return Problem("two scores of one clip", cell.where, what, ids[cell.clip])


def _lowered(names: Sequence[str]) -> dict[str, str]:
    """Return the columns by their names in small letters, the first of several that are alike."""
    return {name.lower(): name for name in reversed(names)}


def _text(cell: object) -> str:
    return "" if cell is None else read_cell(str(cell)).strip()


def _has(names: Sequence[str]) -> str:
    return f"it has {shortened(', '.join(names), 200)}."


class ClipFinder:
    """Clips by what a table calls them: the id, its end from some folder on, or a longer path; the suffix may lack.

    What is found with the suffix of the file counts before what is found without it, and letter case counts last.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids
        self.exact = {id_: i for i, id_ in enumerate(ids)}
        self.ways: list[tuple[Callable[[str], Parts], dict[str, list[tuple[Parts, int]]]]] = []
        for way in (_parts, _stem_parts, lambda text: _stem_parts(text.casefold())):
            by_name: dict[str, list[tuple[Parts, int]]] = defaultdict(list)
            for i, id_ in enumerate(ids):
                parts = way(id_)
                by_name[parts[-1]].append((parts, i))
            self.ways.append((way, by_name))

    def __call__(self, where: str, names: Sequence[str]) -> int | None:
        """Return the clip of a row by its names; None where it is no clip of the runs.

        Raises:
            ValueError: If a name may be several clips, or two names are two.
        """
        first: dict[int, str] = {}
        for name in filter(None, names):
            found = [self.exact[name]] if name in self.exact else self._alike(name)
            if len(found) > 1:
                raise ValueError(f"{where}: {shortened(name)!r} may be {self._listed(found)}; write the whole id.")
            first.update((i, name) for i in found if i not in first)
        if len(first) > 1:
            said = " and ".join(repr(shortened(name)) for name in first.values())
            raise ValueError(f"{where}: {said} are clips {self._listed(list(first))}; leave one of the columns out.")
        return next(iter(first), None)

    def _listed(self, clips: Sequence[int]) -> str:
        return " or ".join(repr(shortened(self.ids[i])) for i in clips[:3])

    def _alike(self, name: str) -> list[int]:
        for way, by_name in self.ways:
            parts = way(name)
            alike = [(of, i) for of, i in by_name.get(parts[-1], []) if _is_end(of, parts)]
            if alike:
                inside = [(len(of), i) for of, i in alike if len(of) <= len(parts)]
                longest = max((length for length, _ in inside), default=0)
                return [i for length, i in inside if length == longest] or [i for _, i in alike]
        return []


def _parts(text: str) -> Parts:
    return PurePosixPath(unicodedata.normalize("NFC", text).replace("\\", "/")).parts or ("",)


def _stem_parts(text: str) -> Parts:
    *folders, name = _parts(text)
    path = PurePosixPath(name)
    return (*folders, path.stem if path.suffix.lower() in AUDIO else name)


def _is_end(one: Parts, other: Parts) -> bool:
    """Tell whether the shorter of two paths is the end of the longer."""
    shared = min(len(one), len(other))
    return one[-shared:] == other[-shared:]
