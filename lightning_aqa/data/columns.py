"""Roles of the columns of a user's table, and the clips of its rows."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

from lightning_aqa.batch import Axis, check_names
from lightning_aqa.data.manifest import Clip, Problem
from lightning_aqa.data.missing import with_ending
from lightning_aqa.data.parsing import (
    Ratings,
    Row,
    by_listener,
    mean_scores,
    parse_ratings,
    parse_score,
    unique_clips,
)
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import did_you_mean, shortened

ROLES: dict[str, tuple[str, ...]] = {
    "file": ("file", "path", "filename", "file_name", "filepath", "file_path", "wav", "wav_path", "audio", "audio_path",
             "data_path", "clip", "id"),
    "id": ("id", "clip_id", "sample_id", "utterance_id"),
    "system": ("system", "system_id", "model"),
    "listener": ("listener", "listener_id", "rater", "rater_id", "worker", "worker_id", "subject", "annotator"),
    "domain": ("domain",),
    "prompt": ("prompt", "text", "caption"),
    "split": ("split", "set", "subset", "fold"),
    "start": ("start", "start_seconds", "start_time"),
    "end": ("end", "end_seconds", "end_time"),
    "axis": ("axis", "dimension", "aspect"),
    "score": ("score", "rating", "mos", "value"),
}  # fmt: skip
"""Names that the columns of each role go by, the likeliest first; case does not matter."""

EMPTY = frozenset({"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"})
"""Cells that say that there is no rating; case does not matter."""

SPLITS = {"training": "train", "val": "dev", "valid": "dev", "validation": "dev", "testing": "test"}
SPLITS |= {name: name for name in ("train", "dev", "test")}
"""The three splits by their names in small letters."""


def check_roles(columns: Mapping[str, str], axes: Sequence[Axis]) -> None:
    """Raise ``ValueError`` for a key of ``columns`` that is neither a role nor an axis."""
    check_names("columns", columns)
    check_names("columns", filter(lambda column: column != "", columns.values()))
    known = [*ROLES, *(axis.name for axis in axes)]
    for role in columns:
        if role not in known:
            raise ValueError(f"columns names {role!r}, which is none of {', '.join(known)}.{did_you_mean(role, known)}")


def choose_columns(
    path: Path, names: Sequence[str], axes: Sequence[Axis], columns: Mapping[str, str]
) -> dict[str, str]:
    """Find the column of each role and of each axis.

    Args:
        path: The table, for messages.
        names: Its columns.
        axes: What its listeners rated.
        columns: Column per role or axis, where its name does not tell; an empty name is a role that no column has.

    Returns:
        Column per role and axis that has one. Either every axis has a column, or ``axis`` and ``score`` have.

    Raises:
        CorpusError: If the file or an axis has no column, or ``columns`` names one that is not there.
    """
    for role, column in columns.items():
        if column and column not in names:
            raise CorpusError(f"{path}: no column {column!r} for {role}; {_has(names)}{did_you_mean(column, names)}")
    chosen = _axis_columns(path, names, axes, columns) | dict(columns)
    lowered = {name.lower(): name for name in names if name not in chosen.values()}
    for role, candidates in ROLES.items():
        found = next((lowered[candidate] for candidate in candidates if candidate in lowered), "")
        if role not in chosen and found:
            chosen[role] = lowered.pop(found.lower())
    chosen = {role: column for role, column in chosen.items() if column}
    if "score" not in chosen and "axis" not in {*columns, *(axis.name for axis in axes)}:
        chosen.pop("axis", None)  # without a score beside it, it is about something else
    if "file" not in chosen:
        raise CorpusError(f"{path}: no column for the audio file ({', '.join(ROLES['file'])}); {_has(names)}")
    missing = [axis.name for axis in axes if axis.name not in chosen]
    if missing and not {"axis", "score"} <= chosen.keys():
        raise CorpusError(
            f"{path}: no column {missing[0]!r}; {_has(names)}{did_you_mean(missing[0], names)}{look_closer(path)}"
        )
    return chosen


def _axis_columns(path: Path, names: Sequence[str], axes: Sequence[Axis], columns: Mapping[str, str]) -> dict[str, str]:
    """Find the columns that are called as an axis is; in other letter case where there is one such."""
    chosen = {axis.name: axis.name for axis in axes if axis.name in names}
    for axis in axes:
        alike = [name for name in names if name.lower() == axis.name.lower() and name not in chosen.values()]
        if axis.name in chosen or axis.name in columns or not alike:
            continue
        if len(alike) > 1:
            raise CorpusError(
                f"{path}: the axis {axis.name!r} may be {' or '.join(alike)}; name its column in columns."
            )
        chosen[axis.name] = alike[0]
    return chosen


def look_closer(table: str | Path, audio_root: str | None = None) -> str:
    """Return a sentence, after a space, with the command that tells what a table holds."""
    words = [str(table), *([] if audio_root is None else [audio_root])]
    return f" To look closer: lightning-aqa inspect {shlex.join(words)}"


def check_root(audio_root: str | None, table: str | Path) -> None:
    """Refuse a folder of audio that is not there, before each of its files is missing.

    Raises:
        CorpusError: If it is no folder.
    """
    if audio_root is not None and not Path(audio_root).is_dir():
        raise CorpusError(f"{audio_root}: no such folder; name the one that the paths of {table} start from.")


def _has(names: Sequence[str]) -> str:
    return f"it has {shortened(', '.join(names), 200)}."


class TableEntry(NamedTuple):
    """One row: its location, its clip without scores, who rated it, and the cell of each axis it has."""

    where: str
    clip: Clip
    listener: str
    cells: dict[str, object]


def read_entries(
    rows: Sequence[Row], chosen: Mapping[str, str], axes: Sequence[Axis], folder: Path, problems: list[Problem]
) -> list[TableEntry]:
    """Read each row that names a file; ``chosen`` is the column per role and axis."""
    entries = []
    for row in rows:
        file = row.fields.get(chosen["file"])
        if isinstance(file, list | dict):
            problems.append(Problem("bad row", row.where, f"{chosen['file']} is many values, expected a row per file"))
        elif _text(file):
            entries.append(_entry(row, chosen, axes, folder, problems))
        else:
            problems.append(Problem("bad row", row.where, f"no audio file in the column {chosen['file']!r}"))
    return entries


def _entry(
    row: Row, chosen: Mapping[str, str], axes: Sequence[Axis], folder: Path, problems: list[Problem]
) -> TableEntry:
    texts = {role: _text(row.fields.get(column)) for role, column in chosen.items()}
    given = str(row.fields[chosen["file"]])
    if given != texts["file"] and os.path.isfile(folder / given):
        texts["file"] = given  # a name that begins or ends in a space
    start, end = _seconds(texts, "start"), _seconds(texts, "end")
    times = "" if not start and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
    clip_id = texts.get("id") or PurePath(texts["file"]).as_posix() + times
    if any(not 0 <= time < math.inf for time in (start or 0, end or 0)) or (end is not None and end <= (start or 0)):
        first, last = (shortened(texts.get(name, ""), 40) for name in ("start", "end"))
        what = f"start {first!r} and end {last!r} are not seconds in that order"
        problems.append(Problem("bad time", row.where, what, clip_id))
        start = end = None
    split = "" if is_empty(texts.get("split")) else texts["split"]
    clip = Clip(
        clip_id, with_ending(str(folder / texts["file"])), start or 0.0, end, texts.get("system", ""),
        texts.get("domain", ""), texts.get("prompt", ""), SPLITS.get(split.lower(), split),
    )  # fmt: skip
    if "axis" in chosen:
        cells = {texts["axis"]: row.fields.get(chosen["score"])}
    else:
        cells = {axis.name: row.fields.get(chosen[axis.name]) for axis in axes}
    rated = {name: cell for name, cell in cells.items() if not is_empty(cell)}
    return TableEntry(row.where, clip, texts.get("listener", ""), rated)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


def is_empty(cell: object) -> bool:
    """Tell whether a cell says that there is nothing."""
    return cell == [] or _text(cell).lower() in EMPTY


def _seconds(texts: Mapping[str, str], role: str) -> float | None:
    """Return a time, None where there is none, and an impossible one where it is no number."""
    text = texts.get(role, "")
    try:
        return None if is_empty(text) else float(text)
    except ValueError:
        return -1.0


def wide_clips(entries: Sequence[TableEntry], axes: Sequence[Axis], problems: list[Problem]) -> list[Clip]:
    """Read a row per clip; its scores are numbers, or lists of ratings."""
    clips = []
    for entry in entries:
        scores: dict[str, float] = {}
        lists: dict[str, list[float]] = {}
        for axis in axes:
            cell = entry.cells.get(axis.name)
            if isinstance(cell, list):
                lists[axis.name] = parse_ratings(cell, axis, entry.where, problems)
            elif cell is not None:
                scores[axis.name] = parse_score(cell, axis, entry.where, problems, entry.clip.id)
        ratings = by_listener(lists)
        clips.append((entry.where, replace(entry.clip, scores=scores | mean_scores(ratings, axes), ratings=ratings)))
    return unique_clips(clips, problems)


def long_clips(entries: Sequence[TableEntry], axes: Sequence[Axis], problems: list[Problem]) -> list[Clip]:
    """Gather a row per rating into clips, in the order of their first rows."""
    groups: dict[str, list[TableEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.clip.id, []).append(entry)
    clips = []
    for first, *others in groups.values():
        problems += (problem for entry in others for problem in _conflicts(first, entry))
        ratings = _gather([first, *others], axes, problems)
        clips.append(replace(first.clip, scores=mean_scores(ratings, axes), ratings=ratings))
    return clips


def _conflicts(first: TableEntry, other: TableEntry) -> Iterator[Problem]:
    for name in ("path", "system", "domain", "prompt", "split"):
        here, there = getattr(other.clip, name), getattr(first.clip, name)
        if here != there:
            named = f"the {name} of {shortened(first.clip.id)}"
            what = f"{named} is {shortened(here)!r}, but {shortened(there)!r} at {first.where}"
            yield Problem("rows disagree", other.where, what, first.clip.id)


def _gather(entries: Sequence[TableEntry], axes: Sequence[Axis], problems: list[Problem]) -> Ratings:
    """Return the ratings of one clip; where no listener is named, they are numbered from 1 on each axis."""
    ratings: Ratings = {}
    for entry in entries:
        for axis in axes:
            if axis.name not in entry.cells:
                continue
            listener = entry.listener or str(1 + sum(axis.name in scores for scores in ratings.values()))
            score = parse_score(entry.cells[axis.name], axis, entry.where, problems)
            if axis.name in ratings.get(listener, {}):
                what = f"{listener} rated the {axis.name} of {entry.clip.id} before; this rating is not used"
                problems.append(Problem("duplicate rating", entry.where, what))
            elif not math.isnan(score):
                ratings.setdefault(listener, {})[axis.name] = score
    return ratings
