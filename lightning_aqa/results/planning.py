"""Plans of a test: what a pilot, or assumptions, say of the clips, systems, listeners and seeds that it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics import planning
from lightning_aqa.metrics.jackknife import Level
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.utils.records import write_records

Array = NDArray[np.float64]
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


def many(count: float, unit: str) -> str:
    """Write a number of units, such as ``1 200 clips``."""
    return f"{count:,.0f} {unit}{'' if count == 1 else 's'}".replace(",", " ")


def assumed_deviation(value: float, correlation: float, found: Pilot) -> float:
    """Return how a difference varies by an assumption.

    Raises:
        ValueError: If no scores can have such correlations.
    """
    deviation = planning.assumed_deviation(value, correlation, is_rank=found.is_rank)
    if not deviation > 0:
        told = f"two predictors of {found.metric} {value:.3g} correlate between {2 * value**2 - 1:.3g} and 1"
        raise ValueError(f"--correlation={correlation:g}: {told}; give one in between.")
    return deviation


def from_assumptions(srcc: float, correlation: float, level: Level, unit: Unit | None = None) -> Pilot:
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
    return found._replace(deviation=assumed_deviation(srcc, correlation, found))


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
