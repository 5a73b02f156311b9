"""Sizes of tests, against simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp, ttest_ind

from lightning_aqa.metrics.ceilings import spearman_brown
from lightning_aqa.metrics.jackknife import replicate
from lightning_aqa.metrics.planning import (
    assumed_deviation,
    deviation_per_unit,
    listeners_factor,
    seeds_needed,
    units_for_interval,
    units_needed,
)
from lightning_aqa.metrics.power import smallest_difference


@pytest.mark.parametrize("n", [2, 3, 6, 30])
@pytest.mark.parametrize("power", [0.5, 0.8])
def test_a_t_test_finds_the_smallest_difference_as_often_as_said(n, power):
    samples = np.random.default_rng(n).normal(size=(20_000, n)) + smallest_difference(1 / math.sqrt(n), n - 1, power)
    assert (ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(power, abs=0.015)


@pytest.mark.parametrize("given", [(math.nan, 5), (-1.0, 5), (1.0, math.nan), (1.0, 0)])
def test_what_is_undefined_stays_so(given):
    assert math.isnan(smallest_difference(*given))


def _correlations(first, second, between, n, trials=1500):
    """LCC of two predictors with the ratings, and of each other, in so many samples."""
    wanted = np.array([[1, first, second], [first, 1, between], [second, between, 1]])
    drawn = np.random.default_rng(0).normal(size=(trials, n, 3)) @ np.linalg.cholesky(wanted).T
    drawn -= drawn.mean(1, keepdims=True)
    found = np.einsum("tni,tnj->tij", drawn, drawn)
    scale = np.sqrt(np.einsum("tii->ti", found))
    found /= scale[:, :, None] * scale[:, None]
    return found[:, 0, 1], found[:, 0, 2], found[:, 1, 2]


def _power(value, between, d, n):
    """How often a test of two dependent correlations finds a difference."""
    first, second, c = _correlations(value + d / 2, value - d / 2, between, n)
    errors = [
        assumed_deviation(r, of, is_rank=False) / math.sqrt(n) for r, of in zip((first + second) / 2, c, strict=True)
    ]
    return np.mean(np.abs(first - second) > t.ppf(0.975, n - 1) * np.array(errors))


@pytest.mark.parametrize(("value", "between", "d"), [(0.85, 0.9, 0.05), (0.5, 0.5, 0.15), (0.95, 0.97, 0.02)])
def test_planned_clips_find_the_difference_in_eight_of_ten(value, between, d):
    n = units_needed(d, assumed_deviation(value, between, is_rank=False))
    assert _power(value, between, d, n) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("listeners", [1, 20])
def test_so_they_do_with_other_listeners(listeners):
    n = units_needed(0.06, assumed_deviation(0.7, 0.9, is_rank=False))
    n = math.ceil(n * listeners_factor(0.7, 0.9, 0.8, listeners / 5, is_rank=False))
    q = math.sqrt(spearman_brown(0.8, listeners / 5) / 0.8)
    assert _power(q * 0.7, 0.9, q * 0.06, n) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("deviation", "expected"), [(0.005, 6), (0.01, 17), (0.02, 64)])
def test_planned_seeds_do_and_one_fewer_does_not(deviation, expected):
    k = seeds_needed(0.01, deviation)
    assert k == expected
    first, second = np.random.default_rng(0).normal(size=(2, 20_000, k)) * deviation
    assert (ttest_ind(first + 0.01, second, axis=1).pvalue < 0.05).mean() > 0.79
    assert (ttest_ind(first[:, 1:] + 0.01, second[:, 1:], axis=1).pvalue < 0.05).mean() < 0.805


def test_few_seeds_take_more_clips_or_never_show_it():
    counts = [units_needed(0.01, 0.2, num_seeds=k, seeds_vary=0.005) for k in (5, 6, 8, 20, math.inf)]
    assert counts[0] == math.inf
    assert all(more > fewer for more, fewer in pairwise(counts))
    assert counts[-1] == units_needed(0.01, 0.2)
    assert units_needed(0.0001, 0.2) == math.inf
    assert math.isnan(units_needed(0.01, 0.2, num_seeds=1, seeds_vary=0.005))


def test_leaving_out_clips_tells_the_deviation_of_a_mean():
    y, *scores = np.random.default_rng(0).normal(size=(3, 40))
    drawn = replicate(np.stack(scores, 1), y[:, None], [""] * 40, metrics=["MSE"])["MSE"]
    first, second = (drawn.pick([c]) for c in (0, 1))
    expected = np.std((scores[0] - y) ** 2 - (scores[1] - y) ** 2, ddof=1)
    # On the logarithm, which is what the test is on, and with its factor for few units.
    assert deviation_per_unit(first, second, 40) == pytest.approx(expected, rel=0.15)
    assert math.isnan(deviation_per_unit(first, second, 5))


def test_leaving_out_groups_of_many_clips_tells_the_assumed_deviation():
    wanted = np.array([[1, 0.85, 0.85], [0.85, 1, 0.9], [0.85, 0.9, 1]])
    y, *scores = (np.random.default_rng(1).normal(size=(4000, 3)) @ np.linalg.cholesky(wanted).T).T
    drawn = replicate(np.stack(scores, 1), y[:, None], [""] * 4000, metrics=["LCC"])["LCC"]
    first, second = (drawn.pick([c]) for c in (0, 1))
    found = deviation_per_unit(first, second, 4000)
    assert found == pytest.approx(assumed_deviation(0.85, 0.9, is_rank=False), rel=0.15)


@pytest.mark.parametrize(("value", "width"), [(0.85, 0.1), (0.5, 0.25)])
def test_planned_clips_give_an_interval_its_width(value, width):
    n = units_for_interval(value, width, is_rank=False)
    found, _, _ = _correlations(value, value, 0.99, n, trials=2000)
    assert np.subtract(*np.quantile(found, [0.975, 0.025])) == pytest.approx(width, rel=0.1)


def test_correlations_that_no_scores_can_have_are_undefined():
    assert math.isnan(assumed_deviation(0.9, 0.5))
    assert math.isnan(listeners_factor(0.9, 0.9, 0.5, 10.0))
