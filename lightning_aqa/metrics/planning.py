"""Size of a test: the smallest difference that one can show, and how many units and seeds a difference takes."""

from __future__ import annotations

import math
from bisect import bisect_left

from lightning_aqa.metrics.ceilings import spearman_brown
from lightning_aqa.metrics.few import FEWEST_FOR_INTERVAL
from lightning_aqa.metrics.jackknife import Replicates
from lightning_aqa.metrics.power import POWER, smallest_difference
from lightning_aqa.metrics.significance import error_over_units

FEWEST_UNITS, FEWEST_SEEDS = FEWEST_FOR_INTERVAL, 2
"""Below these a test can show nothing, however large the difference."""
MOST = 1_000_000
"""Units or seeds above which a plan is out of reach."""


def smallest_by_units(deviation: float, num_units: float, power: float = POWER) -> float:
    """Return the smallest difference that so many clips, or systems, can show when runs do not vary.

    Args:
        deviation: Standard deviation of the paired difference per unit, see ``deviation_of_difference``.
        num_units: Clips, systems or prompts.
        power: Chance to find it.

    Example:
        >>> round(smallest_by_units(0.23, 4009), 3)
        0.01
    """
    return smallest_difference(deviation / math.sqrt(num_units), num_units - 1, power)


def smallest_by_seeds(deviation: float, num_seeds: float, power: float = POWER) -> float:
    r"""Return the smallest difference of two means of so many runs that can be shown on endless clips.

    The standard error is :math:`s \sqrt{2 / K}`, known from 2 (K - 1) degrees of freedom.

    Args:
        deviation: Standard deviation s of the metric over seeds.
        num_seeds: Runs K of each of the two variants; infinite where runs do not vary.
        power: Chance to find it.

    Returns:
        NaN for one seed, from which nobody knows how runs vary.

    Example:
        >>> [round(smallest_by_seeds(0.005, k), 4) for k in (2, 3, 6)]
        [0.0283, 0.0154, 0.009]
    """
    return smallest_difference(deviation * math.sqrt(2 / num_seeds), 2 * (num_seeds - 1), power)


def units_needed(
    difference: float, deviation: float, power: float = POWER, *, num_seeds: float = math.inf, seeds_vary: float = 0.0
) -> float:
    r"""Return how many clips, or systems, it takes to show a difference.

    About :math:`(2.80\, s_1 / d)^2`. What seeds add to the standard error is taken from the difference first:
    :math:`d^2` becomes :math:`d^2 - d_K^2` with :math:`d_K` the smallest difference that K seeds can show.

    Args:
        difference: True difference d.
        deviation: Standard deviation :math:`s_1` of the paired difference per unit.
        power: Chance to find it.
        num_seeds: Runs per variant.
        seeds_vary: Standard deviation of the metric over seeds.

    Returns:
        At least 6; infinite where it is more than 1 000 000, or where so few seeds never show it.

    Example:
        >>> units_needed(0.01, 0.23), units_needed(0.01, 0.23, num_seeds=10, seeds_vary=0.005)
        (4154, 7402)
    """
    of_seeds = smallest_by_seeds(seeds_vary, num_seeds, power) if seeds_vary else 0.0
    if math.isnan(deviation) or math.isnan(of_seeds):
        return math.nan
    if of_seeds >= difference:
        return math.inf
    left = math.sqrt(difference**2 - of_seeds**2)
    sizes = range(FEWEST_UNITS, MOST + 1)
    found = bisect_left(sizes, True, key=lambda n: smallest_by_units(deviation, n, power) <= left)
    return sizes[found] if found < len(sizes) else math.inf


def seeds_needed(difference: float, deviation: float, power: float = POWER) -> float:
    r"""Return how many seeds per variant it takes to show a difference on endless clips.

    About :math:`2\,(2.80\, s / d)^2`; more where that is few, since the deviation is then hardly known.

    Args:
        difference: True difference d.
        deviation: Standard deviation s of the metric over seeds.
        power: Chance to find it.

    Returns:
        At least 2; infinite where it is more than 1 000 000.

    Example:
        >>> [seeds_needed(0.01, s) for s in (0.005, 0.01, 0.02)]
        [6, 17, 64]
    """
    if math.isnan(deviation):
        return math.nan
    counts = range(FEWEST_SEEDS, MOST + 1)
    found = bisect_left(counts, True, key=lambda k: smallest_by_seeds(deviation, k, power) <= difference)
    return counts[found] if found < len(counts) else math.inf


def deviation_per_unit(first: Replicates, second: Replicates | None, num_units: int) -> float:
    r"""Return :math:`s_1`, the standard deviation of a paired difference per unit.

    The standard error over units, see ``error_over_units``, times :math:`\sqrt{n}`.

    Args:
        first: Runs of one variant.
        second: Runs of the other on the same units; None for the metric of the first alone.
        num_units: Units n that the metric is over.

    Returns:
        NaN below six units, or where the metric is undefined without one of them.
    """
    return math.nan if num_units < FEWEST_UNITS else math.sqrt(num_units) * error_over_units(first, second)


def assumed_deviation(value: float, correlation: float, *, is_rank: bool = True) -> float:
    r"""Return :math:`s_1` of the difference of two correlations with the same ratings, for normal scores.

    .. math:: s_1^2 = 2 f \left[(1 - r^2)^2 - c\,(1 - 2 r^2) + \tfrac{1}{2} r^2 (1 - 2 r^2 - c^2)\right]

    with r the correlation of either predictor with the ratings, c that of the two predictors, and :math:`f = 1`
    for LCC, :math:`1 + r^2 / 2` for SRCC.

    Args:
        value: r.
        correlation: c, of the same kind as r.
        is_rank: Whether both are SRCC.

    Returns:
        NaN where no three scores can have such correlations.

    Example:
        >>> round(assumed_deviation(0.85, 0.9), 2), round(assumed_deviation(0.85, 1.0), 2)
        (0.26, 0.0)

    Reference:
        I. Olkin and M. Siotani's covariance of two correlations that share a variable, as in J. H. Steiger, "Tests for
        comparing elements of a correlation matrix", Psychological Bulletin 87, 1980; the factor of SRCC is that of
        ``units_for_interval``.
    """
    r2 = value**2
    if not (-1 < value < 1 and 2 * r2 - 1 <= correlation <= 1):
        return math.nan
    inside = (1 - r2) ** 2 - correlation * (1 - 2 * r2) + r2 / 2 * (1 - 2 * r2 - correlation**2)
    return math.sqrt(2 * (1 + r2 / 2 if is_rank else 1) * max(inside, 0.0))


def units_for_interval(value: float, width: float, *, is_rank: bool = True) -> float:
    r"""Return how many units give one correlation a 95 % interval of a width.

    :math:`n = 4 f (1 - r^2)^2 (1.96 / w)^2 + 3` with :math:`f = 1 + r^2 / 2` for SRCC and 1 for LCC.

    Args:
        value: The correlation r that is expected.
        width: Whole width w of the interval.
        is_rank: Whether it is SRCC.

    Returns:
        At least 6; infinite where it is more than 1 000 000.

    Example:
        >>> units_for_interval(0.85, 0.1)
        165

    Reference:
        D. G. Bonett and T. A. Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
        correlations", Psychometrika 65, 2000.
    """
    n = 4 * (1 + value**2 / 2 if is_rank else 1) * (1 - value**2) ** 2 * (1.96 / width) ** 2 + 3
    return math.inf if n > MOST else max(FEWEST_UNITS, math.ceil(n)) if math.isfinite(n) else math.nan


def listeners_factor(
    value: float, correlation: float, reliability: float, times: float, *, is_rank: bool = True
) -> float:
    r"""Return how many times the units it takes with ``times`` as many listeners per clip.

    With reliability R of the ratings and :math:`R' = \frac{m R}{1 + (m - 1) R}` of those by m times as many listeners,
    correlations with the ratings change by :math:`q = \sqrt{R' / R}`, and so does a difference of two. The units change
    by :math:`s_1^2(q r, c) / (q\, s_1(r, c))^2`: with fewer listeners the difference is smaller *and* varies more.

    Args:
        value: Correlation r of a predictor with the ratings.
        correlation: That of two predictors, c.
        reliability: R of the mean ratings at hand.
        times: m; infinite is what endless listeners would say.
        is_rank: Whether the correlations are SRCC.

    Example:
        >>> round(listeners_factor(0.7, 0.9, 0.8, 0.5), 2), listeners_factor(0.7, 0.9, 0.8, 1.0)
        (1.37, 1.0)
    """
    stepped = 1.0 if math.isinf(times) else spearman_brown(reliability, times)
    if not (0 < reliability <= 1 and stepped > 0):
        return math.nan
    q = math.sqrt(stepped / reliability)
    now, then = (assumed_deviation(r, correlation, is_rank=is_rank) for r in (value, q * value))
    return (then / (q * now)) ** 2 if now > 0 else math.nan


def factor_of_doubt(num_units: int) -> float:
    r"""Return within what factor, either way, a plan is right in 9 of 10 pilots with so many units.

    :math:`e^{7.5 / \sqrt{n}}`, found by simulation (``benchmarks/planning.py``): the standard deviation of a difference
    of correlations is itself known with a relative error of about :math:`1.9 / \sqrt{n}`.

    Example:
        >>> [round(factor_of_doubt(n), 1) for n in (12, 100, 1000)]
        [8.7, 2.1, 1.3]
    """
    return math.exp(7.5 / math.sqrt(num_units))
