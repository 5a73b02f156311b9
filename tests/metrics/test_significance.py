"""Variants against each other, over seeds and clips: tests against scipy's, and how often they raise a false alarm."""

import math

import numpy as np
import pytest
from scipy import stats

from lightning_aqa.metrics.jackknife import Replicates, replicate
from lightning_aqa.metrics.significance import Contestant, compare, differs
from lightning_aqa.metrics.uncertainty import interval


def _contestants(y_N, runs_of, metric="LCC", is_fixed=False, **how):
    return [
        Contestant(
            replicate(np.atleast_2d(runs).T, y_N[:, None], [""] * len(y_N), metrics=[metric], **how)[metric], is_fixed
        )
        for runs in runs_of
    ]


def _null(generator, n, count, num_seeds, metric="LCC", gain=0.0):
    """Return variants that err alike: a part in common, one of the variant, one of the run; the first by more."""
    y, common = generator.normal(size=(2, n))
    sizes = np.r_[1 + gain, np.ones(count - 1)]
    errors = [
        size * (0.3 * common + 0.4 * generator.normal(size=n) + 0.3 * generator.normal(size=(num_seeds, n)))
        for size in sizes
    ]
    return _contestants(y, [y + error for error in errors], metric)


def _all_pairs(count):
    return [(i, j) for i in range(count) for j in range(i)]


def test_the_difference_over_seeds_alone_is_that_of_welch_on_the_scale():
    first, second = np.array([0.80, 0.83, 0.86, 0.84]), np.array([0.78, 0.80, 0.83])
    flat = []
    for runs in (first, second):
        same, counts = np.repeat(runs[:, None], 9, 1), np.full((len(runs), 1), 9)
        flat.append(Contestant(Replicates("LCC", runs, same, same, (9,), counts, counts[:, 0], counts[:, 0], "clips")))
    found = compare(flat, [(0, 1)])[0]
    z = [np.arctanh(runs) for runs in (first, second)]
    welch = stats.ttest_ind(*z, equal_var=False)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.p_value == pytest.approx(welch.pvalue, rel=0.05)  # Fisher's z of a mean is not the mean of z


def test_a_paired_difference_is_surer_than_two_intervals():
    generator = np.random.default_rng(0)
    y = generator.normal(size=300)
    shared = y + generator.normal(size=300)
    runs = [shared + 0.3 * generator.normal(size=300), shared + 0.8 * generator.normal(size=300)]
    both = _contestants(y, runs, "SRCC", is_fixed=True)
    forth, back = compare(both, [(0, 1), (1, 0)])
    assert interval(both[0].runs).low < interval(both[1].runs).high
    assert forth.interval.low > 0
    assert (forth.verdict, back.verdict) == ("better", "worse")
    assert back.interval == pytest.approx((-forth.interval.high, -forth.interval.low))
    assert forth.turned().interval == pytest.approx(back.interval)
    assert forth.turned().verdict == back.verdict


def test_a_variant_against_itself_is_no_difference():
    y, noise = np.random.default_rng(0).normal(size=(2, 50))
    found = compare(_contestants(y, [y + noise, y + noise], is_fixed=True), [(0, 1)])[0]
    assert (found.value, found.interval, found.p_value, found.verdict) == (0.0, (0.0, 0.0), 1.0, "undecided")


def test_errors_that_do_not_vary_differ_for_certain():
    y = np.random.default_rng(0).normal(size=50)
    found = compare(_contestants(y, [y + 1, y + 2], "MSE", is_fixed=True), [(0, 1)])[0]
    assert found.interval == pytest.approx((-3, -3))
    assert (found.verdict, found.p_adjusted) == ("better", pytest.approx(1e-4, rel=0.1))


@pytest.mark.parametrize("metric", ["MSE", "SRCC"])
def test_the_interval_holds_zero_iff_nothing_is_shown(metric):
    generator = np.random.default_rng(3)
    for gain in (0.0, 0.2, 0.5):
        found = compare(_null(generator, 60, 4, 3, metric, gain), _all_pairs(4))
        for difference in found:
            holds = difference.interval.low <= 0 <= difference.interval.high
            assert holds != differs(difference.p_adjusted)
            assert difference.p_adjusted >= difference.p_value


@pytest.mark.parametrize(("metric", "truth"), [("LCC", 0.35), ("SRCC", 0.3632), ("MSE", -0.7)])
def test_the_interval_holds_a_large_difference_in_95_of_100_cases(metric, truth):
    generator, hits = np.random.default_rng(3), 0
    root = np.linalg.cholesky([[1, 0.95, 0.6], [0.95, 1, 0.6], [0.6, 0.6, 1]])
    for _ in range(200):
        y, good, poor = root @ generator.normal(size=(3, 60))
        found = compare(_contestants(y, [good, poor], metric, is_fixed=True), [(0, 1)], num_draws=500)[0]
        hits += found.interval.low <= truth <= found.interval.high
    assert hits >= 180  # the slope between the two points, .74 to .82 of them


@pytest.mark.parametrize("metric", ["SRCC", "KTAU"])
def test_predictors_that_order_few_units_alike_are_not_known_to_be_equal(metric):
    y = np.arange(6.0)
    swap = np.r_[y[:-2], 5, 4]
    runs = [[swap, 2 * swap], [swap**3, swap], [y, swap], [y, y**3]]
    for pair in [(0, 1), (2, 3)]:
        found = compare(_contestants(y, runs, metric), [pair], equivalence=0.1)[0]
        assert found.interval.low < found.value - 0.5 < found.value + 0.5 < found.interval.high
        assert (found.p_adjusted, found.verdict) == (1, "undecided")


def test_few_units_and_one_seed_give_no_p_value():
    y, noise = np.random.default_rng(0).normal(size=(2, 5))
    found = compare(_contestants(y, [[y + noise] * 3, [y - noise] * 3]), [(0, 1)])[0]
    assert all(math.isnan(value) for value in (*found.interval, found.p_value, found.p_adjusted))
    y, noise = np.random.default_rng(0).normal(size=(2, 50))
    found = compare(_contestants(y, [y + noise, y + 9 * noise]), [(0, 1)])[0]
    assert math.isfinite(found.interval.low)
    assert (math.isnan(found.p_value), found.verdict) == (True, "")


def test_the_best_of_many_is_still_found():
    # Holm over 51 bootstrap p-values that cannot be below .001 would find nothing.
    generator = np.random.default_rng(0)
    y = generator.normal(size=100)
    runs = [y + (0.05 if v == 1 else 2) * generator.normal(size=100) for v in range(52)]
    found = compare(_contestants(y, runs, is_fixed=True), [(v, 1) for v in range(52) if v != 1])
    assert all(difference.verdict == "worse" for difference in found)


def test_what_lies_within_the_margin_is_equal():
    generator = np.random.default_rng(0)
    y = generator.normal(size=400)
    runs = [y + 0.5 * generator.normal(size=400) + 0.01 * generator.normal(size=(3, 400)) for _ in range(1)]
    runs.append(runs[0] + 0.01 * generator.normal(size=(3, 400)))
    both = _contestants(y, runs)
    assert compare(both, [(0, 1)], equivalence=0.01)[0].verdict == "equal"
    assert compare(both, [(0, 1)], equivalence=1e-6)[0].verdict == "undecided"
    assert compare(both, [(0, 1)])[0].verdict == "undecided"


@pytest.mark.parametrize(("n", "count"), [(12, 6), (30, 6)])
def test_equal_variants_are_told_apart_in_5_of_100_tables(n, count):
    generator, alarms, num_trials = np.random.default_rng(0), {"LCC": 0, "SRCC": 0}, 150
    for _ in range(num_trials):
        for metric in alarms:
            found = compare(_null(generator, n, count, 3, metric), _all_pairs(count), num_draws=1000)
            alarms[metric] += any(differs(difference.p_adjusted) for difference in found)
    # Holm against the best raised 8 to 16 %; three standard errors of a share of 150 are .053.
    assert max(alarms.values()) / num_trials <= 0.10


def test_a_true_difference_is_found_as_often_as_the_smallest_one_says():
    generator, found = np.random.default_rng(1), []
    for _ in range(150):
        found.append(compare(_null(generator, 60, 2, 3, gain=0.5), [(1, 0)])[0])
    power = np.mean([difference.verdict == "better" for difference in found])
    true = np.mean([difference.value for difference in found])
    # A difference that is as large as the smallest one is found in 80 %: power and size of both are on one curve.
    reachable = np.median([difference.smallest for difference in found])
    assert (power > 0.8) == (true > reachable)
    assert power == pytest.approx(stats.norm.cdf(2.8 * true / reachable - 1.96), abs=0.12)
