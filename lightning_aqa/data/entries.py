"""From the rows of a table to clips, whether a row is a clip or a rating."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.data.lists import Ratings, Row, by_listener, mean_scores, parse_ratings, parse_score, unique_clips
from lightning_aqa.data.manifest import Clip, Problem

SPLITS = {"training": "train", "val": "dev", "valid": "dev", "validation": "dev", "testing": "test"}
"""Other names of the three splits."""


class Entry(NamedTuple):
    """One row: its place, its clip without scores, who rated it, and the cell of each axis it has."""

    where: str
    clip: Clip
    listener: str
    cells: dict[str, object]


def read_entries(
    rows: Sequence[Row], chosen: Mapping[str, str], axes: Sequence[Axis], folder: Path, problems: list[Problem]
) -> list[Entry]:
    """Read each row that names a file; ``chosen`` is the column per role and axis."""
    entries = []
    for row in rows:
        if _text(row.fields.get(chosen["file"])):
            entries.append(_entry(row, chosen, axes, folder, problems))
        else:
            problems.append(Problem("bad row", row.where, f"no audio file in the column {chosen['file']!r}"))
    return entries


def _entry(row: Row, chosen: Mapping[str, str], axes: Sequence[Axis], folder: Path, problems: list[Problem]) -> Entry:
    texts = {role: _text(row.fields.get(column)) for role, column in chosen.items()}
    start, end = _seconds(texts, "start"), _seconds(texts, "end")
    times = "" if not start and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
    clip_id = texts.get("id") or PurePath(texts["file"]).as_posix() + times
    if any(not 0 <= time < math.inf for time in (start or 0, end or 0)) or (end is not None and end <= (start or 0)):
        what = f"start {texts.get('start', '')!r} and end {texts.get('end', '')!r} are not seconds in that order"
        problems.append(Problem("bad time", row.where, what, clip_id))
        start = end = None
    split = texts.get("split", "")
    clip = Clip(
        clip_id, str(folder / texts["file"]), start or 0.0, end, texts.get("system", ""), texts.get("domain", ""),
        texts.get("prompt", ""), SPLITS.get(split.lower(), split),
    )  # fmt: skip
    if "axis" in chosen:
        cells = {texts["axis"]: row.fields.get(chosen["score"])}
    else:
        cells = {axis.name: row.fields.get(chosen[axis.name]) for axis in axes}
    rated = {name: cell for name, cell in cells.items() if not _is_empty(cell)}
    return Entry(row.where, clip, texts.get("listener", ""), rated)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


def _is_empty(cell: object) -> bool:
    return cell == [] or _text(cell).lower() in {"", "nan", "na", "n/a"}


def _seconds(texts: Mapping[str, str], role: str) -> float | None:
    """Return a time, None where there is none, and an impossible one where it is no number."""
    text = texts.get(role, "")
    try:
        return None if _is_empty(text) else float(text)
    except ValueError:
        return -1.0


def wide_clips(entries: Sequence[Entry], axes: Sequence[Axis], problems: list[Problem]) -> list[Clip]:
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


def long_clips(entries: Sequence[Entry], axes: Sequence[Axis], problems: list[Problem]) -> list[Clip]:
    """Gather a row per rating into clips, in the order of their first rows."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.clip.id, []).append(entry)
    clips = []
    for first, *others in groups.values():
        problems += (problem for entry in others for problem in _conflicts(first, entry))
        ratings = _gather([first, *others], axes, problems)
        clips.append(replace(first.clip, scores=mean_scores(ratings, axes), ratings=ratings))
    return clips


def _conflicts(first: Entry, other: Entry) -> Iterator[Problem]:
    for name in ("path", "system", "domain", "prompt", "split"):
        here, there = getattr(other.clip, name), getattr(first.clip, name)
        if here != there:
            what = f"the {name} of {first.clip.id} is {here!r}, but {there!r} at {first.where}"
            yield Problem("rows disagree", other.where, what, first.clip.id)


def _gather(entries: Sequence[Entry], axes: Sequence[Axis], problems: list[Problem]) -> Ratings:
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
