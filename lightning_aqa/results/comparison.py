"""The numbers of the report: every metric of every variant with its interval, and what stands out after correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.ceilings import axis_ceilings, system_only
from lightning_aqa.metrics.domains import rows_by_domain
from lightning_aqa.metrics.jackknife import Level, Replicates, mean_of, replicate
from lightning_aqa.metrics.levels import MEAN, METRICS, higher_is_better
from lightning_aqa.metrics.listeners import ListenerRatings
from lightning_aqa.metrics.resampling import Unit, check_unit
from lightning_aqa.metrics.significance import NUM_DRAWS, Contestant, Difference, compare, differs
from lightning_aqa.metrics.uncertainty import Interval, interval, why_no_interval
from lightning_aqa.results.reference_points import ceiling_notes
from lightning_aqa.results.variants import SharedClips

Array = NDArray[np.float64]
MANY_AXES = 2
CEILING, SPLIT_HALF, SYSTEM_MEAN = "Ceiling", "Split half", "System mean"
"""Rows beside the variants."""
Column = tuple[str, str]
"""An axis and a metric."""
ONE_SEED = "One seed each: intervals are over clips or systems alone, and nothing is said of how other seeds would do."
"""Line in place of marks where a variant that was trained has one run."""


class ComparisonCell(NamedTuple):
    """One number of the table.

    Args:
        value: The metric, mean over seeds; NaN where undefined.
        deviation: Standard deviation over seeds; NaN for one seed.
        num_seeds: Over how many seeds.
        interval: 95 % interval of the value over clips (or systems) and seeds; NaN where there is none.
        why: Why there is none, in a few words; empty where there is one.
        difference: Against the baseline; None for the baseline itself and where there is one variant.
        is_best: Whether it is the best of its column.
        is_tied: Whether it is not told apart from the best; False for all where one seed forbids to say so.
    """

    value: float
    deviation: float
    num_seeds: int
    interval: Interval
    why: str
    difference: Difference | None
    is_best: bool
    is_tied: bool

    @property
    def is_compared(self) -> bool:
        """Whether there are other variants."""
        return self.is_tied or self.difference is not None or not self.is_best

    @property
    def p_adjusted(self) -> float:
        """P-value of the difference, simultaneous over the comparisons with the baseline; NaN where there is none."""
        return self.difference.p_adjusted if self.difference else math.nan

    @property
    def verdict(self) -> str:
        """The variant against the baseline: better, worse, equal, undecided, or nothing where nothing can be said."""
        return self.difference.verdict if self.difference else ""

    @property
    def is_sure(self) -> bool:
        """Whether it differs from the baseline."""
        return differs(self.p_adjusted)


class ComparisonTable(NamedTuple):
    """The table of one level and one domain.

    Args:
        level: ``utterance``, ``system``, or ``system_mos``: systems against the scores that the corpus publishes.
        domain: The domain; empty for all clips.
        n: Clips or systems per axis.
        columns: Axes and metrics, in their order.
        rows: Cells per variant, in the order of the evidence.
        beside: Rows that are no variant: name, explanation, numbers per column.
        pairs: Per column, each variant (row) minus each other one, simultaneous over all of these; None for itself.
        one_seed: Whether a variant that was trained has one run, so that no mark is set in this table.
        equivalence: Largest difference that counts as none; None where none was asked.
    """

    level: str
    domain: str
    n: dict[str, int]
    columns: list[Column]
    rows: list[dict[Column, ComparisonCell]]
    beside: list[tuple[str, str, dict[Column, float]]]
    pairs: dict[Column, list[list[Difference | None]]]
    one_seed: bool
    equivalence: float | None


class _Settings(NamedTuple):
    """Settings of a comparison."""

    unit: Unit | None
    folds: int
    equivalence: float | None
    num_draws: int


def compare_variants(
    evidence: SharedClips,
    ratings: ListenerRatings | None = None,
    system_scores: Array | None = None,
    *,
    unit: Unit | None = None,
    equivalence: float | None = None,
    num_resamples: int = NUM_DRAWS,
    most_clips_for_ktau: int | None = None,
    domains: Sequence[str] | None = None,
) -> list[ComparisonTable]:
    """Compute the tables of both levels, of all clips and of each domain.

    Args:
        evidence: The variants on their clips.
        ratings: Ratings of single listeners; None without.
        system_scores: Published score of each clip's system, shape ``(N, A)``; None without.
        unit: What varies as one piece; None is that of the runs, else clips at utterance and systems at system level.
        equivalence: Largest difference that counts as none, in the metric's unit; None asks nothing.
        num_resamples: Draws of the simultaneous tests.
        most_clips_for_ktau: Above so many clips KTAU of clips, which takes long, is left out; None never does.
        domains: Which domains have tables, ``""`` being all clips; None is all of them.

    Raises:
        ValueError: If no clip names what is to vary.
    """
    if unit is not None:
        check_unit(unit, evidence.systems, evidence.prompts)
    unit = unit or evidence.unit
    settings = _Settings(unit, evidence.folds, equivalence, num_resamples)
    levels: list[Level] = ["utterance", "system"] if evidence.has_systems else ["utterance"]
    blocks = []
    of_domain = rows_by_domain(evidence.domains)
    for domain in ["", *evidence.named_domains] if domains is None else domains:
        rows = of_domain[domain]
        for level in levels:
            if level == "system" and len({evidence.systems[i] for i in rows} - {""}) < 2:
                continue
            is_long = level == "utterance" and most_clips_for_ktau is not None and len(rows) > most_clips_for_ktau
            metrics = [metric for metric in METRICS if not (is_long and metric == "KTAU")]
            blocks.append(_block(evidence, rows, level, domain, ratings, settings, metrics))
    if system_scores is not None and np.isfinite(system_scores).any():
        # The mean over a system's clips of what is the same for all of them is that: all clips count, rated or not.
        published = replace(evidence, targets=system_scores)
        block = _block(published, np.arange(len(evidence.ids)), "system", "", None, settings)
        blocks.append(block._replace(level="system_mos"))
    return blocks


def _block(
    evidence: SharedClips,
    rows: NDArray[np.intp],
    level: Level,
    domain: str,
    ratings: ListenerRatings | None,
    settings: _Settings,
    metrics: Sequence[str] = METRICS,
) -> ComparisonTable:
    systems, targets_NA = [evidence.systems[i] for i in rows], evidence.targets[rows]
    texts = [evidence.prompts[i] for i in rows]
    varied = [
        _replicates(variant.scores[:, rows], targets_NA, (systems, texts), level, settings.unit, evidence.axes, metrics)
        for variant in evidence.variants
    ]
    columns = list(varied[0])
    fixed = [variant.is_fixed for variant in evidence.variants]
    contestants = {c: [Contestant(of[c], f) for of, f in zip(varied, fixed, strict=True)] for c in columns}
    by_column = {c: _compare_column(contestants[c], settings) for c in columns}
    return ComparisonTable(
        level,
        domain,
        {axis: _count(targets_NA[:, a], systems, level) for a, axis in enumerate(evidence.axes)},
        columns,
        [{column: by_column[column][0][v] for column in columns} for v in range(len(varied))],
        _beside(evidence.axes, systems, targets_NA, None if ratings is None else ratings[rows], level),
        {column: by_column[column][1] for column in columns},
        len(fixed) > 1 and not all(contestant.has_seeds for contestant in contestants[columns[0]]),
        settings.equivalence,
    )


def _count(targets: Array, systems: Sequence[str], level: Level) -> int:
    rated = np.flatnonzero(np.isfinite(targets)).tolist()
    return len(rated) if level == "utterance" else len({systems[i] for i in rated} - {""})


def _replicates(
    scores_KNA: Array,
    targets_NA: Array,
    names: tuple[Sequence[str], Sequence[str]],
    level: Level,
    unit: Unit | None,
    axes: Sequence[str],
    metrics: Sequence[str],
) -> dict[Column, Replicates]:
    """Vary the units for all seeds and axes of a variant at once; also of the mean over several axes."""
    num_seeds, num_clips, num_axes = scores_KNA.shape
    predictions = scores_KNA.transpose(1, 0, 2).reshape(num_clips, -1)
    targets = np.tile(targets_NA, (1, num_seeds))
    varied = replicate(predictions, targets, *names, level=level, unit=unit, metrics=metrics)
    found = {
        (axis, metric): varied[metric].pick(slice(a, None, num_axes))
        for a, axis in enumerate(axes)
        for metric in metrics
    }
    if num_axes >= MANY_AXES:
        rated = np.flatnonzero(np.isfinite(targets_NA).any(axis=0)).tolist() or range(num_axes)
        for metric in metrics:
            found[MEAN, metric] = mean_of([found[axes[a], metric] for a in rated])
    return found


def compare_column(
    contestants: Sequence[Contestant], *, folds: int = 0, equivalence: float | None = None
) -> list[ComparisonCell]:
    """Compute one column of the table.

    Args:
        contestants: The variants on the same units; the first is the baseline.
        folds: Folds of a cross-validation that the predictions come from; 0 for others.
        equivalence: Largest difference that counts as none, in the metric's unit; None asks nothing.
    """
    return _compare_column(contestants, _Settings(None, folds, equivalence, NUM_DRAWS))[0]


def _compare_column(
    contestants: Sequence[Contestant], settings: _Settings
) -> tuple[list[ComparisonCell], list[list[Difference | None]]]:
    """Compute the cells of a column, and the differences of all pairs."""
    of_settings: dict[str, Any] = settings._asdict()
    of_settings.pop("unit")
    count = len(contestants)
    against_first = [None, *compare(contestants, [(v, 0) for v in range(1, count)], **of_settings)]
    every = [(i, j) for i in range(count) for j in range(i)]
    lower = dict(zip(every, compare(contestants, every, **of_settings), strict=True))
    pairs = [[_of_pair(lower, i, j) for j in range(count)] for i in range(count)]
    values = [float(of.runs.estimate.mean()) for of in contestants]
    best = _best(values, contestants[0].runs.metric)
    is_sayable = all(of.has_seeds for of in contestants)
    cells = [
        ComparisonCell(
            value=values[v],
            deviation=float(of.runs.estimate.std(ddof=1)) if len(of.runs.estimate) > 1 else math.nan,
            num_seeds=len(of.runs.estimate),
            interval=interval(of.runs, folds=settings.folds),
            why=why_no_interval(of.runs),
            difference=against_first[v],
            is_best=v == best,
            is_tied=is_sayable and count > 1 and math.isfinite(values[v]) and _is_tied(pairs[v], v, best),
        )
        for v, of in enumerate(contestants)
    ]
    return cells, pairs


def _best(values: Sequence[float], metric: str) -> int | None:
    sign = 1 if higher_is_better(metric) else -1
    known = [v for v, value in enumerate(values) if math.isfinite(value)]
    return max(known, key=lambda v: sign * values[v], default=None)


def _of_pair(lower: Mapping[tuple[int, int], Difference], i: int, j: int) -> Difference | None:
    return None if i == j else lower[i, j] if j < i else lower[j, i].turned()


def _is_tied(differences: Sequence[Difference | None], v: int, best: int | None) -> bool:
    """Tell whether a variant cannot be told from the best; where there is no p-value it cannot either."""
    if v == best or best is None:
        return v == best
    difference = differences[best]
    return difference is not None and not differs(difference.p_adjusted)


def _beside(
    axes: Sequence[str], systems: Sequence[str], targets_NA: Array, ratings: ListenerRatings | None, level: Level
) -> list[tuple[str, str, dict[Column, float]]]:
    """Return the ceilings of any predictor, and the numbers of one that knows the system alone."""
    rows = []
    if ratings is not None:
        found = axis_ceilings(ratings, systems, axes, level)
        highest = {(axis, metric): getattr(of, metric.lower()) for axis, of in found.items() for metric in METRICS[:3]}
        halves = {(axis, "LCC"): of.split_half_lcc for axis, of in found.items()}
        halves |= {(axis, "SRCC"): of.split_half_srcc for axis, of in found.items()}
        said = "".join(f"; {text}" for text in ceiling_notes({a: of._asdict() for a, of in found.items()}))
        rows.append((CEILING, f"expected of a predictor that knew the true quality{said}", highest))
        rows.append((SPLIT_HALF, "mean of half of the listeners against the other half, expected", halves))
    if level == "utterance" and len(set(systems) - {""}) > 1:
        alone = {axis: system_only(systems, targets_NA[:, a]) for a, axis in enumerate(axes)}
        numbers = {(axis, metric): of[metric] for axis, of in alone.items() for metric in METRICS}
        rows.append((SYSTEM_MEAN, "predicts the true mean of each system", numbers))
    return rows
