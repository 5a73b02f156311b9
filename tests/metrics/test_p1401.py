"""RMSE*, outlier ratio and mappings: by hand, against the formula written out, and rising whatever comes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_aqa.metrics.p1401 import half_widths, map_scores, mapped_errors

SCORES = st.lists(st.tuples(st.floats(-5, 5).map(lambda x: round(x, 3)), st.integers(1, 9)), min_size=5, max_size=30)


def test_four_clips_are_worked_by_hand():
    # Errors 1, .2, 0 and 2 with half widths .5, .5, .5 and unknown: .5 of the first lies outside, the second is inside.
    found = mapped_errors(np.array([2, 3.2, 4, 1.0]), np.array([1, 3, 4, 3.0]), np.array([0.5, 0.5, 0.5, math.nan]))
    assert found == pytest.approx((4, math.sqrt(5.04 / 4), math.sqrt(0.25 / 3), 1 / 3))


def test_half_widths_are_those_of_a_t_interval():
    ratings = np.random.default_rng(0).normal(size=(5, 7))
    ratings[1, 4:] = math.nan
    for row, found in zip(ratings, half_widths(ratings), strict=True):
        kept = row[np.isfinite(row)]
        low, high = stats.t.interval(0.95, len(kept) - 1, kept.mean(), stats.sem(kept))
        assert found == pytest.approx((high - low) / 2)
    assert np.isnan(half_widths(np.array([[3.0, math.nan]]))).all()


def test_a_line_is_that_of_a_fit_and_costs_two_degrees():
    p, noise = np.random.default_rng(1).normal(size=(2, 40))
    y, width = 3 + 2 * p + noise, np.full(40, 0.4)
    fit = stats.linregress(p, y)
    error = np.abs(fit.slope * p + fit.intercept - y)
    star = math.sqrt(sum(max(0, e - 0.4) ** 2 for e in error) / 38)
    found = mapped_errors(p, y, width, mapping="linear")
    assert found[1:] == pytest.approx((math.sqrt(sum(error**2) / 38), star, np.mean(error > 0.4)))


def test_a_rising_cubic_is_the_free_one_where_that_rises():
    p = np.linspace(-1, 1, 30)
    y = p**3 + p + np.random.default_rng(2).normal(size=30) * 0.05
    np.testing.assert_allclose(map_scores(p, y, "cubic"), np.polyval(np.polyfit(p, y, 3), p), atol=1e-9)


@given(SCORES)
def test_a_mapping_never_falls_and_a_cubic_is_no_worse_than_a_line(pairs):
    p, y = np.array(pairs, dtype=float).T
    line, cubic = (map_scores(p, y, mapping) for mapping in ("linear", "cubic"))
    for mapped in (line, cubic):
        assert (np.diff(mapped[np.argsort(p, kind="stable")]) >= -1e-4).all()
    assert np.mean((cubic - y) ** 2) <= np.mean((line - y) ** 2) + 1e-4


def test_an_unknown_mapping_says_which_there_are():
    with pytest.raises(ValueError, match="none, linear or cubic, got 'quartic'"):
        map_scores(np.ones(3), np.ones(3), "quartic")


def test_too_few_or_broken_predictions_are_undefined():
    assert math.isnan(mapped_errors(np.arange(4.0), np.arange(4.0), mapping="cubic").rmse)
    assert math.isnan(mapped_errors(np.array([math.inf, 1]), np.ones(2)).rmse)
