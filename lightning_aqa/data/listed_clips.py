"""Common parts of the corpora of the field: folders that hold their lists, clips as means and ratings come in."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.parsing import Ratings, Row, entries_of, mean_scores, parse_score
from lightning_aqa.data.splits import split_by_fractions
from lightning_aqa.data.validation import CorpusError

_log = logging.getLogger(__name__)

UNRATED = frozenset({"", "nan", "na", "n/a", "none", "null"})
DEEPEST = 3
"""Folders below the one that is given, in which lists are looked for."""


def folders_with(root: str | Path, corpus: str, lists: Sequence[str]) -> list[Path]:
    """Find the folders that hold lists of a corpus: one that is given, or some below it, as archives unpack.

    Args:
        root: The corpus, or a folder that it lies in.
        corpus: Its name, as its section in docs/corpora.md has it.
        lists: Paths, inside such a folder, of which it has one or more.

    Raises:
        CorpusError: If there is none.
    """
    root = Path(root)
    for depth in range(DEEPEST + 1):
        found = {path for name in lists for path in root.glob("/".join([*["*"] * depth, name]))}
        if found:
            levels = {name: len(Path(name).parts) for name in lists}
            return sorted({path.parents[levels[name] - 1] for path in found for name in lists if path.match(name)})
    raise CorpusError(
        f"{root} holds no {corpus}: looked for {', '.join(lists)} there and in the folders below; {entries_of(root)} "
        f"docs/corpora.md, section {corpus}, says where to get it."
    )


class ListedClips:
    """Clips of a corpus while its lists are read.

    Args:
        axes: What the listeners rated.

    Attributes:
        problems: What is wrong with the lists so far.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes, self.problems = tuple(axes), list[Problem]()
        self._clips: dict[str, Clip] = {}
        self._where: dict[str, str] = {}
        self._ratings: dict[str, dict[str, dict[str, float]]] = {}

    def add(self, where: str, clip: Clip, cells: Mapping[str, object] | None = None) -> None:
        """Add a clip with a mean per axis; one that is there already is noted. An empty cell is not rated."""
        if clip.id in self._clips:
            what = f"{clip.id} is already at {self._where[clip.id]}; this row is not used"
            self.problems.append(Problem("duplicate id", where, what, source=clip.source))
            return
        self._where[clip.id] = where
        self._clips[clip.id] = replace(clip, scores=self._scores(where, cells or {}, clip.id))

    def rate(self, where: str, clip: Clip, listener: str, cells: Mapping[str, object]) -> None:
        """Add the ratings of one listener, and the clip where it is new; a second time is noted."""
        if clip.id not in self._clips:
            self.add(where, clip)
        of_clip = self._ratings.setdefault(clip.id, {})
        if listener in of_clip:
            what = f"{listener} rated {clip.id} before; this row is not used"
            self.problems.append(Problem("duplicate rating", where, what))
            return
        found = self._scores(where, cells)
        if found:
            of_clip[listener] = found

    def _scores(self, where: str, cells: Mapping[str, object], clip_id: str = "") -> dict[str, float]:
        rated = {axis: cells[axis.name] for axis in self.axes if axis.name in cells}
        rated = {axis: cell for axis, cell in rated.items() if str(cell).strip().lower() not in UNRATED}
        found = {axis.name: parse_score(cell, axis, where, self.problems, clip_id) for axis, cell in rated.items()}
        return {name: score for name, score in found.items() if clip_id or not math.isnan(score)}

    def manifest(self) -> Manifest:
        """Return the clips with their ratings; of a clip without means these are those of its ratings."""
        clips = [self._complete(clip, self._ratings.get(clip.id, {})) for clip in self._clips.values()]
        return Manifest(clips, self.axes, self.problems)

    def _complete(self, clip: Clip, ratings: Ratings) -> Clip:
        return replace(clip, scores=clip.scores or mean_scores(ratings, self.axes), ratings=ratings)


def first_two(rows: Iterable[Row]) -> Iterable[tuple[str, str, object]]:
    """Yield of each row its position, its first field without ``.wav``, and its second."""
    for row in rows:
        name, value, *_ = row.fields.values()
        yield row.where, str(name).strip().removesuffix(".wav"), value


def with_made_splits(manifest: Manifest, fractions: Mapping[str, float], why: str) -> Manifest:
    """Split clips of a corpus without splits, by clip ids alone, and say so.

    Args:
        manifest: The clips.
        fractions: Share of the clips per split.
        why: Sentence on why there are none.
    """
    shares = ", ".join(f"{name} {share:g}" for name, share in fractions.items())
    _log.warning("%s Splits are made: %s.", why, shares)
    return split_by_fractions(manifest, fractions, "clip", 0)
