"""Intervals and ceilings for the tables of a run, from what its folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_aqa.metrics.ceilings import with_ceilings
from lightning_aqa.metrics.intervals import with_intervals
from lightning_aqa.metrics.listeners import ratings_table
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.results.further import with_further
from lightning_aqa.results.ratings import RatingRow

TRAINING = "train"


def with_evidence(
    split: str,
    results: dict[str, Any],
    table: Predictions,
    axes: Sequence[str],
    ratings: Sequence[RatingRow] = (),
    system_scores: Mapping[str, Mapping[str, float]] | None = None,
    *,
    unit: Unit | None = None,
    folds: int = 0,
) -> dict[str, Any]:
    """Return the results of one split with intervals, further numbers and, where single ratings are known, ceilings.

    The training split gets no intervals: a model has seen these clips, so that drawing others of them says nothing
    about new ones.

    Args:
        split: Name of the split.
        results: From ``evaluate``.
        table: The predictions that they are of.
        axes: Names of the axes.
        ratings: Of single listeners.
        system_scores: Published score per axis name per system.
        unit: What varies as one piece; None is clips at utterance level and systems at the system levels.
        folds: Folds of the cross-validation that the predictions come from; 0 for others.
    """
    if split != TRAINING:
        tables = (table.ids, table.systems, table.domains, table.scores, table.targets, axes, table.prompts)
        results = with_intervals(results, *tables, system_scores, unit=unit, folds=folds)
    results = with_further(results, table, axes, ratings)
    if ratings:
        of_clips = ratings_table(table.ids, axes, ratings)
        results = with_ceilings(results, table.ids, table.systems, table.domains, table.targets, of_clips, axes)
    return results
