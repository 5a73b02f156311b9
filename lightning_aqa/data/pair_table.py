"""Pairs of the user's own: which of two clips listeners found better, alone or beside a table of ratings."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis, make_axes
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.missing import with_ending
from lightning_aqa.data.pair_batches import check_settings
from lightning_aqa.data.pairs import PairRow, read_pairs, with_compared
from lightning_aqa.data.splits import SplitBy
from lightning_aqa.data.table import Table
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import did_you_mean, shortened

_log = logging.getLogger(__name__)

_UNUSED = ("unknown clip", "bad pair", "contradicting pairs", "bad row")
PREFERENCE = "preference"
LOG_ODDS = [-4.0, 4.0]
"""Scale of an axis that only pairs are about: its scores are log-odds, and few pairs are clearer than 98 to 2."""


class PairTable(Table):
    """Serve pairs of clips, of which listeners found one better, alone or beside rated clips.

    A row of the table is a judgment: ``clip_a``, ``clip_b``, and the winner, ``a``, ``b``, ``tie`` or the name of a
    clip; where wanted ``listener``, ``axis``, ``weight``, ``split``, ``prompt``, ``system_a`` and ``system_b``. No clip
    is in two splits; pairs whose clips are in different ones are left out, which the log says.

    Args:
        path: The table of pairs: CSV, TSV, JSON lines or a JSON array.
        ratings: Table of rated clips to fit beside them, as ``Table`` reads it; null takes the pairs alone.
        axes: Lowest and highest score per axis name; null guesses those of the ratings. Without ratings the scores of
            an axis are log-odds, on a scale of -4 to 4.
        axis: Axis of the pairs that name none; null is the only one, or ``preference``.
        columns: Column of the table of pairs per role (clip_a, clip_b, winner, listener, axis, weight, split, prompt,
            system_a, system_b) where its name does not tell; an empty name is a role that no column has.
        rating_columns: The same for the table of ratings, as ``columns`` of ``Table``.
        split_by: What the made splits keep together: clips that pairs link (``pair``), where these are no more than a
            tenth of all; a file's parts (``clip``), a system's clips, a prompt's clips.

    Raises:
        ValueError: If columns of ratings are named, and no ratings are; or a setting does not go with pairs.
    """

    def __init__(
        self,
        path: str,
        ratings: str | None = None,
        axes: dict[str, list[float]] | None = None,
        axis: str | None = None,
        columns: dict[str, str] | None = None,
        rating_columns: dict[str, str] | None = None,
        split_by: SplitBy = "pair",
        **settings: Any,
    ) -> None:
        super().__init__(ratings or path, axes=axes, columns=rating_columns, split_by=split_by, **settings)
        if ratings is None and rating_columns:
            raise ValueError("rating_columns is about the table of ratings, and none is given; name it by ratings.")
        check_settings(self.batch_seconds, augmented=bool(self.augment))
        self.path, self.ratings, self.axis, self.pair_columns = path, ratings, axis, columns

    def look_closer(self) -> str:
        """Return nothing: no command tells more of pairs."""
        return ""

    def read_lists(self) -> Manifest:
        """Read the pairs, and the ratings where there are any."""
        rated = Manifest([], make_axes(self.scales or {}))
        if self.ratings is not None:
            own, self.path = self.path, self.ratings
            try:
                rated = super().read_lists()
            finally:
                self.path = own
        problems = list(rated.problems)
        folder = Path(self.audio_root or Path(self.ratings or self.path).parent)
        whole = {os.path.relpath(clip.path, folder): clip.id for clip in rated if not clip.start and clip.end is None}
        known = {os.path.splitext(path)[0]: id_ for path, id_ in whole.items()} | whole
        known |= {clip.id: clip.id for clip in rated}
        names = _Names(folder, known)
        rows = read_pairs(self.path, problems, columns=self.pair_columns, axis=self.axis or "", known=names)
        axes = rated.axes or _axes_of(rows)
        rows = _on_axes(rows, axes, problems)
        clips = {clip.id: clip for clip in rated} | _new_clips(rows, rated, folder)
        rows = _of_known(rows, clips, problems, self.ratings)
        compared = _described(clips, rows, problems)
        if problems and self.on_bad_clip == "error":
            raise CorpusError(self._told(problems))  # before what follows from it, such as too few clips for the splits
        return Manifest(compared, axes, problems, pairs=[row.pair() for row in rows])

    def read(self) -> Manifest:
        """Read pairs and ratings, split the clips, and leave out the pairs that no split has."""
        manifest = super().read()
        split_of = {clip.id: clip.split for clip in manifest}
        kept = [pair for pair in manifest.pairs if split_of[pair.clip_a] == split_of[pair.clip_b]]
        lost = len(manifest.pairs) - len(kept)
        if lost:
            sizes = Counter({name: 0 for name in manifest.splits} | Counter(split_of[pair.clip_a] for pair in kept))
            _log.warning(
                "%s: %d of %d pairs compare clips of different splits and are left out, since no clip may be in two "
                "splits; pairs left: %s.", self.path, lost, len(manifest.pairs),
                ", ".join(f"{name} {count}" for name, count in sizes.items()),
            )  # fmt: skip
        return with_compared(Manifest(manifest, manifest.axes, manifest.problems, manifest.system_scores, kept))


class _Names(dict[str, str]):
    """Id of a clip by any of its names; of a file that none is known of, the name by which it is first met.

    Args:
        folder: The folder of audio.
        known: Ids of the clips that are known.
    """

    def __init__(self, folder: Path, known: Mapping[str, str]) -> None:
        super().__init__(known)
        self.folder, self._files = folder, dict[str, str]()

    def get(self, name: str, default: Any = None) -> Any:
        """Return the id of a clip by a name; ``default`` where there is no such clip and no such file."""
        if name not in self and os.path.isfile(path := with_ending(str(self.folder / name))):
            self[name] = self._files.setdefault(os.path.normpath(path), name)
        return super().get(name, default)


def _axes_of(rows: Iterable[PairRow]) -> tuple[Axis, ...]:
    """Return the axes that the pairs name, on a scale of log-odds."""
    names = list(dict.fromkeys(row.axis for row in rows if row.axis)) or [PREFERENCE]
    return make_axes({name: LOG_ODDS for name in names})


def _on_axes(rows: Iterable[PairRow], axes: Sequence[Axis], problems: list[Problem]) -> list[PairRow]:
    """Give rows that name no axis the only one; note those of another axis."""
    names = [axis.name for axis in axes]
    alone = names[0] if len(names) == 1 else ""
    found = []
    for row in rows:
        axis = row.axis or alone
        if axis in names:
            found.append(row._replace(axis=axis))
            continue
        shown = ", ".join(names)
        what = (
            f"axis is {shortened(axis)!r}, expected {shown}.{did_you_mean(axis, names)}"
            if axis
            else f"no axis; expected one of {shown}: name it by a column axis, or all of them by --data.axis"
        )
        problems.append(Problem("bad pair", row.where, what.rstrip(".")))
    return found


def _new_clips(rows: Iterable[PairRow], rated: Manifest, folder: Path) -> dict[str, Clip]:
    """Return the clips of the pairs that are files and not rated."""
    there = {clip.id for clip in rated}
    names = dict.fromkeys(name for row in rows for name in row.clips if name not in there)
    paths = {name: with_ending(str(folder / name)) for name in names}
    return {name: Clip(name, path) for name, path in paths.items() if os.path.isfile(path)}


def _of_known(
    rows: Iterable[PairRow], clips: dict[str, Clip], problems: list[Problem], ratings: str | None
) -> list[PairRow]:
    """Leave out pairs with a clip that is nowhere; each is noted once per row."""
    kept = []
    for row in rows:
        unknown = [name for name in row.clips if name not in clips]
        if not unknown:
            kept.append(row)
            continue
        among = f"no clip of {ratings} and no file" if ratings else "no file"
        near = did_you_mean(unknown[0], clips).rstrip(".")
        what = f"{shortened(unknown[0])!r} is {among} of the folder of audio (--data.audio_root){near and '.'}{near}"
        problems.append(Problem("unknown clip", row.where, what))
    if not kept and not any(clip.is_rated() for clip in clips.values()):
        first = next(problem for problem in problems if problem.kind in _UNUSED)
        raise CorpusError(f"{first.where}: {first.what}; no pair of the table can be used.")
    return kept


def _described(clips: dict[str, Clip], rows: Iterable[PairRow], problems: list[Problem]) -> list[Clip]:
    """Add split, prompt and system of the pairs to clips that have none, and note where rows disagree."""
    at: dict[tuple[str, str], str] = {}
    for row in rows:
        for name, system in zip(row.clips, row.systems, strict=True):
            for key, value in (("split", row.split), ("prompt", row.prompt), ("system", system)):
                before = getattr(clips[name], key)
                if value and not before:
                    told: dict[str, Any] = {key: value}
                    clips[name] = replace(clips[name], **told)
                    at[name, key] = row.where
                elif value and value != before:
                    there = at.get((name, key), "the ratings")
                    what = (
                        f"the {key} of {shortened(name)} is {shortened(value)!r}, but {shortened(before)!r} at {there}"
                    )
                    problems.append(Problem("rows disagree", row.where, what, name))
    compared = {name for row in rows for name in row.clips}
    return [replace(clip, is_compared=clip.id in compared) for clip in clips.values()]
