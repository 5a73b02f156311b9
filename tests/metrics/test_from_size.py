"""The interval of a published correlation, of which n alone is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_aqa.metrics.few import order_bound
from lightning_aqa.metrics.from_size import CORRELATIONS, interval_from_size


def test_that_of_lcc_is_fisher_s_as_scipy_has_it():
    random = np.random.default_rng(0)
    x = random.normal(size=40)
    y = x + random.normal(size=40)
    found = stats.pearsonr(x, y)
    assert interval_from_size(found.statistic, 40, "LCC") == pytest.approx(tuple(found.confidence_interval(0.95)))


def test_few_units_have_none_and_a_perfect_order_has_its_bound():
    for count in (0, 1, 2, 3, 5):
        assert all(math.isnan(end) for metric in CORRELATIONS for end in interval_from_size(0.9, count, metric))
    assert all(math.isnan(end) for end in interval_from_size(0.4, 30, "MSE"))
    assert all(math.isnan(end) for end in interval_from_size(math.nan, 30, "SRCC"))
    for metric in ("SRCC", "KTAU"):
        assert interval_from_size(1.0, 8, metric) == (order_bound(8, metric), 1.0)
        assert interval_from_size(-1.0, 8, metric) == (-1.0, -order_bound(8, metric))


@given(st.floats(-0.999, 0.999), st.integers(6, 5000), st.sampled_from(CORRELATIONS))
def test_ends_are_ordered_mirrored_and_correlations(value, count, metric):
    low, high = interval_from_size(value, count, metric)
    assert -1 <= low <= high <= 1
    assert interval_from_size(-value, count, metric) == pytest.approx((-high, -low), abs=1e-9)
    wider = interval_from_size(value, count, metric, confidence=0.99)
    assert wider.low <= low
    assert high <= wider.high


@pytest.mark.parametrize(("count", "rho"), [(6, 0.8), (11, 0.95), (30, 0.99), (110, 0.5)])
def test_intervals_of_srcc_hold_what_they_promise(count, rho):
    random = np.random.default_rng(0)
    x, noise = random.standard_normal((2, 1000, count))
    ranks = [values.argsort(1).argsort(1) for values in (x, rho * x + math.sqrt(1 - rho**2) * noise)]
    found = 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum(1) / (count * (count**2 - 1))
    intervals = {value: interval_from_size(value, count, "SRCC") for value in set(found.tolist())}
    true = 6 / math.pi * math.asin(rho / 2)
    held = np.mean([intervals[value].low <= true <= intervals[value].high for value in found.tolist()])
    assert held > 0.92  # standard error .7 %
