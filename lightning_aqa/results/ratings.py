"""The ratings of single listeners in a run folder, from which the ceilings come."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning_aqa.data.manifest import Manifest
from lightning_aqa.utils.records import read_records, write_records

RATING_COLUMNS = ("split", "id", "axis", "listener", "rating")

RatingRow = tuple[str, str, str, float]
"""Clip id, axis, listener, rating."""


def ratings_of(manifest: Manifest, ids: Iterable[str], axes: Sequence[str]) -> list[RatingRow]:
    """List the ratings that single listeners gave to some clips on some axes, in the order of the ids.

    Args:
        manifest: The clips with their ratings.
        ids: The clips that are asked for; one that the manifest does not have is passed over.
        axes: Names of the axes.
    """
    clips = {clip.id: clip for clip in manifest}
    return [
        (id_, axis, listener, float(given[axis]))
        for id_ in ids
        if id_ in clips
        for axis in axes
        for listener, given in clips[id_].ratings.items()
        if axis in given and not math.isnan(given[axis])
    ]


def write_ratings(path: str | Path, splits: Iterable[tuple[str, Sequence[RatingRow]]]) -> None:
    """Write tidy rows: split, id, axis, listener, rating; no file where there is no rating."""
    splits = [(split, rows) for split, rows in splits if rows]
    if not splits:
        return
    write_records(path, RATING_COLUMNS, ([split, *row] for split, rows in splits for row in rows))


def read_ratings(path: str | Path) -> dict[str, list[RatingRow]]:
    """Read what ``write_ratings`` wrote, by split; nothing where there is no such file, as in older run folders.

    Raises:
        ValueError: If it is no whole table of ratings; the message names it.
    """
    if not Path(path).exists():
        return {}
    by_split: dict[str, list[RatingRow]] = defaultdict(list)
    for record in read_records(path, RATING_COLUMNS):
        rating = record.finite("rating")
        by_split[record.text("split")].append((record.text("id"), record.text("axis"), record.text("listener"), rating))
    return dict(by_split)
