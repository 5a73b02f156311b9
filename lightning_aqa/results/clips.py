"""Audio, prompts and ratings of clips, and the choice of clips to look at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.listeners import ListenerRatings, ratings_table
from lightning_aqa.results.files import CLIPS, RATINGS, SYSTEMS
from lightning_aqa.results.observations import CLIP_COLUMNS, SYSTEM_COLUMNS
from lightning_aqa.results.ratings import read_ratings
from lightning_aqa.results.runs import Run
from lightning_aqa.results.side_files import if_whole
from lightning_aqa.utils.records import Record, read_records

Array = NDArray[np.float64]
SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".aif"})
_BLOCK_ROWS = 512


class ClipSource(NamedTuple):
    """Location of a clip's audio; ``path`` is None where that is not known or the file is not there."""

    path: Path | None
    start: float = 0.0
    end: float | None = None
    prompt: str = ""


def read_sources(runs: Iterable[Run], audio_root: Path | None = None) -> dict[str, ClipSource]:
    """Read ``clips.csv`` of the runs, or of the folds of a cross-validation; look for the rest by name.

    Args:
        runs: The runs; the first that knows a clip counts.
        audio_root: Folder in which files are looked for by the id of a clip, with or without a suffix.
    """
    sources: dict[str, ClipSource] = {}
    for run in runs:
        for path in (run.folder / CLIPS, *sorted(run.folder.glob(f"fold*/{CLIPS}"))):
            sources = {**(if_whole(path, read_clips) or {}), **sources}
    if audio_root is None:
        return sources
    files = [path for path in sorted(audio_root.rglob("*")) if path.suffix.lower() in SUFFIXES]
    named = {name: path for path in reversed(files) for name in (path.stem, path.name)}
    for run in runs:
        for id_ in (id_ for table in run.splits.values() for id_ in table.ids):
            known = sources.get(id_, ClipSource(None))
            if known.path is None and (id_ in named or Path(id_).name in named):
                sources[id_] = known._replace(path=named.get(id_) or named[Path(id_).name])
    return sources


def read_clips(path: Path) -> dict[str, ClipSource]:
    """Read ``clips.csv``: the source of each clip by its id.

    Raises:
        ValueError: If it is no whole table of clips; the message names it.
    """
    records = read_records(path, CLIP_COLUMNS)
    return {record.text("id"): _source(record, path.parent) for record in records}


def _source(record: Record, folder: Path) -> ClipSource:
    start, end = record.number("start", 0.0), record.number("end", math.inf)
    if not 0 <= start < end:
        raise ValueError(f"{record.where}: start {start:g} and end {end:g} are not seconds in that order.")
    audio = folder / record.text("path")
    try:
        is_there = audio.is_file()
    except (OSError, ValueError):  # no name that a file can have
        is_there = False
    return ClipSource(audio if is_there else None, start, None if end == math.inf else end, record.text("prompt"))


def read_system_scores(runs: Iterable[Run], systems: Sequence[str], axes: Sequence[str]) -> Array | None:
    """Read the scores that the corpus publishes for its systems, from the first run that has them.

    Args:
        runs: The runs.
        systems: System of each clip.
        axes: Names of the axes.

    Returns:
        The score of each clip's system, shape ``(N, A)``, NaN where there is none; None where no run has such scores.
    """
    for run in runs:
        for path in (run.folder / SYSTEMS, *sorted(run.folder.glob(f"fold*/{SYSTEMS}"))):
            scores = if_whole(path, _read_systems) or {}
            if scores:
                return np.array([[scores.get((name, axis), np.nan) for axis in axes] for name in systems])
    return None


def _read_systems(path: Path) -> dict[tuple[str, str], float]:
    records = read_records(path, SYSTEM_COLUMNS)
    return {(record.text("system"), record.text("axis")): record.finite("score") for record in records}


def worst_clips(targets: Array, scores: Array, count: int) -> list[int]:
    """Return the clips that are most over- and most under-rated, in turns over the axes.

    Args:
        targets: Shape ``(N, A)``, NaN where not rated.
        scores: Shape ``(N, A)``.
        count: How many clips.

    Example:
        >>> worst_clips(np.zeros((4, 1)), np.array([[0.1], [2.0], [-1.0], [0.5]]), 3)
        [1, 2, 3]
    """
    errors_NA = scores - targets
    queues = []
    for error_N in errors_NA.T:
        rated = np.flatnonzero(np.isfinite(error_N))
        order = rated[np.argsort(-error_N[rated], kind="stable")]
        queues += [iter(order.tolist()), iter(order[::-1].tolist())]
    return _in_turns(queues, count)


def _in_turns(queues: Sequence[Iterator[int]], count: int) -> list[int]:
    """Take from the queues in turns, each item once, until there are ``count``."""
    chosen: dict[int, None] = {}
    waiting = list(queues)
    while waiting and len(chosen) < count:
        for queue in list(waiting):
            item = next((item for item in queue if item not in chosen), None)
            if item is None:
                waiting.remove(queue)
            elif len(chosen) < count:
                chosen[item] = None
    return list(chosen)


def worst_pairs(targets: Array, scores: Array, count: int, most_per_clip: int = 4) -> list[tuple[int, int]]:
    """Return the pairs that are ranked wrongly, by the gap of their ratings.

    A pair is (better, worse) by its ratings, and its scores say the opposite. Of pairs with the same gap the one whose
    scores are further apart comes first.

    Args:
        targets: Mean opinion scores, shape ``(N,)``; NaN where not rated.
        scores: Predicted scores, shape ``(N,)``.
        count: How many pairs.
        most_per_clip: In how many of them one clip may be, so that a single clip does not fill the list.

    Example:
        >>> worst_pairs(np.array([1.0, 5.0, 3.0]), np.array([2.0, 1.0, 3.0]), 2)
        [(1, 0), (1, 2)]
    """
    rows = np.flatnonzero(np.isfinite(targets) & np.isfinite(scores))
    y_N, p_N = targets[rows], scores[rows]
    kept = max(50 * count, 2000)
    found = np.empty((0, 4))
    for first in range(0, len(rows), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        gap, slip = y_N[block, None] - y_N, p_N - p_N[block, None]
        better, worse = np.nonzero((gap > 0) & (slip > 0))
        new = np.stack([gap[better, worse], slip[better, worse], better + first, worse], axis=1)
        found = np.concatenate([found, new])
        if len(found) > kept:
            found = found[np.argpartition(-found[:, 0], kept - 1)[:kept]]
    order = np.lexsort((-found[:, 1], -found[:, 0].round(9)))
    uses: Counter[int] = Counter()
    pairs: list[tuple[int, int]] = []
    for better, worse in found[order, 2:].astype(int).tolist():
        if len(pairs) < count and max(uses[better], uses[worse]) < most_per_clip:
            uses.update((better, worse))
            pairs.append((int(rows[better]), int(rows[worse])))
    return pairs


def read_listeners(runs: Iterable[Run], split: str, ids: Sequence[str], axes: Sequence[str]) -> ListenerRatings | None:
    """Read the ratings of single listeners that the first run with some left.

    Returns:
        None where no run left any of these clips.
    """
    for run in runs:
        rows = (if_whole(run.folder / RATINGS, read_ratings) or {}).get(split, [])
        if rows:
            table = ratings_table(ids, axes, rows)
            if np.isfinite(table.values).any():
                return table
    return None
