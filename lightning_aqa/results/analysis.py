"""Ratings and predictions of clips joined into means of systems, for ``analyse``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.table import read_table
from lightning_aqa.metrics.mean_variance import Target
from lightning_aqa.metrics.prediction_powered import GivenRatings, PoweredMeans, system_means
from lightning_aqa.metrics.system_ranks import SystemRanks, rank_systems
from lightning_aqa.results.judge_scores import other_clips, read_scores
from lightning_aqa.utils.text import shortened

Array = NDArray[np.float64]
COLUMNS = ("axis", "rank", "system", "mean", "low", "high", "best_rank", "worst_rank", "clips", "rated_clips",
           "ratings", "not_told_apart")  # fmt: skip


class JoinedClips(NamedTuple):
    """Clips that are rated, predicted or both.

    Args:
        ids: Their names.
        systems: System of each; none is empty.
        ratings: Score per axis name per listener, of each.
        predictions: Shape ``(N, A)``; None without predictions.
        axes: What was rated.
        notes: What was left out.
    """

    ids: tuple[str, ...]
    systems: tuple[str, ...]
    ratings: tuple[Mapping[str, Mapping[str, float]], ...]
    predictions: Array | None
    axes: tuple[Axis, ...]
    notes: tuple[str, ...] = ()

    def given(self, a: int) -> tuple[GivenRatings, list[str], list[str]]:
        """Return the ratings of an axis by numbers, and the names of systems and of listeners."""
        systems = sorted(set(self.systems))
        name = self.axes[a].name
        rows = [
            (scores[name], clip, listener)
            for clip, of in enumerate(self.ratings)
            for listener, scores in of.items()
            if name in scores and math.isfinite(scores[name])
        ]
        listeners = sorted({listener for _, _, listener in rows})
        codes = {listener: code for code, listener in enumerate(listeners)}
        return (
            GivenRatings(
                np.array([score for score, _, _ in rows]),
                np.array([clip for _, clip, _ in rows], np.intp),
                np.array([codes[listener] for _, _, listener in rows], np.intp),
                np.searchsorted(systems, self.systems),
                None if self.predictions is None else self.predictions[:, a],
            ),
            systems,
            listeners,
        )


class SystemAnalysis(NamedTuple):
    """Means and ranks of the systems on one axis.

    Args:
        axis: The axis.
        systems: Their names.
        num_clips: Clips of each, rated or not.
        found: The means with the predictions.
        alone: The means of the ratings alone.
        ranks: The ranks.
    """

    axis: Axis
    systems: Sequence[str]
    num_clips: NDArray[np.intp]
    found: PoweredMeans
    alone: PoweredMeans
    ranks: SystemRanks

    def rows(self) -> Iterator[list[object]]:
        """Yield a row per system as ``COLUMNS`` has them, the best first."""
        halves = self.found.half_widths()
        for s in np.argsort(self.ranks.rank).tolist():
            mean, half = float(self.found.means[s]), float(halves[s])
            low, high = max(mean - half, min(self.axis.low, mean)), min(mean + half, max(self.axis.high, mean))
            same = "; ".join(sorted(self.systems[t] for t in self.ranks.not_told_apart(s)))
            ends = [round(value, 4) if math.isfinite(value) else "" for value in (mean, low, high)]
            ranks = [int(of[s]) for of in (self.ranks.best, self.ranks.worst)]
            counts = [int(of[s]) for of in (self.num_clips, self.found.clips, self.found.ratings)]
            yield [self.axis.name, int(self.ranks.rank[s]), self.systems[s], *ends, *ranks, *counts, same]


def join(ratings: Path, predictions: Path | None, axes: Mapping[str, Sequence[float]] | None) -> JoinedClips:
    """Read ratings and predictions of clips.

    Args:
        ratings: A table of ratings, as ``Table`` reads it; rows without a score name clips that were not rated.
        predictions: A table of scores, with a row per clip: of ``score``, of a run, or of another tool.
        axes: Lowest and highest score per axis; None guesses the one that there is.

    Raises:
        ValueError: If a table cannot be read, or no clip names its system.
    """
    manifest = read_table(ratings, axes)
    _check(ratings, manifest)
    clips = [(clip.id, clip.system) for clip in manifest]
    if predictions is not None:
        clips += other_clips(predictions, [clip.id for clip in manifest])
    by_id: dict[str, Clip] = {clip.id: clip for clip in manifest}
    kept = [(name, system) for name, system in clips if system]
    lost = len(clips) - len(kept)
    notes = (f"{lost} clips name no system and are left out.",) if lost else ()
    if not kept:
        raise ValueError(f"{ratings}: no clip names its system; expected a column system.")
    ids, systems = zip(*kept, strict=True)
    names = [axis.name for axis in manifest.axes]
    scores = None if predictions is None else read_scores(predictions, "predictions", "", ids, names)
    if scores is not None:
        rated = np.array([name in by_id and by_id[name].is_rated() for name in ids])
        if not np.isfinite(scores[rated]).any():
            raise ValueError(
                f"{predictions}: has no score of any rated clip, such as {shortened(ids[int(rated.argmax())])!r}; "
                "expected the names of the ratings; write them alike, or leave --predictions out."
            )
    given = tuple(_ratings(by_id[name]) if name in by_id else {} for name in ids)
    return JoinedClips(ids, systems, given, scores, manifest.axes, notes)


def _check(path: Path, manifest: Manifest) -> None:
    if manifest.problems:
        first = manifest.problems[0]
        raise ValueError(f"{first.where}: {first.what}; {len(manifest.problems)} such rows have to be mended first.")
    if not any(clip.is_rated() for clip in manifest):
        raise ValueError(f"{path}: no ratings in it.")


def _ratings(clip: Clip) -> Mapping[str, Mapping[str, float]]:
    """Return the ratings of a clip; a mean without ratings is one rating of a listener of its own."""
    return clip.ratings or ({f"mean of {clip.id}": clip.scores} if clip.scores else {})


def analyse_axis(joined: JoinedClips, a: int, target: Target) -> SystemAnalysis:
    """Estimate the means of the systems on an axis, and rank them.

    Raises:
        ValueError: If nobody rated the axis.
    """
    given, systems, _ = joined.given(a)
    if not len(given.values):
        raise ValueError(f"no ratings of the axis {joined.axes[a].name!r}.")
    found = system_means(given, target=target)
    alone = system_means(given, target=target, use_predictions=False)
    sizes = np.bincount(given.systems, minlength=len(systems))
    return SystemAnalysis(joined.axes[a], systems, sizes, found, alone, rank_systems(found))
