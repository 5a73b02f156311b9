"""Pilots of a plan: what run folders say of how a difference varies, over clips or systems and over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics import planning
from lightning_aqa.metrics.ceilings import axis_ceilings
from lightning_aqa.metrics.correlation import rows_of_systems, system_means
from lightning_aqa.metrics.jackknife import Level, Replicates, mean_of, replicate
from lightning_aqa.metrics.levels import MEAN
from lightning_aqa.metrics.listeners import ListenerRatings
from lightning_aqa.metrics.resampling import Unit, units_of
from lightning_aqa.results.clips import read_listeners
from lightning_aqa.results.planning import CORRELATIONS, Pilot, assumed_deviation, many
from lightning_aqa.results.runs import choose_split, find_runs
from lightning_aqa.results.variants import SharedClips, collect
from lightning_aqa.utils.text import did_you_mean

Array = NDArray[np.float64]


def from_runs(
    paths: Sequence[str],
    metric: str,
    level: Level,
    *,
    unit: Unit | None = None,
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
    evidence: SharedClips, v: int, axes: Sequence[int], metric: str, level: Level, unit: Unit
) -> Replicates:
    """Leave out units of one variant; one column per seed, the mean over the axes."""
    scores_KNA = evidence.variants[v].scores[:, :, axes]
    num_seeds, num_clips, num_axes = scores_KNA.shape
    columns = replicate(
        scores_KNA.transpose(1, 0, 2).reshape(num_clips, -1), np.tile(evidence.targets[:, axes], (1, num_seeds)),
        evidence.systems, evidence.prompts, level=level, unit=unit, metrics=[metric],
    )[metric]  # fmt: skip
    return mean_of([columns.pick(slice(a, None, num_axes)) for a in range(num_axes)])


def _num_units(evidence: SharedClips, axes: Sequence[int], level: Level, unit: Unit) -> int:
    rated = np.isfinite(evidence.targets[:, axes]).any(axis=1)
    if level == "system":
        rated &= np.array([bool(name) for name in evidence.systems])
    return len(set(units_of(unit, evidence.systems, evidence.prompts).ways[0][rated].tolist()))


def _source(evidence: SharedClips, size: int, unit: str, several: Sequence[Array]) -> str:
    names = [variant.name for variant in evidence.variants]
    who = names[0] if len(names) == 1 else f"{len(names)} variants"
    seeds = f", {max(map(len, several))} seeds" if several else ", one seed"
    clips = "" if unit == "clip" or not size else f" of {len(evidence.ids) / size:.3g} clips"
    return f"Pilot: {who}{seeds}, {many(size, unit)}{clips}, split {evidence.split}."


def _with_deviation(
    found: Pilot, evidence: SharedClips, axes: Sequence[int], drawn: Sequence[Replicates], correlation: float | None
) -> Pilot:
    """Add how a difference varies: over all pairs of variants the median, or for one variant by an assumption."""
    if found.size < planning.FEWEST_UNITS:
        here = many(found.size, found.unit)
        few = f"{here}: too few to tell how a difference varies; {planning.FEWEST_UNITS} at least."
        return found._replace(value=math.nan, remarks=(*found.remarks, few))
    size = int(found.size)
    if len(drawn) == 1:
        return _alone(found, planning.deviation_per_unit(drawn[0], None, size), correlation)
    if correlation is not None:
        told = f"the pilot is of {len(drawn)} variants, which tell it themselves; leave it out"
        raise ValueError(f"--correlation={correlation:g}: {told}.")
    found_all = [planning.deviation_per_unit(a, b, size) for a, b in combinations(drawn, 2)]
    deviations = [deviation for deviation in found_all if math.isfinite(deviation)]
    deviation = _checked(float(np.median(deviations)) if deviations else math.nan, found)
    between = _correlation_between(found, evidence, axes)
    pairs = f" ({min(deviations):.2g} to {max(deviations):.2g} in {len(deviations)} pairs)"
    spread = pairs if len(deviations) > 1 else ""
    alike = f", as scores correlate at {between:.3f}" if math.isfinite(between) else ""
    told = (
        f"A difference varies by {deviation:.2g}{spread} / root of the number of {found.unit}s{alike}; variants less "
        "alike take more."
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
    ratio = assumed_deviation(found.value, between, found) / _assumed_alone(found.value, is_rank=found.is_rank)
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


def _with_listeners(found: Pilot, evidence: SharedClips, axes: Sequence[int], ratings: ListenerRatings) -> Pilot:
    level = "system" if found.is_system else "utterance"
    every = axis_ceilings(ratings, evidence.systems, evidence.axes, level)
    of_axes = [every[evidence.axes[a]] for a in axes]
    reliability, listeners = (
        float(np.mean([getattr(of, name) for of in of_axes])) for name in ("reliability", "listeners")
    )
    return found._replace(reliability=reliability, listeners=listeners)
