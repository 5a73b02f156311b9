"""Plans of a test: what a pilot, or assumptions, say of the clips, systems, listeners and seeds that it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics import planning
from lightning_aqa.metrics.bootstrap import Level, Replicates, replicate
from lightning_aqa.metrics.ceilings import ceiling
from lightning_aqa.metrics.correlation import rows_of_systems, system_means
from lightning_aqa.metrics.levels import MEAN
from lightning_aqa.metrics.resampling import units_of
from lightning_aqa.results.clips import read_listeners
from lightning_aqa.results.runs import choose_split, find_runs
from lightning_aqa.results.variants import SharedClips, collect
from lightning_aqa.utils.records import write_records
from lightning_aqa.utils.text import did_you_mean

Array = NDArray[np.float64]
PlanMetric = Literal["MSE", "LCC", "SRCC", "KTAU"]
PlanUnit = Literal["clip", "system", "prompt"]
CORRELATIONS = ("LCC", "SRCC")
"""Metrics of which a formula says how they vary."""
LISTENERS = (1, 2, 5, 10, 20, 40)
SEEDS = (3, 5, 10)


class Pilot(NamedTuple):
    """Content of a plan: how a difference of two variants varies; NaN is not known.

    Args:
        metric: The metric.
        is_system: Whether it is of systems.
        unit: What is counted: clip, system or prompt.
        size: Units of the test that is planned, or of the pilot.
        num_seeds: Seeds per variant of the same.
        value: The metric, mean over variants.
        correlation: Between the scores of two variants.
        deviation: Standard deviation of the paired difference per unit.
        seeds_vary: Standard deviation of the metric over seeds.
        reliability: Of the mean ratings.
        listeners: Listeners per clip that they are of.
        remarks: Where all this comes from, and what cannot be told.
    """

    metric: str
    is_system: bool
    unit: str
    size: float
    num_seeds: int
    value: float
    correlation: float
    deviation: float
    seeds_vary: float
    reliability: float
    listeners: float
    remarks: tuple[str, ...] = ()

    @property
    def is_rank(self) -> bool:
        """Whether the metric is a correlation of ranks."""
        return self.metric == "SRCC"

    def smallest(self, num_units: float, num_seeds: float, power: float) -> float:
        """Return the smallest difference that so many units and seeds can show."""
        of_units = planning.smallest_by_units(self.deviation, num_units, power)
        return math.hypot(of_units, self.of_seeds(num_seeds, power))

    def of_seeds(self, num_seeds: float, power: float) -> float:
        """Return the smallest difference that so many seeds can show on any number of units."""
        return 0.0 if math.isinf(num_seeds) else planning.smallest_by_seeds(self.seeds_vary, num_seeds, power)

    def units(self, difference: float, num_seeds: float, power: float) -> float:
        """Return how many units it takes to show a difference with so many seeds."""
        vary = 0.0 if math.isinf(num_seeds) else self.seeds_vary
        return planning.units_needed(difference, self.deviation, power, num_seeds=num_seeds, seeds_vary=vary)

    @property
    def has_formula(self) -> bool:
        """Whether a formula says how wide the interval of one metric is: of a correlation over what it is of."""
        return self.metric in CORRELATIONS and self.unit == ("system" if self.is_system else "clip")

    @property
    def seed_counts(self) -> list[float]:
        """Numbers of seeds to plan for; endless ones last, and alone where nobody knows how runs vary."""
        own = [self.num_seeds] if self.num_seeds > 1 else []
        return [*sorted({*SEEDS, *own} if math.isfinite(self.seeds_vary) else {}), math.inf]


def from_runs(
    paths: Sequence[str],
    metric: PlanMetric,
    level: Level,
    *,
    unit: PlanUnit | None = None,
    axis: str | None = None,
    split: str | None = None,
    correlation: float | None = None,
) -> Pilot:
    """Learn from pilots: run folders with predictions.csv, and ratings.csv where there is one.

    Args:
        paths: Run folders, and folders of them; runs that differ in seeds alone are one variant.
        metric: The metric.
        level: ``utterance`` or ``system``.
        unit: What a difference varies over; None is clips at utterance and systems at system level.
        axis: Name of the axis; None is the mean over all.
        split: The split; None is test, else dev.
        correlation: Between two predictors like the pilot, where there is one variant alone; None is .9.

    Raises:
        ValueError: If the runs, the axis or the unit are wrong, or the pilot says nothing of the metric.
    """
    runs, _ = find_runs(paths)
    evidence = collect(runs, choose_split(runs, split))
    chosen = _axes(evidence, axis)
    counted = unit or ("clip" if level == "utterance" else "system")
    drawn = [_replicates(evidence, v, chosen, metric, level, counted) for v in range(len(evidence.variants))]
    size = _num_units(evidence, chosen, level, counted)
    several = [of.estimate for of in drawn if len(of.estimate) > 1]
    value = float(np.mean([of.estimate.mean() for of in drawn]))
    found = Pilot(
        metric, level == "system", counted, size, max(len(of.estimate) for of in drawn), value,
        correlation=math.nan,
        deviation=math.nan,
        seeds_vary=float(np.sqrt(np.mean([of.var(ddof=1) for of in several]))) if several else math.nan,
        reliability=math.nan,
        listeners=math.nan,
        remarks=(_source(evidence, size, counted, several),),
    )  # fmt: skip
    found = _with_deviation(found, evidence, chosen, drawn, correlation)
    ratings = read_listeners(runs, evidence.split, evidence.ids, evidence.axes)
    return found if ratings is None else _with_listeners(found, evidence, chosen, ratings)


def _axes(evidence: SharedClips, axis: str | None) -> list[int]:
    """Return the positions of the axes to average over."""
    if axis is None or axis == MEAN:
        return np.flatnonzero(np.isfinite(evidence.targets).any(axis=0)).tolist()
    if axis not in evidence.axes:
        names = ", ".join(evidence.axes)
        raise ValueError(
            f"--axis={axis}: the runs have no such axis; they have {names}.{did_you_mean(axis, evidence.axes)}"
        )
    return [list(evidence.axes).index(axis)]


def _replicates(
    evidence: SharedClips, v: int, axes: Sequence[int], metric: str, level: Level, unit: PlanUnit
) -> Replicates:
    """Leave out units of one variant; one column per seed, the mean over the axes."""
    scores_KNA = evidence.variants[v].scores[:, :, axes]
    num_seeds, num_clips, num_axes = scores_KNA.shape
    columns = replicate(
        scores_KNA.transpose(1, 0, 2).reshape(num_clips, -1), np.tile(evidence.targets[:, axes], (1, num_seeds)),
        evidence.systems, evidence.prompts, level=level, unit=unit, metrics=[metric], num_resamples=0,
    )[metric]  # fmt: skip
    return Replicates(*(values.reshape(num_seeds, num_axes, *values.shape[1:]).mean(1) for values in columns))


def _num_units(evidence: SharedClips, axes: Sequence[int], level: Level, unit: PlanUnit) -> int:
    rated = np.isfinite(evidence.targets[:, axes]).any(axis=1)
    if level == "system":
        rated &= np.array([bool(name) for name in evidence.systems])
    return len(set(units_of(unit, evidence.systems, evidence.prompts).ways[0][rated].tolist()))


def _source(evidence: SharedClips, size: int, unit: str, several: Sequence[Array]) -> str:
    names = [variant.name for variant in evidence.variants]
    who = names[0] if len(names) == 1 else f"{len(names)} variants"
    seeds = f", {max(map(len, several))} seeds" if several else ", one seed"
    return f"Pilot: {who}{seeds}, {many(size, unit)}, split {evidence.split}."


def many(count: float, unit: str) -> str:
    """Write a number of units, such as ``1 200 clips``."""
    return f"{count:,.0f} {unit}{'' if count == 1 else 's'}".replace(",", " ")


def _with_deviation(
    found: Pilot, evidence: SharedClips, axes: Sequence[int], drawn: Sequence[Replicates], correlation: float | None
) -> Pilot:
    """Add how a difference varies: over all pairs of variants the median, or for one variant by an assumption."""
    if found.size < planning.FEWEST_UNITS:
        here = many(found.size, found.unit)
        few = f"{here}: too few to tell how a difference varies; {planning.FEWEST_UNITS} at least."
        return found._replace(value=math.nan, remarks=(*found.remarks, few))
    means, size = [of.mean() for of in drawn], int(found.size)
    if len(means) == 1:
        return _alone(found, planning.deviation_of_difference(means[0], size), correlation)
    found_all = [planning.deviation_of_difference(a.minus(b), size) for a, b in combinations(means, 2)]
    deviations = [deviation for deviation in found_all if math.isfinite(deviation)]
    deviation = _checked(float(np.median(deviations)) if deviations else math.nan, found)
    between = _correlation_between(found, evidence, axes)
    pairs = f" ({min(deviations):.2g} to {max(deviations):.2g} in {len(deviations)} pairs)"
    spread = pairs if len(deviations) > 1 else ""
    told = (
        f"A difference varies by {deviation:.2g}{spread} / root of the number of {found.unit}s, as scores correlate at "
        f"{between:.3f}; variants less alike take more."
    )
    return found._replace(deviation=deviation, correlation=between, remarks=(*found.remarks, told, *_doubt(found)))


def _checked(deviation: float, found: Pilot) -> float:
    """Refuse a pilot of which nothing is known, or in which nothing varies."""
    if deviation > 0:
        return deviation
    raise ValueError(
        f"the {found.metric} of this pilot is undefined, or the same whichever {found.unit} is left out; "
        f"give one with more {found.unit}s, or with other variants."
    )


def _alone(found: Pilot, deviation: float, correlation: float | None) -> Pilot:
    """Make of how one metric varies how a difference would, between predictors that correlate as is assumed."""
    if found.metric not in CORRELATIONS:
        raise ValueError(
            f"--metric={found.metric}: give runs of two variants; of one run alone only SRCC and LCC can be planned."
        )
    deviation = _checked(deviation if abs(found.value) < 1 else math.nan, found)
    between = 0.9 if correlation is None else correlation
    ratio = _assumed(found.value, between, found) / _assumed_alone(found.value, is_rank=found.is_rank)
    told = f"Assumed: two predictors of {found.metric} {found.value:.3f} whose scores correlate at {between:g}"
    remarks = (*found.remarks, f"{told} (--correlation).", *_doubt(found))
    return found._replace(deviation=deviation * ratio, correlation=between, remarks=remarks)


def _doubt(found: Pilot) -> list[str]:
    """Say how far off a plan from a small pilot may be."""
    factor = planning.factor_of_doubt(int(found.size))
    of = f"{found.unit}s"
    told = (
        f"Known from {found.size:g} {of}, numbers of {of} are right within a factor of {factor:.2g} in 9 of 10 pilots."
    )
    return [told] if factor > 1.2 else []


def _assumed(value: float, correlation: float, found: Pilot) -> float:
    deviation = planning.assumed_deviation(value, correlation, is_rank=found.is_rank)
    if math.isnan(deviation):
        told = f"two predictors of {found.metric} {value:.3g} correlate between {2 * value**2 - 1:.3g} and 1"
        raise ValueError(f"--correlation={correlation:g}: {told}; give one in between.")
    return deviation


def _assumed_alone(value: float, *, is_rank: bool) -> float:
    return (1 - value**2) * math.sqrt(1 + value**2 / 2 if is_rank else 1)


def _correlation_between(found: Pilot, evidence: SharedClips, axes: Sequence[int]) -> float:
    """Return the mean correlation between runs of two variants, on the axes one by one."""
    from scipy.stats import rankdata

    owner = np.concatenate([np.full(len(of.scores), v) for v, of in enumerate(evidence.variants)])
    others, values = owner[:, None] != owner, []
    for a in axes:
        rated = np.isfinite(evidence.targets[:, a])
        scores_NC = np.concatenate([of.scores[:, rated, a] for of in evidence.variants]).T
        if found.is_system:
            rows = rows_of_systems([name for name, keep in zip(evidence.systems, rated, strict=True) if keep])
            scores_NC = system_means(scores_NC, np.full(scores_NC.shape, True), rows)
        if (np.ptp(scores_NC, axis=0) > 0).all():
            ranked = rankdata(scores_NC, axis=0) if found.is_rank else scores_NC
            values.append(float(np.asarray(np.corrcoef(ranked.T))[others].mean()))
    return float(np.mean(values)) if values else math.nan


def _with_listeners(found: Pilot, evidence: SharedClips, axes: Sequence[int], ratings: Array) -> Pilot:
    of_axes = [ceiling(ratings[:, a], evidence.systems if found.is_system else None) for a in axes]
    reliability, listeners = (
        float(np.mean([getattr(of, name) for of in of_axes])) for name in ("reliability", "listeners")
    )
    return found._replace(reliability=reliability, listeners=listeners)


def from_assumptions(srcc: float, correlation: float, level: Level, unit: PlanUnit | None = None) -> Pilot:
    """Plan without a pilot, for normal scores: two predictors of one SRCC whose scores correlate.

    Args:
        srcc: SRCC of either predictor with the ratings.
        correlation: SRCC of the two.
        level: ``utterance`` or ``system``.
        unit: What is counted; None is clips at utterance and systems at system level.

    Raises:
        ValueError: If no scores can have such correlations.

    Example:
        >>> from_assumptions(0.85, 0.9, "utterance").units(0.05, math.inf, 0.8)
        209
    """
    counted = unit or ("clip" if level == "utterance" else "system")
    told = f"Assumed: two predictors of SRCC {srcc:g} whose scores correlate at {correlation:g}; normal scores."
    nan = math.nan
    found = Pilot("SRCC", level == "system", counted, nan, 1, srcc, correlation, nan, nan, nan, nan, (told,))
    return found._replace(deviation=_assumed(srcc, correlation, found))


def listener_factors(found: Pilot) -> list[tuple[int, float]]:
    """Return, per number of listeners, how many times the units it takes; empty where that is not known."""
    if found.metric not in CORRELATIONS or not found.reliability >= found.value**2:
        return []
    factors = [
        (k, planning.listeners_factor(
            found.value, found.correlation, found.reliability, k / found.listeners, is_rank=found.is_rank
        ))
        for k in LISTENERS
    ]  # fmt: skip
    return [(k, factor) for k, factor in factors if math.isfinite(factor)]


def write_plan(path: Path, found: Pilot, differences: Sequence[float], power: float) -> None:
    """Write the curve, and on it the numbers of the table: the smallest difference by units and seeds.

    Seeds are empty where there are so many that they do not matter; units are empty where no number is enough.
    """
    rows = []
    for seeds in found.seed_counts:
        shown = "" if math.isinf(seeds) else int(seeds)
        rows += [[shown, n, found.smallest(n, seeds, power)] for n in sizes_of(found, differences, power)]
        for difference in differences:
            units = found.units(difference, seeds, power)
            rows.append([shown, "" if not math.isfinite(units) else units, difference])
    write_records(path, ("seeds", f"{found.unit}s", f"difference of {found.metric}"), rows)


def sizes_of(found: Pilot, differences: Sequence[float], power: float) -> list[int]:
    """Return numbers of units that the curve is drawn over, evenly on a log scale."""
    if math.isnan(found.deviation):
        return []
    most = [found.units(difference, math.inf, power) for difference in differences]
    wanted = [size for size in (*most, found.size) if math.isfinite(size)]
    last = min(max([10 * planning.FEWEST_UNITS, *wanted]) * 3, planning.MOST)
    return sorted(set(np.geomspace(planning.FEWEST_UNITS, last, 60).round().astype(int).tolist()))


def unknowns(found: Pilot) -> Iterator[str]:
    """Yield what cannot be told, and what would tell it."""
    if math.isnan(found.seeds_vary):
        yield "One seed per variant does not tell how runs vary: give runs of more seeds, or --seed_deviation."
    if found.metric in CORRELATIONS and found.reliability > 0 and found.value**2 > found.reliability:
        highest = (
            f"{math.sqrt(found.reliability):.3f}, the highest that ratings of reliability {found.reliability:.3g} allow"
        )
        yield f"How many listeners it takes is not told: {found.metric} {found.value:.3f} is above {highest}."
    elif found.metric in CORRELATIONS and not found.reliability > 0:
        yield "How many listeners it takes is not known: give runs with ratings.csv, or --reliability and --listeners."
