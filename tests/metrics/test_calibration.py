"""Bias, slope, ranges and coverage: worked by hand, against a fit, and on what is calibrated by construction."""

import math

import numpy as np
import pytest
from scipy import stats

from lightning_aqa.metrics.calibration import calibration, coverage

NAN = math.nan


def test_four_clips_are_worked_by_hand():
    found = calibration(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 1.5, 3.0, 5.0]), edges=[1, 2, 5])
    assert found.bias == pytest.approx(-1.5 / 4)
    # Errors 0 and .5 below 2; -1 and -1 from 2 to 5, the end included.
    low, high = found.ranges
    assert (low.n, low.bias, low.mae, low.rmse) == pytest.approx((2, 0.25, 0.25, math.sqrt(0.125)))
    assert (high.n, high.bias, high.mae, high.rmse) == pytest.approx((2, -1, 1, 1))


def test_slope_and_intercept_are_those_of_a_fit():
    p, noise = np.random.default_rng(0).normal(size=(2, 100))
    fit = stats.linregress(p, 2 * p + 1 + noise)
    found = calibration(p, 2 * p + 1 + noise)
    assert (found.slope, found.intercept) == pytest.approx((fit.slope, fit.intercept))


def test_scores_that_hardly_vary_have_no_slope():
    assert math.isnan(calibration(np.array([1e-300, 2e-300]), np.array([1.0, 2.0])).slope)


def test_ranges_cover_every_rating_once():
    y = np.array([1.0, 1.9, 2.0, 4.999, 5.0, NAN])
    found = calibration(y + 1, y)
    assert [(row.low, row.high, row.n) for row in found.ranges] == [
        (1, 2, 2), (2, 3, 1), (3, 4, 0), (4, 5, 1), (5, 6, 1),
    ]  # fmt: skip
    assert found.n == 5
    assert math.isnan(found.ranges[2].rmse)


def test_what_is_undefined_is_nan():
    found = calibration(np.full(3, 2.0), np.arange(3.0))
    assert (found.bias, math.isnan(found.slope)) == (1.0, True)
    nothing = calibration(np.ones(2), np.full(2, NAN))
    assert (nothing.n, nothing.ranges) == (0, [])
    assert math.isnan(nothing.bias)


def test_right_deviations_cover_what_they_promise_and_half_of_them_too_little():
    generator = np.random.default_rng(0)
    deviations = generator.uniform(0.2, 2, 20_000)
    targets = 3 + deviations * generator.normal(size=20_000)
    right = coverage(np.full(20_000, 3.0), targets, deviations)
    assert right.covered == pytest.approx({0.68: 0.68, 0.95: 0.95}, abs=0.01)
    assert (right.z_mean, right.z_deviation) == pytest.approx((0, 1), abs=0.02)
    assert right.deviation_srcc > 0.3
    half = coverage(np.full(20_000, 3.0), targets, deviations / 2)
    expected = {share: 2 * stats.norm.cdf(stats.norm.ppf((1 + share) / 2) / 2) - 1 for share in (0.68, 0.95)}
    assert half.covered == pytest.approx(expected, abs=0.01)
    assert half.z_deviation == pytest.approx(2, abs=0.03)


def test_every_z_is_in_the_histogram_and_far_ones_at_its_ends():
    found = coverage(np.zeros(5), np.array([-9.0, -0.2, 0.3, 0.4, 70.0]), np.ones(5), z_edges=[-1, 0, 1, 2])
    assert found.z_counts == [2, 2, 1]


def test_clips_without_a_rating_or_a_deviation_do_not_count_and_none_is_no_coverage():
    found = coverage(np.zeros(3), np.array([1.0, NAN, 1.0]), np.array([2.0, 2.0, NAN]))
    assert (found.n, found.covered[0.68], sum(found.z_counts)) == (1, 1.0, 1)
    nothing = coverage(np.zeros(2), np.ones(2), np.full(2, NAN))
    assert nothing.n == 0
    assert math.isnan(nothing.covered[0.95])
    assert set(nothing.z_counts) == {0}


def test_a_deviation_of_zero_covers_an_exact_hit():
    found = coverage(np.array([1.0, 1.0]), np.array([1.0, 2.0]), np.zeros(2))
    assert found.covered[0.95] == 0.5
    assert math.isnan(found.z_mean)
