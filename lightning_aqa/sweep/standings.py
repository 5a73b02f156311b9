"""How sure the differences between variants are: over their seeds and the clips, from the runs' predictions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.levels import METRICS
from lightning_aqa.metrics.significance import Standing, rank_variants
from lightning_aqa.results.predictions import Predictions, read_predictions
from lightning_aqa.sweep.trial import Trial

LEVELS = ("utterance", "system")
MOST_CLIPS_FOR_KTAU = 1000
"""Above so many clips KTAU of clips is not resampled: it takes minutes, and SRCC says the same."""
NUM_RESAMPLES = 2000
Place = tuple[str, str, str, str]
"""Level, axis, metric, variant."""


class Stacked(NamedTuple):
    """The predictions of all runs of a sweep on the same clips.

    Args:
        clips: Clips, targets and prompts.
        axes: Names of the axes.
        scores: Scores by variant, shape ``(K, N, A)`` for K runs.
    """

    clips: Predictions
    axes: list[str]
    scores: dict[str, NDArray[np.float64]]


def standings(trials: Sequence[Trial], split: str) -> dict[Place, Standing]:
    """Rank the variants by each metric of each axis, each against the first variant, with Holm's correction.

    Args:
        trials: Trials by their place in the expansion; those that have not finished are left out.
        split: The split to compare on.

    Returns:
        Standings by level, axis, metric and variant. Empty for one variant, or where the runs differ in their clips.
    """
    stacked = stack(trials, split)
    if stacked is None or len(stacked.scores) < 2:
        return {}
    return {
        (level, axis, metric, standing.name): standing
        for level, column, axis, metric in _places(stacked)
        for standing in rank_variants(
            {name: scores_KNA[:, :, column] for name, scores_KNA in stacked.scores.items()},
            stacked.clips.targets[:, column],
            stacked.clips.systems,
            metric=metric,
            level="system" if level == "system" else "utterance",
            reference=next(iter(stacked.scores)),
            num_resamples=NUM_RESAMPLES,
        )
    }


def stack(trials: Sequence[Trial], split: str) -> Stacked | None:
    """Read the predictions of the finished trials; None where they are not all of the same rated clips."""
    scores: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    clips: Predictions | None = None
    axes: list[str] = []
    for trial in trials:
        path = trial.folder / "predictions.csv"
        if trial.state != "finished" or not path.exists():
            continue
        tables, names = read_predictions(path)
        table = dict(tables).get(split)
        if table is None or (clips is not None and not _are_same(clips, axes, table, names)):
            return None
        clips, axes = table, names
        scores[trial.variant].append(table.scores)
    return None if clips is None else Stacked(clips, axes, {name: np.stack(runs) for name, runs in scores.items()})


def _are_same(first: Predictions, first_axes: list[str], second: Predictions, second_axes: list[str]) -> bool:
    are_named = first_axes == second_axes and first.ids == second.ids
    return are_named and np.array_equal(first.targets, second.targets, equal_nan=True)


def _places(stacked: Stacked) -> Iterable[tuple[str, int, str, str]]:
    """Yield level, column, axis and metric of each comparison that can be made."""
    has_systems = any(stacked.clips.systems)
    for level in LEVELS if has_systems else LEVELS[:1]:
        for column, axis in enumerate(stacked.axes):
            for metric in METRICS:
                is_long = metric == "KTAU" and level == "utterance" and len(stacked.clips.ids) > MOST_CLIPS_FOR_KTAU
                if not is_long and np.isfinite(stacked.clips.targets[:, column]).sum() > 1:
                    yield level, column, axis, metric
