"""Rows of list files with the line each comes from, and scores that say what is wrong with them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Clip, Problem
from lightning_aqa.data.separated import is_number, read_lines, read_text, split_lines
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.documents import parse_json
from lightning_aqa.utils.text import did_you_mean, shortened

JSON_LINES, JSON = frozenset({".jsonl", ".ndjson"}), ".json"
_ITEM = re.compile(r"[\s,]*(\S)")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
Ratings = dict[str, dict[str, float]]
"""Score per axis name per listener, of one clip."""


class Row(NamedTuple):
    """One row of a list: the location it comes from, as ``file:line``, and its fields by column name."""

    where: str
    fields: Mapping[str, object]


def read_rows(path: Path, problems: list[Problem]) -> list[Row]:
    """Read separated values with a header, JSON lines or a JSON array, as its name ends, or else as it begins."""
    is_json = path.suffix.lower() in {*JSON_LINES, JSON} or (not path.suffix and _begins_like_json(path))
    return read_jsonl(path, problems) if is_json else read_csv(path, problems)


def _begins_like_json(path: Path) -> bool:
    return read_text(path).lstrip().startswith(("{", "["))


def read_csv(path: Path, problems: list[Problem], names: Sequence[str] = ()) -> list[Row]:
    """Read values that are separated by commas, tabs, semicolons or bars, whichever the first line holds most of.

    Args:
        path: The file.
        problems: Takes a note of each row with too few or too many columns; such a row is left out.
        names: Names of the columns of a file without a header.
    """
    lines, separator = read_lines(path, is_list=bool(names))
    header = list(names) or _header(path, lines.pop(0)[1] if lines else [])
    rows = []
    for number, cells in lines:
        where = f"{path}:{number}"
        if len(cells) == len(header):
            rows.append(Row(where, dict(zip(header, cells, strict=True))))
        elif names or len(cells) > 1 or not cells[0].startswith("#"):
            what = f"expected {len(header)} columns ({shortened(','.join(header))}), found {len(cells)}"
            problems.append(Problem("bad row", where, what + _reason(cells, len(header), separator)))
    return rows


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    """Return the names of the columns; one without a name is called by its position."""
    header = [name.strip() or f"column {number}" for number, name in enumerate(cells, start=1)]
    if header and header[0].startswith(("{", "[")):
        raise CorpusError(f"{path}: begins like JSON; name JSON lines .jsonl and a JSON array .json.")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise CorpusError(f"{path}: two columns have the same name: {shortened(', '.join(twice))}.")
    return header


def _reason(cells: Sequence[str], width: int, separator: str) -> str:
    """Guess why a row has another number of columns."""
    if len(cells) == width + 1 and cells[0].isdecimal():
        return "; if the first column is one of row numbers, give it a name in the header"
    if separator == "," and len(cells) > width and sum(map(is_number, cells)) > 1:
        return "; write decimals with a point, and texts with commas in quotes"
    if width == 1:
        return "; the names of the columns are expected in the first line"
    return "; comments stand above the header" if cells[0].startswith("#") else ""


def read_cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield ``file:line`` and the cells of each line of a list without a header; empty lines are passed over."""
    for number, cells in read_lines(path, is_list=True)[0]:
        yield f"{path}:{number}", cells


def read_jsonl(path: Path, problems: list[Problem]) -> list[Row]:
    """Read one JSON object per line, or an array of objects; a line that is none is noted and left out."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        return read_json_array(path, text, problems)
    rows = []
    for number, line in enumerate(split_lines(text), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            rows.append(Row(where, _object(parse_json(line), line)))
        except ValueError as error:
            problems.append(Problem("bad row", where, str(error)))
    if not rows and _is_json(text):
        raise CorpusError(f"{path}: one JSON object; expected an array of objects, or an object per line.")
    return rows


def _is_json(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except ValueError:
        return False


def _object(value: Any, text: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {shortened(text.strip(), 40)}")
    return value


def read_json_array(path: Path, text: str, problems: list[Problem]) -> list[Row]:
    """Read a JSON array of objects; what else is in it is noted and left out."""
    try:
        parse_json(text)
    except ValueError as error:
        raise CorpusError(f"{path}: {error}.") from None
    rows, decoder, number, position = [], json.JSONDecoder(), 1, text.index("[") + 1
    number += text.count("\n", 0, position)
    while (found := _ITEM.match(text, position)) and found[1] != "]":
        number += found[0].count("\n")
        value, end = decoder.raw_decode(text, found.start(1))
        where = f"{path}:{number}"
        try:
            rows.append(Row(where, _object(value, text[found.start(1) : end])))
        except ValueError as error:
            problems.append(Problem("bad row", where, str(error)))
        number += text.count("\n", found.start(1), end)
        position = end
    return rows


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
    score = float(text) if is_number(text) and "_" not in text else math.nan
    if math.isnan(score):
        what = (
            f"{axis.name} is {shortened(text)!r}, expected a number from {axis.low:g} to {axis.high:g}{_advice(text)}"
        )
        problems.append(Problem("bad score", where, what, clip_id))
    elif not axis.low <= score <= axis.high:
        what = f"{axis.name} is {score:g}, the scale is {axis.low:g} to {axis.high:g}"
        problems.append(Problem("score out of scale", where, what, clip_id))
        return math.nan
    return score


def _advice(text: str) -> str:
    """Say how a score that people write is to be written."""
    if _DECIMAL_COMMA.fullmatch(text):
        return ", its decimals after a point"
    if text.endswith("%"):
        return ", without a percent sign"
    return "; leave it empty where there is no rating" if text in {"", "-", "--", ".", "?", "missing"} else ""


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


def rows_with(path: Path, columns: Sequence[str], problems: list[Problem]) -> list[Row]:
    """Read rows that have some columns; of JSON lines, one without them is noted and left out.

    Raises:
        CorpusError: If there are no rows, or the first one lacks a column.
    """
    rows = read_rows(path, problems)
    if not rows:
        first = next((f"{p.where}: {p.what}" for p in problems if p.where.startswith(f"{path}:")), "")
        cause = first or f"{path}: no rows"
        raise CorpusError(f"{cause}; expected the columns {','.join(columns)}.")
    names = list(rows[0].fields)
    for column in columns:
        if column not in names:
            has = shortened(", ".join(names), 200)
            raise CorpusError(f"{path}: no column {column!r}; it has {has}.{did_you_mean(column, names)}")
    for row in rows:
        problems += (Problem("bad row", row.where, f"no {name}") for name in columns if name not in row.fields)
    return [row for row in rows if all(name in row.fields for name in columns)]


def unique_clips(clips: Iterable[tuple[str, Clip]], problems: list[Problem]) -> list[Clip]:
    """Keep the first clip of each id; the others are noted, with the location of both."""
    first: dict[str, str] = {}
    kept = []
    for where, clip in clips:
        if clip.id in first:
            what = f"{shortened(clip.id)} is already at {first[clip.id]}; this row is not used"
            problems.append(Problem("duplicate id", where, what, source=clip.source))
        else:
            first[clip.id] = where
            kept.append(clip)
    return kept


def how_to_get(corpus: str, layout: str) -> str:
    """Say where a corpus that is not there is to be had from, and the options that make one up in its place.

    Args:
        corpus: Its heading in docs/data.md.
        layout: Its layout, as ``Synthetic`` calls it.
    """
    stand_in = f"--data=Synthetic --data.layout={layout} --data.root=.cache/synthetic_{layout}"
    return f"docs/data.md, section {corpus}, says where to get it; to try the command on made-up clips, add {stand_in}"


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
