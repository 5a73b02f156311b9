"""Reading of the list of clips of a challenge, and of the ratings of its clips where somebody has them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.data.columns import ROLES
from lightning_aqa.data.listed_clips import UNRATED
from lightning_aqa.data.manifest import SIMULATED_STAMP, Problem
from lightning_aqa.data.parsing import JSON, JSON_LINES, Row, parse_ratings, read_csv, read_jsonl
from lightning_aqa.data.separated import read_lines
from lightning_aqa.results.challenges.checking import Fault
from lightning_aqa.results.challenges.formats import SPACE, AnswerFormat
from lightning_aqa.results.judge_scores import IDS, ClipFinder
from lightning_aqa.utils.text import shortened

ANNOTATION = "annotation"
"""Column of SongEval's list with a rating of all axes per listener."""


class Labels(NamedTuple):
    """Ratings of the clips of a list: shape ``(N, A)``, NaN where not rated, and the system of each clip."""

    scores: NDArray[np.float64]
    systems: list[str]


def read_names(path: Path, form: AnswerFormat, faults: list[Fault]) -> list[str]:
    """Read what the clips of a list are called in the answer, in its order.

    Args:
        path: One id or file a line, or a table with a column of these; what else is in it does not count.
        form: Form of the answer.
        faults: Takes clips that come twice or are called like nothing.

    Raises:
        ValueError: If it cannot be read, or there is no clip in it.
    """
    problems: list[Problem] = []
    rows = _rows(path, form, problems)
    _refuse(problems)
    first: dict[str, str] = {}
    for row in rows:
        given = str(_cell(row, [*form.header[:1], *IDS]) or "")
        name, line = form.name(given), _line_of(row)
        if not name or (form.delimiter == SPACE and re.search(r"\s", name)) or re.search(r"[\r\n]", name):
            faults.append(
                Fault("name of a clip", line, f"{path.name}: {shortened(given)!r} cannot be written; rename it")
            )
        elif name in first:
            what = f"{path.name}: {shortened(given)!r} is {shortened(name)!r}, as line {first[name]} is; list it once"
            faults.append(Fault("clip listed twice", line, what))
        else:
            first[name] = str(line)
    if not rows:
        raise ValueError(f"{path}: no clip in it; expected an id or a file a line.")
    return list(first)


def read_labels(path: Path, form: AnswerFormat, names: Sequence[str], system: str) -> Labels:
    """Read the ratings of the clips of a list; those of other clips do not count.

    Args:
        path: A table with a column per axis, by its name or its title; a list without a header, whose columns are the
            clip and the axes in their order; or JSON lines, whose axes may hold the ratings of single listeners.
        form: Form of the answer.
        names: What the clips are called.
        system: Regular expression whose group is the system in a name, for tables without a column of these.

    Raises:
        ValueError: If it cannot be read, a rating is wrong, or it rates none of the clips.
    """
    problems: list[Problem] = []
    find, rated = ClipFinder(names), set[int]()
    scores_NA = np.full((len(names), len(form.axes)), math.nan)
    systems = [found[1] if system and (found := re.search(system, name)) else "" for name in names]
    for row in _rows(path, form, problems):
        clip = find(row.where, [str(_cell(row, [*form.header[:1], *IDS]) or "").strip()])
        if clip is None:
            continue
        if clip in rated:
            problems.append(Problem("clip rated twice", row.where, f"{shortened(names[clip])} is rated above too"))
        rated.add(clip)
        for a, axis in enumerate(form.axes):
            scores_NA[clip, a] = _mean(row, axis, problems)
        systems[clip] = str(_cell(row, ROLES["system"]) or systems[clip]).strip()
    _refuse(problems)
    if not np.isfinite(scores_NA).any():
        wanted = ", ".join(axis.name for axis in form.axes)
        raise ValueError(f"{path}: rates none of the clips, such as {shortened(names[0])}, on {wanted}; leave it out.")
    return Labels(scores_NA, systems if any(systems) else [""] * len(names))


def is_made_up(path: Path) -> bool:
    """Tell whether a file lies in a corpus whose ratings are simulated."""
    return any((folder / SIMULATED_STAMP).is_file() for folder in list(path.resolve().parents)[:3])


def _rows(path: Path, form: AnswerFormat, problems: list[Problem]) -> list[Row]:
    """Read rows, with the names of the header, or of the axes where there is none."""
    if path.suffix.lower() in {*JSON_LINES, JSON}:
        return read_jsonl(path, problems)
    names = ["id", *(axis.name for axis in form.axes)]
    lines, _ = read_lines(path, is_list=True)
    first = [cell.strip() for cell in lines[0][1]] if lines else []
    if {cell.lower() for cell in first} & {*IDS, *(name.lower() for name in form.header[:1])}:
        return read_csv(path, problems)
    if form.delimiter == SPACE and len(first) == 1:
        split = [(number, cells[0].split()) for number, cells in lines]
        return [Row(f"{path}:{n}", dict(zip(names, cells, strict=False))) for n, cells in split if cells]
    more = [f"column {number}" for number in range(len(names) + 1, len(first) + 1)]
    return read_csv(path, problems, [*names, *more][: len(first)]) if first else []


def _cell(row: Row, columns: Sequence[str]) -> object:
    """Return the cell of the first of some columns that a row has; case does not matter."""
    lowered = {name.lower(): value for name, value in reversed(list(row.fields.items()))}
    return next((lowered[name.lower()] for name in columns if name.lower() in lowered), None)


def _mean(row: Row, axis: Axis, problems: list[Problem]) -> float:
    """Return the mean rating of an axis; NaN where there is none."""
    given = _cell(row, [axis.name, axis.title, axis.title.replace(" ", "_")])
    annotation = row.fields.get(ANNOTATION)
    if given is None and isinstance(annotation, list):
        given = [one[axis.name] for one in annotation if isinstance(one, Mapping) and axis.name in one]
    if given is None or given == [] or (isinstance(given, str) and given.strip().lower() in UNRATED):
        return math.nan
    ratings = parse_ratings(given, axis, row.where, problems)
    return math.fsum(ratings) / len(ratings)


def _refuse(problems: Sequence[Problem]) -> None:
    """Raise the first of what is wrong, and say how much more there is."""
    if problems:
        more = f"; and {len(problems) - 1} more like it" if len(problems) > 1 else ""
        raise ValueError(f"{problems[0].where}: {problems[0].what}{more}.")


def _line_of(row: Row) -> int:
    return int(row.where.rpartition(":")[2])
