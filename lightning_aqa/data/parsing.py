"""Rows of list files with the line each comes from, and scores that say what is wrong with them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Clip, Problem
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import did_you_mean

JSON_LINES = frozenset({".jsonl", ".ndjson"})
Ratings = dict[str, dict[str, float]]
"""Score per axis name per listener, of one clip."""


class Row(NamedTuple):
    """One row of a list: the location it comes from, as ``file:line``, and its fields by column name."""

    where: str
    fields: Mapping[str, object]


def read_rows(path: Path, problems: list[Problem]) -> list[Row]:
    """Read a CSV or TSV file with a header, or JSON lines, as its name ends."""
    return read_jsonl(path, problems) if path.suffix.lower() in JSON_LINES else read_csv(path, problems)


def read_csv(path: Path, problems: list[Problem], names: Sequence[str] = ()) -> list[Row]:
    """Read separated values: comma, tab or semicolon, whichever the first line holds most of.

    Args:
        path: The file.
        problems: Takes a note of each row with too few or too many columns; such a row is left out.
        names: Names of the columns of a file without a header.
    """
    lines = read_cells(path)
    header = list(names) or [name.strip() for name in next(lines, ("", []))[1]]
    if len(set(header)) < len(header):
        raise CorpusError(f"{path}: two columns have the same name: {', '.join(header)}.")
    rows = []
    for where, cells in lines:
        if len(cells) == len(header):
            rows.append(Row(where, dict(zip(header, cells, strict=True))))
        else:
            what = f"expected {len(header)} columns ({','.join(header)}), found {len(cells)}"
            problems.append(Problem("bad row", where, what))
    return rows


def read_cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield ``file:line`` and the cells of each line that is not empty."""
    text = read_text(path)
    first = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",\t;", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for cells in reader:
            if cells:
                yield f"{path}:{reader.line_num}", cells
    except csv.Error as error:
        raise CorpusError(f"{path}:{reader.line_num}: cannot be read as separated values ({error}).") from None


def read_jsonl(path: Path, problems: list[Problem]) -> list[Row]:
    """Read one JSON object per line; a line that is not one is noted and left out."""
    rows = []
    # Not splitlines: a JSON string may hold a bare U+2028.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(Problem("bad row", where, f"not JSON: {error.msg} at column {error.colno}"))
            continue
        if isinstance(fields, dict):
            rows.append(Row(where, fields))
        else:
            problems.append(Problem("bad row", where, f"expected a JSON object, found {line.strip()[:40]}"))
    return rows


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark."""
    if not path.is_file():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise CorpusError(f"{path}: no such file.{did_you_mean(path.name, siblings)}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 text (byte {error.start}); convert it, e.g. with iconv.") from None


def parse_score(value: object, axis: Axis, where: str, problems: list[Problem], clip_id: str = "") -> float:
    """Return a score, or NaN and a note of what is wrong with it.

    Example:
        >>> problems: list[Problem] = []
        >>> parse_score(" 4.5", Axis("MI", "Musical impression", 1, 5), "list.txt:1", problems)
        4.5
        >>> parse_score("6", Axis("MI", "Musical impression", 1, 5), "list.txt:2", problems)
        nan
        >>> problems[0].kind, problems[0].what
        ('score out of scale', 'MI is 6, the scale is 1 to 5')
    """
    text = str(value).strip()
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if math.isnan(score):
        what = f"{axis.name} is {text!r}, expected a number from {axis.low:g} to {axis.high:g}"
        problems.append(Problem("bad score", where, what, clip_id))
    elif not axis.low <= score <= axis.high:
        what = f"{axis.name} is {score:g}, the scale is {axis.low:g} to {axis.high:g}"
        problems.append(Problem("score out of scale", where, what, clip_id))
        return math.nan
    return score


def parse_ratings(values: object, axis: Axis, where: str, problems: list[Problem]) -> list[float]:
    """Return the usable ratings of one axis, NaN in the place of each that is not."""
    return [parse_score(value, axis, where, problems) for value in (values if isinstance(values, list) else [values])]


def by_listener(ratings: Mapping[str, Sequence[float]]) -> Ratings:
    """Turn nameless ratings per axis into ratings per listener; a listener's name is the position from 1."""
    found: Ratings = {}
    for name, scores in ratings.items():
        for number, score in enumerate(scores, start=1):
            if not math.isnan(score):
                found.setdefault(str(number), {})[name] = score
    return found


def mean_scores(ratings: Ratings, axes: Sequence[Axis]) -> dict[str, float]:
    """Average over the listeners who rated each axis; an axis that nobody rated is absent.

    Example:
        >>> mean_scores({"a": {"PQ": 4.0}, "b": {"PQ": 5.0}}, [Axis("PQ", "Quality", 0, 10), Axis("CE", "", 0, 10)])
        {'PQ': 4.5}
    """
    columns = {axis.name: [scores[axis.name] for scores in ratings.values() if axis.name in scores] for axis in axes}
    return {name: math.fsum(column) / len(column) for name, column in columns.items() if column}


def require_columns(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Raise ``CorpusError`` if a file has no rows, or its first row lacks a column."""
    if not rows:
        raise CorpusError(f"{path}: no rows; expected the columns {','.join(columns)}.")
    names = list(rows[0].fields)
    for column in columns:
        if column not in names:
            raise CorpusError(f"{path}: no column {column!r}; it has {', '.join(names)}.{did_you_mean(column, names)}")


def unique_clips(clips: Iterable[tuple[str, Clip]], problems: list[Problem]) -> list[Clip]:
    """Keep the first clip of each id; the others are noted, with the location of both."""
    first: dict[str, str] = {}
    kept = []
    for where, clip in clips:
        if clip.id in first:
            what = f"{clip.id} is already at {first[clip.id]}; this row is not used"
            problems.append(Problem("duplicate id", where, what, source=clip.source))
        else:
            first[clip.id] = where
            kept.append(clip)
    return kept


def entries_of(folder: Path) -> str:
    """Say what a folder holds, for a message about what it lacks."""
    if not folder.is_dir():
        near = (
            did_you_mean(folder.name, [item.name for item in folder.parent.iterdir()]) if folder.parent.is_dir() else ""
        )
        return f"the folder does not exist.{near}"
    names = sorted(item.name for item in folder.iterdir())
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"it holds {', '.join(names[:8]) or 'nothing'}{more}."
