"""Numbers of a sweep's variants as its runs recorded them, each with its cell of the comparison table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from lightning_aqa.metrics.levels import MEAN, METRICS
from lightning_aqa.results.comparison import ComparisonCell, compare_variants
from lightning_aqa.results.naming import without_seeds
from lightning_aqa.results.runs import Run
from lightning_aqa.results.variants import collect, group_runs

LEVELS = ("utterance", "system", "system_mos")
SPLITS = ("test", "dev", "train")
"""Split of the tables on the screen: the first of these that was rated."""
MOST_CLIPS_FOR_KTAU = 1000
"""Above so many clips KTAU of clips is not resampled: it takes minutes, and SRCC says the same."""
Key = tuple[str, str, str, str]
"""Variant, level, axis, metric."""


class SummaryRow(NamedTuple):
    """A metric of a variant.

    Args:
        variant: Name of the variant.
        parameters: Its parameters, seeds left out.
        split: Split of the corpus.
        level: ``utterance``, ``system`` or ``system_mos``.
        axis: Name of the axis.
        metric: Name of the metric.
        values: One value per run that has one, in score points squared for MSE, else dimensionless.
        compared: Interval, difference and tie; None where the runs do not share their clips, or nothing is compared.
    """

    variant: str
    parameters: Mapping[str, Any]
    split: str
    level: str
    axis: str
    metric: str
    values: Sequence[float]
    compared: ComparisonCell | None = None

    @property
    def mean(self) -> float:
        """Average over the runs; NaN without any."""
        return fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the runs; NaN for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else math.nan


def summarise(runs: Sequence[Run]) -> list[SummaryRow]:
    """Set every recorded metric of every variant beside what the comparison of the shown split says of it."""
    rows = [row for name, members in group_runs(runs)[0] for row in _rows(name, members)]
    split = shown_split(rows)
    compared = _compared(runs, split)
    return [
        row._replace(compared=compared.get((row.variant, row.level, row.axis, row.metric)))
        if row.split == split
        else row
        for row in rows
    ]


def shown_split(rows: Sequence[SummaryRow]) -> str:
    """Return the split that the tables on the screen are of."""
    splits = {row.split for row in rows}
    return next((split for split in SPLITS if split in splits), next(iter(sorted(splits)), ""))


def _rows(name: str, runs: Sequence[Run]) -> Iterator[SummaryRow]:
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for run in runs:
        for key, value in _recorded(run):
            values.setdefault(key, []).append(value)
    for key, of_runs in values.items():
        yield SummaryRow(name, without_seeds(runs[0].parameters), *key, of_runs)


def _recorded(run: Run) -> list[tuple[tuple[str, str, str, str], float]]:
    return [
        ((split, level, axis, metric), entry[metric])
        for split, levels in run.results.items()
        for level, table in levels.items()
        if level in LEVELS
        for axis, entry in table.items()
        if axis != MEAN or len(table) > 2
        for metric in METRICS
        if metric in entry
    ]


def _compared(runs: Sequence[Run], split: str) -> dict[Key, ComparisonCell]:
    """Compare the variants on the split, if all runs scored the same clips, and there are several variants."""
    tables = [run.splits.get(split) for run in runs]
    clips = {None if table is None else tuple(sorted(table.ids)) for table in tables}
    if len(clips) != 1 or None in clips or len({tuple(run.axes) for run in runs}) != 1:
        return {}
    try:
        shared = collect(runs, split)
    except ValueError:  # rated differently: means can be shown, but nothing can be compared
        return {}
    if len(shared.variants) < 2:
        return {}
    return {
        (variant.name, table.level, axis, metric): cell
        for table in compare_variants(shared, most_clips_for_ktau=MOST_CLIPS_FOR_KTAU, domains=[""])
        for variant, row in zip(shared.variants, table.rows, strict=True)
        for (axis, metric), cell in row.items()
        if axis != MEAN
    }
