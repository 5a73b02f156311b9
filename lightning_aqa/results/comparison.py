"""The numbers of the report: every metric of every variant with its interval, and what stands out after correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.bootstrap import Interval, Level, Replicates, interval, replicate
from lightning_aqa.metrics.ceilings import axis_ceilings, system_only
from lightning_aqa.metrics.levels import MEAN, METRICS, higher_is_better
from lightning_aqa.metrics.listeners import ListenerRatings
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.metrics.significance import Difference, compare, differs, holm, over_seeds
from lightning_aqa.results.reference_points import behind_system, ceiling_notes
from lightning_aqa.results.variants import SharedClips

Array = NDArray[np.float64]
MANY_AXES = 2
CEILING, SYSTEM_ONLY = "Ceiling", "Knows the system alone"
Column = tuple[str, str]
"""An axis and a metric."""


class ComparisonCell(NamedTuple):
    """One number of the table.

    Args:
        value: The metric, mean over seeds; NaN where undefined.
        deviation: Standard deviation over seeds; NaN for one seed.
        num_seeds: Over how many seeds.
        interval: 95 % interval of the value over clips (or systems) and seeds.
        difference: Against the baseline; None for the baseline itself and where there is one variant.
        p_adjusted: p-value of the difference after Holm's correction over the variants of this column.
        is_best: Whether it is the best of its column.
        is_tied: Whether it is not told apart from the best after the same correction.
    """

    value: float
    deviation: float
    num_seeds: int
    interval: Interval
    difference: Difference | None
    p_adjusted: float
    is_best: bool
    is_tied: bool

    @property
    def is_compared(self) -> bool:
        """Whether there are other variants."""
        return self.is_tied or self.difference is not None or not self.is_best

    @property
    def is_sure(self) -> bool:
        """Whether it differs from the baseline after the correction."""
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
    """

    level: str
    domain: str
    n: dict[str, int]
    columns: list[Column]
    rows: list[dict[Column, ComparisonCell]]
    beside: list[tuple[str, str, dict[Column, float]]]


def compare_variants(
    evidence: SharedClips,
    ratings: ListenerRatings | None = None,
    system_scores: Array | None = None,
    *,
    unit: Unit | None = None,
    num_resamples: int = 2000,
    most_clips_for_ktau: int | None = None,
    domains: Sequence[str] | None = None,
) -> list[ComparisonTable]:
    """Compute the tables of both levels, of all clips and of each domain.

    Args:
        evidence: The variants on their clips.
        ratings: Ratings of single listeners; None without.
        system_scores: Published score of each clip's system, shape ``(N, A)``; None without.
        unit: What the bootstrap draws as one piece; None is clips at utterance and systems at system level.
        num_resamples: How many resamples.
        most_clips_for_ktau: Above so many clips KTAU of clips, which takes minutes, is left out; None never does.
        domains: Which domains have tables, ``""`` being all clips; None is all of them.
    """
    levels: list[Level] = ["utterance", "system"] if evidence.has_systems else ["utterance"]
    blocks = []
    for domain in ["", *evidence.named_domains] if domains is None else domains:
        rows = np.array([i for i, name in enumerate(evidence.domains) if domain in ("", name)], dtype=np.intp)
        for level in levels:
            if level == "system" and len({evidence.systems[i] for i in rows} - {""}) < 2:
                continue
            is_long = level == "utterance" and most_clips_for_ktau is not None and len(rows) > most_clips_for_ktau
            metrics = [metric for metric in METRICS if not (is_long and metric == "KTAU")]
            blocks.append(_block(evidence, rows, level, domain, ratings, unit, num_resamples, metrics))
    if system_scores is not None and np.isfinite(system_scores).any():
        # The mean over a system's clips of what is the same for all of them is that: all clips count, rated or not.
        published = replace(evidence, targets=system_scores)
        block = _block(published, np.arange(len(evidence.ids)), "system", "", None, unit, num_resamples)
        blocks.append(block._replace(level="system_mos"))
    return blocks


def _block(
    evidence: SharedClips,
    rows: NDArray[np.intp],
    level: Level,
    domain: str,
    ratings: ListenerRatings | None,
    unit: Unit | None,
    num_resamples: int,
    metrics: Sequence[str] = METRICS,
) -> ComparisonTable:
    systems, targets_NA = [evidence.systems[i] for i in rows], evidence.targets[rows]
    texts = [evidence.prompts[i] for i in rows]
    drawn = [
        _replicates(
            variant.scores[:, rows], targets_NA, systems, texts, level, unit, num_resamples, evidence.axes, metrics
        )
        for variant in evidence.variants
    ]
    columns = list(drawn[0])
    by_column = {column: compare_column([of[column] for of in drawn], column[1]) for column in columns}
    return ComparisonTable(
        level,
        domain,
        {axis: _count(targets_NA[:, a], systems, level) for a, axis in enumerate(evidence.axes)},
        columns,
        [{column: by_column[column][v] for column in columns} for v in range(len(drawn))],
        _beside(evidence.axes, systems, targets_NA, None if ratings is None else ratings[rows], level),
    )


def _count(targets: Array, systems: Sequence[str], level: Level) -> int:
    rated = np.flatnonzero(np.isfinite(targets)).tolist()
    return len(rated) if level == "utterance" else len({systems[i] for i in rated} - {""})


def _replicates(
    scores_KNA: Array,
    targets_NA: Array,
    systems: Sequence[str],
    prompts: Sequence[str],
    level: Level,
    unit: Unit | None,
    num_resamples: int,
    axes: Sequence[str],
    metrics: Sequence[str],
) -> dict[Column, Replicates]:
    """Resample all seeds and axes of a variant at once; also their mean over the axes, where there are several."""
    num_seeds, num_clips, num_axes = scores_KNA.shape
    predictions = scores_KNA.transpose(1, 0, 2).reshape(num_clips, -1)
    targets = np.tile(targets_NA, (1, num_seeds))
    drawn = replicate(
        predictions, targets, systems, prompts, level=level, unit=unit, metrics=metrics, num_resamples=num_resamples
    )
    per_axis = {
        metric: [Replicates(*(values[a::num_axes] for values in of)) for a in range(num_axes)]
        for metric, of in drawn.items()
    }
    found = {(axis, metric): per_axis[metric][a] for a, axis in enumerate(axes) for metric in metrics}
    if num_axes >= MANY_AXES:
        rated = np.flatnonzero(np.isfinite(targets_NA).any(axis=0)).tolist() or range(num_axes)
        for metric in metrics:
            drawn_axes = [per_axis[metric][a] for a in rated]
            found[MEAN, metric] = Replicates(*(np.mean(parts, axis=0) for parts in zip(*drawn_axes, strict=True)))
    return found


def compare_column(drawn: Sequence[Replicates], metric: str) -> list[ComparisonCell]:
    """Compute one column of the table.

    Args:
        drawn: Replicates of the seeds of each variant, from the same resamples; the first is the baseline.
        metric: The metric, which says what is better.
    """
    sign = 1 if higher_is_better(metric) else -1
    values = [float(of.estimate.mean()) for of in drawn]
    ranked = [sign * value if math.isfinite(value) else -math.inf for value in values]
    best = int(np.argmax(ranked))
    against_first = _against(drawn, 0, metric)
    against_best = against_first if best == 0 else _against(drawn, best, metric)
    return [
        ComparisonCell(
            value=values[v],
            deviation=float(of.estimate.std(ddof=1)) if len(of.estimate) > 1 else math.nan,
            num_seeds=len(of.estimate),
            interval=interval(over_seeds(of)),
            difference=against_first[v][0] if v in against_first else None,
            p_adjusted=against_first[v][1] if v in against_first else math.nan,
            is_best=v == best and math.isfinite(values[v]),
            is_tied=len(drawn) > 1 and _is_tied(v, best, values, against_best),
        )
        for v, of in enumerate(drawn)
    ]


def _is_tied(v: int, best: int, values: Sequence[float], against: Mapping[int, tuple[Difference, float]]) -> bool:
    """Tell whether a variant cannot be told from the best; where there is no p-value it cannot either."""
    return v == best or (math.isfinite(values[v]) and not differs(against[v][1]))


def _against(drawn: Sequence[Replicates], reference: int, metric: str) -> Mapping[int, tuple[Difference, float]]:
    """Compare every variant with one of them; p-values are corrected over these comparisons."""
    found = {v: compare(of, drawn[reference], metric) for v, of in enumerate(drawn) if v != reference}
    adjusted = holm([difference.p_value for difference in found.values()])
    return {v: (found[v], p) for v, p in zip(found, adjusted, strict=True)}


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
        rows.append((CEILING, f"what a predictor without error can be expected to reach{said}", highest))
        rows.append(("Half the listeners", "against the other half, expected", halves))
    if level == "utterance" and len(set(systems) - {""}) > 1:
        alone = {axis: system_only(systems, targets_NA[:, a]) for a, axis in enumerate(axes)}
        numbers = {(axis, metric): of[metric] for axis, of in alone.items() for metric in METRICS}
        rows.append((SYSTEM_ONLY, "predicts each system's true mean", numbers))
    return rows


def behind_system_only(block: ComparisonTable) -> list[str]:
    """Say per axis where no variant is better than knowing the system alone, in LCC or in MSE.

    Args:
        block: The table of utterances; one of another level gives nothing.
    """
    alone = next((numbers for name, _, numbers in block.beside if name == SYSTEM_ONLY), {})
    who = "this model" if len(block.rows) == 1 else "the best variant"
    found = []
    for axis in block.n:
        columns = [(axis, metric) for metric in ("LCC", "MSE") if (axis, metric) in block.columns]
        own = {column[1]: _best([row[column].value for row in block.rows], column[1]) for column in columns}
        found.append(behind_system(axis, own, {m: alone.get((axis, m), math.nan) for m in own}, who))
    return [said for said in found if said]


def _best(values: Sequence[float], metric: str) -> float:
    known = [value for value in values if math.isfinite(value)]
    return (max if higher_is_better(metric) else min)(known) if known else math.nan
