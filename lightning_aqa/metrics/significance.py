"""Is one variant better than another, over seeds and clips: paired jackknife, simultaneous over all comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.few import order_slack
from lightning_aqa.metrics.jackknife import RANKS, Replicates
from lightning_aqa.metrics.levels import higher_is_better
from lightning_aqa.metrics.power import SIGNIFICANCE, smallest_difference
from lightning_aqa.metrics.uncertainty import (
    NO_INTERVAL,
    Interval,
    Uncertainty,
    from_scale,
    is_in_order,
    spread,
    spread_of,
    uncertainty,
    why_no_interval,
)

Array = NDArray[np.float64]
Verdict = Literal["better", "worse", "equal", "undecided", ""]
NUM_DRAWS = 10_000
_TURNED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}


class Difference(NamedTuple):
    """One variant against another.

    Args:
        value: Mean over seeds of the first minus that of the second, in the metric's unit.
        interval: Of ``value``, simultaneous with those of the other comparisons: it holds zero iff p_adjusted >= .05.
        p_value: Two-sided, of no difference, as if nothing else had been compared.
        p_adjusted: The same over all comparisons that were made.
        smallest: The smallest true difference that the test would show in 80 % of cases.
        verdict: Of the first; empty where nothing can be said: too few units, or one seed.
    """

    value: float
    interval: Interval
    p_value: float
    p_adjusted: float
    smallest: float
    verdict: Verdict

    def turned(self) -> Difference:
        """Return the second against the first."""
        ends = Interval(-self.interval.high, -self.interval.low)
        return self._replace(value=-self.value, interval=ends, verdict=_TURNED.get(self.verdict, self.verdict))


class Contestant(NamedTuple):
    """A variant in a comparison.

    Args:
        runs: Its runs on the same samples as all others, one column per seed.
        is_fixed: Whether it was not trained here, so that there are no other seeds of it.
    """

    runs: Replicates
    is_fixed: bool = False

    @property
    def has_seeds(self) -> bool:
        """Whether anything is known of other seeds."""
        return self.is_fixed or len(self.runs.estimate) > 1


def compare(
    contestants: Sequence[Contestant],
    pairs: Sequence[tuple[int, int]],
    *,
    folds: int = 0,
    equivalence: float | None = None,
    num_draws: int = NUM_DRAWS,
) -> list[Difference]:
    r"""Compare pairs of variants, all at once.

    The difference is taken on Fisher's z (of an MSE on the logarithm), where the errors of good and of worse variants
    are alike, with Student's t over units, paired, and over seeds, which are independent. The adjusted p-value is the
    chance that the largest of all these t values is as large where nothing differs (max-T): the scores of the units
    are multiplied by normal draws, which keeps how the comparisons depend on each other. The smallest difference is
    that of z times :math:`(r_1 - r_2) / (z_1 - z_2)`; the interval moves both z to where the difference of the metrics
    changes most, since an error of a poor variant's z is one of more in its metric.

    Two variants are equal where the interval of twice the error rate lies within the margin (two one-sided tests).

    Args:
        contestants: The variants.
        pairs: Positions of the first and the second of each pair.
        folds: Folds of a cross-validation that the predictions come from; 0 for others.
        equivalence: Largest difference that counts as none, in the metric's unit; None asks nothing.
        num_draws: Draws for the adjusted p-value, which is never below 1 / (num_draws + 1).

    Returns:
        One difference per pair. Nothing but its value is known where units are too few, or where a variant that was
        trained has one seed, of which the interval is over units alone.

    Reference:
        P. Westfall and S. Young, "Resampling-based multiple testing", 1993. D. Schuirmann, "A comparison of the two
        one-sided tests procedure and the power approach for assessing the equivalence of average bioavailability",
        J. of Pharmacokinetics and Biopharmaceutics 15, 1987.
    """
    chosen = [v for v in sorted({v for pair in pairs for v in pair}) if not why_no_interval(contestants[v].runs)]
    known = {v: uncertainty(contestants[v].runs, folds) for v in chosen}
    metric = contestants[0].runs.metric
    tests = {(i, j): _test(known[i], known[j], metric) for i, j in pairs if i in known and j in known}
    largest = _Largest(np.sort(_largest(known, tests, num_draws)))
    return [_difference(contestants, pair, tests.get(pair), largest, equivalence) for pair in pairs]


class _Test(NamedTuple):
    """Difference of two variants on the scale, its standard error there, degrees of freedom, and slope to the unit."""

    first: Uncertainty
    second: Uncertainty
    value: float
    error: float
    freedom: float
    slope: float

    def p_value(self) -> float:
        from scipy.special import stdtr

        if self.value == 0 or not self.error > 0:
            return float(self.value == 0)
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))

    def factor(self, critical: float) -> float:
        """Return the t value that is as rare as this z value."""
        from scipy.special import ndtr, stdtrit

        return float(-stdtrit(self.freedom, float(ndtr(-critical))))

    @property
    def is_same(self) -> bool:
        """Whether no unit tells one variant from the other."""
        return bool((np.abs(self.first.scores - self.second.scores) < 1e-9).all())

    def ends(self, value: float, factor: float, metric: str) -> Interval:
        """Return the interval of a difference in the metric's unit: so many standard errors either way.

        Both points are moved on the scale to where the difference changes most, each by its own slope there. Zero is
        inside iff the test on the scale says so.
        """
        given = (self.first, self.second)
        points = np.array([of.point for of in given])
        slopes = np.exp(points) if metric == "MSE" else 1 / np.cosh(points) ** 2
        gradient = slopes * (1, -1)
        common = np.array([[float(a.scores @ b.scores) for a in given] for b in given])
        covariance = common + np.diag([of.seeds for of in given])
        variance = float(gradient @ covariance @ gradient)
        step = factor * (covariance @ gradient) / math.sqrt(variance) if variance > 0 else np.zeros(2)

        def moved(to: NDArray[np.float64]) -> float:
            first, second = (from_scale(float(point), metric) for point in to)
            return first - second

        low, high = (value + moved(points + sign * step) - moved(points) for sign in (-1, 1))
        half = factor * self.error * self.slope if self.error > 0 else 0.0
        if value > 0 and (low > 0) != (value > half):
            low = value - half
        if value < 0 and (high < 0) != (-value > half):
            high = value + half
        return Interval(low, high)


class _Largest(NamedTuple):
    """Draws of the largest absolute z value where nothing differs, sorted."""

    draws: Array

    def critical(self, significance: float) -> float:
        """Return the value that the largest passes in so many cases."""
        return float(self.draws[min(math.ceil((1 - significance) * len(self.draws)), len(self.draws) - 1)])

    def p_value(self, reached: float) -> float:
        """Return the share of draws that are as large, one more counted, so that it is never zero."""
        return float(1 + len(self.draws) - np.searchsorted(self.draws, reached)) / (1 + len(self.draws))


def _test(first: Uncertainty, second: Uncertainty, metric: str) -> _Test:
    value = first.point - second.point
    error, freedom = spread_of(first.scores - second.scores, first, second)
    slope = first.value if metric == "MSE" else 1 - first.value**2
    if abs(value) > 1e-9:
        slope = abs((first.value - second.value) / value)
    return _Test(first, second, value, error, freedom, slope)


def _largest(known: dict[int, Uncertainty], tests: dict[tuple[int, int], _Test], num_draws: int) -> Array:
    """Draw the largest absolute z value of all tests where nothing differs, shape ``(num_draws,)``."""
    largest = np.zeros(num_draws)
    if not tests:
        return largest
    scores = {v: parts.scores for v, parts in known.items()}
    mean = np.mean(list(scores.values()), axis=0)
    own = {v: float(((of - mean) ** 2).sum()) for v, of in scores.items()}
    share = _independent_share(np.array([of - mean for of in scores.values()]))
    drawn: dict[int, Array] = {}
    for v, parts in known.items():
        over_units, alone = _normals(num_draws, len(mean), v)
        drawn[v] = math.sqrt(1 - share) * (over_units @ scores[v]) + math.sqrt(share * own[v] + parts.seeds) * alone
    for i, j in tests:
        together = float(((scores[i] - scores[j]) ** 2).sum())
        apart = own[i] + own[j]
        variance = (1 - share) * together + share * apart + known[i].seeds + known[j].seeds
        if variance > 0:
            np.maximum(largest, np.abs(drawn[i] - drawn[j]) / math.sqrt(variance), out=largest)
    return largest


def _independent_share(scores_VJ: Array) -> float:
    """Return the share by which what variants have in common is shrunk: it is known from few units only.

    Correlations between many variants over few units look larger than they are, which would make of many comparisons
    few. The optimal shrinkage of covariances towards none (Schäfer and Strimmer, "A shrinkage approach to large-scale
    covariance matrix estimation", 2005).
    """
    num_units = scores_VJ.shape[1]
    products = scores_VJ @ scores_VJ.T
    squares = (scores_VJ**2) @ (scores_VJ**2).T
    errors = (num_units * squares - products**2) / max(num_units - 1, 1)
    others = ~np.eye(len(scores_VJ), dtype=np.bool_)
    total = float((products[others] ** 2).sum())
    return min(max(float(errors[others].sum()) / total, 0.0), 1.0) if total > 0 else 0.0


@lru_cache(maxsize=2)
def _unit_normals(num_draws: int, num_groups: int) -> Array:
    return np.random.default_rng(0).standard_normal((num_draws, num_groups))


def _normals(num_draws: int, num_groups: int, v: int) -> tuple[Array, Array]:
    """Return draws for the units, the same for every variant, and for the seeds of one."""
    return _unit_normals(num_draws, num_groups), np.random.default_rng([1, v]).standard_normal(num_draws)


def _difference(
    contestants: Sequence[Contestant],
    pair: tuple[int, int],
    test: _Test | None,
    largest: _Largest,
    equivalence: float | None,
) -> Difference:
    first, second = (contestants[v] for v in pair)
    value = float(first.runs.estimate.mean() - second.runs.estimate.mean())
    if test is None:
        return Difference(value, NO_INTERVAL, math.nan, math.nan, math.nan, "")
    from scipy.special import ndtri

    error = test.error * test.slope if test.error > 0 else 0.0
    factor = test.factor(largest.critical(SIGNIFICANCE))
    least = _least(first.runs, second.runs, is_same=test.is_same)
    ends = _bounded(test.ends(value, factor, first.runs.metric), value, least, first.runs.metric)
    if not (first.has_seeds and second.has_seeds):
        return Difference(value, ends, math.nan, math.nan, math.nan, "")
    p_value = test.p_value()
    p_adjusted = max(p_value, largest.p_value(-float(ndtri(p_value / 2)) if p_value > 0 else math.inf))
    smallest = max(smallest_difference(error, test.freedom, bound=factor), least)
    narrower = test.ends(value, test.factor(largest.critical(2 * SIGNIFICANCE)), first.runs.metric)
    within = max(map(abs, _bounded(narrower, value, least, first.runs.metric)))
    verdict = _verdict(value, p_adjusted, first.runs.metric, within, equivalence)
    return Difference(value, ends, p_value, p_adjusted, smallest, verdict)


def _least(first: Replicates, second: Replicates, *, is_same: bool) -> float:
    """Return how far apart two may be that no unit tells from each other: ranks of few hide what differs."""
    if first.metric not in RANKS or not (is_same or (is_in_order(first) and is_in_order(second))):
        return 0.0
    return order_slack(int(min(first.fewest.min(), second.fewest.min())), first.metric)


def error_over_units(first: Replicates, second: Replicates | None = None) -> float:
    """Return the standard error of a metric, or of a paired difference, over units alone, in the metric's unit.

    Args:
        first: Runs of one variant, of which the mean counts.
        second: Runs of the other on the same units; None for the metric of the first.

    Returns:
        NaN where ``why_no_interval`` gives a reason.
    """
    given = [of.mean() for of in (first, second) if of is not None]
    if any(why_no_interval(of) for of in given):
        return math.nan
    known = [uncertainty(of) for of in given]
    if second is None:
        return spread(known[0])[0] * (known[0].value if first.metric == "MSE" else 1 - known[0].value ** 2)
    test = _test(known[0], known[1], first.metric)
    return test.error * test.slope


def _bounded(ends: Interval, value: float, least: float, metric: str) -> Interval:
    """Widen an interval to so much either way, and keep it to what a difference can be."""
    low, high = min(ends.low, value - least), max(ends.high, value + least)
    return Interval(low, high) if metric == "MSE" else Interval(max(low, -2.0), min(high, 2.0))


def _verdict(value: float, p_adjusted: float, metric: str, within: float, equivalence: float | None) -> Verdict:
    if equivalence is not None and within < equivalence:
        return "equal"
    if differs(p_adjusted):
        return "better" if (value > 0) == higher_is_better(metric) else "worse"
    return "undecided"


def differs(p_adjusted: float) -> bool:
    """Tell whether two variants differ: the adjusted p-value is below 5 %.

    This is the one rule of every table. A variant that does not differ from the best is not told apart from it, and an
    undefined p-value shows no difference.

    Example:
        >>> [differs(p) for p in (0.049, 0.05, math.nan)]
        [True, False, False]
    """
    return p_adjusted < SIGNIFICANCE
