"""Conformal intervals: the order statistic by hand, what they hold in simulation, and where there are none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.metrics.conformal import (
    ConformalCalibration,
    conformal_quantile,
    fewest_units,
    interval_coverage,
)
from lightning_aqa.metrics.predictions import Predictions


def _table(errors, domains=None, systems=None, deviations=None):
    """Scores of 0 beside ratings that differ by the errors."""
    n = len(errors)
    ids = [f"{i:06d}" for i in range(n)]
    spread = None if deviations is None else np.array(deviations, float)[:, None]
    targets, scores = np.array(errors, float)[:, None], np.zeros((n, 1))
    return Predictions(ids, systems or [""] * n, domains or [""] * n, targets, scores, None, spread)


def _held(calibration, new, share=0.9):
    """Share of new ratings within their intervals."""
    factors = {name: calibration.factors(name, share) for name in set(new.domains)}
    factors_NA = np.array([factors[name] for name in new.domains])
    ends = calibration.ends(new.scores, new.deviations, factors_NA, [(-1e9, 1e9)])
    return interval_coverage(ends[:, 0], new.targets[:, 0]).covered


@pytest.mark.parametrize(("n", "share", "position"), [(9, 0.9, 9), (19, 0.9, 18), (104, 0.9, 95), (19, 0.95, 19)])
def test_the_quantile_is_the_order_statistic_of_the_finite_sample_rule(n, share, position):
    values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert conformal_quantile(values, share) == position == math.ceil((n + 1) * share - 1e-9)


@pytest.mark.parametrize(("share", "least"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_values_give_no_end(share, least):
    assert fewest_units(share) == least
    assert conformal_quantile(np.zeros(least), share) == 0
    assert conformal_quantile(np.zeros(least - 1), share) == math.inf
    of = ConformalCalibration.of("dev", ["mos"], _table([0.5] * (least - 1)))
    assert of.why_none(0, share).endswith(f"takes at least {least}")
    assert np.isnan(of.ends(np.zeros((1, 1)), None, of.factors("", share)[None], [(1, 5)])).all()


@settings(max_examples=40)
@given(st.lists(st.floats(0, 9), max_size=40), st.floats(0.05, 0.99), st.integers(1, 5))
def test_units_of_one_value_are_no_units_and_copies_of_all_change_nothing(values, share, copies):
    array = np.array(values)
    names = [f"S{i}" for i in range(len(values))]
    assert conformal_quantile(array, share, names) == conformal_quantile(array, share)
    assert conformal_quantile(np.tile(array, copies), share, names * copies) == conformal_quantile(array, share)


@pytest.mark.parametrize(("n", "trials"), [(9, 4000), (20, 4000), (104, 1000)])
def test_ninety_of_a_hundred_ratings_are_held(n, trials):
    rng = np.random.default_rng(n)
    errors = np.abs(rng.standard_t(3, (trials, n + 1)))
    held = np.mean([row[-1] <= conformal_quantile(row[:-1], 0.9) for row in errors])
    wanted = math.ceil((n + 1) * 0.9 - 1e-9) / (n + 1)
    assert held == pytest.approx(wanted, abs=4 * math.sqrt(0.09 / trials))


def test_each_domain_is_held_by_its_own_errors_and_small_ones_by_those_of_all():
    rng = np.random.default_rng(0)
    sizes = {"quiet": (500, 0.2), "loud": (500, 2.0), "rare": (5, 1.0)}
    names = [name for name, (n, _) in sizes.items() for _ in range(n)]
    of = ConformalCalibration.of(
        "dev", ["mos"], _table([rng.normal() * sizes[name][1] for name in names], domains=names)
    )
    assert [of.has_own(0, name) for name in (*sizes, "new", "")] == [True, True, False, False, False]
    assert of.factor(0, "rare") == of.factor(0, "new") == of.factor(0)
    for name in ("quiet", "loud"):
        new = _table(rng.normal(size=5000) * sizes[name][1], domains=[name] * 5000)
        assert _held(of, new) == pytest.approx(0.9, abs=0.05)
        assert abs(_held(of, new._replace(domains=[""] * 5000)) - 0.9) > 0.07  # one for all holds neither


def test_deviations_make_intervals_as_wide_as_errors_are():
    rng = np.random.default_rng(0)
    spread = np.exp(rng.normal(size=600))
    of = ConformalCalibration.of("dev", ["mos"], _table(rng.normal(size=600) * spread, deviations=spread))
    assert of.is_scaled
    narrow = _table(rng.normal(size=4000) * 0.3, deviations=[0.3] * 4000)
    assert _held(of, narrow) == pytest.approx(0.9, abs=0.04)
    lacking = ConformalCalibration.of("dev", ["mos"], _table([1.0, 2.0], deviations=[1.0, math.nan]))
    assert not lacking.is_scaled


def test_clips_of_new_systems_are_held_where_systems_count():
    rng = np.random.default_rng(0)
    names = [f"S{i}" for i in range(12) for _ in range(20)]

    def trial(by_system):
        own = rng.normal(size=13)
        errors = np.repeat(own, 20) + 0.3 * rng.normal(size=260)
        of = ConformalCalibration.of("test", ["mos"], _table(errors[:240], systems=names), by_system=by_system)
        return _held(of, _table(errors[240:]))

    by_clips, by_systems = (np.mean([trial(by) for _ in range(150)]) for by in (False, True))
    assert by_systems > 0.87
    assert by_systems > by_clips + 0.02


def test_ends_stay_within_the_scale():
    of = ConformalCalibration.of("dev", ["mos"], _table([1.0] * 9))
    ends = of.ends(np.array([[4.8], [5.5], [3.0]]), None, np.tile(of.factors(), (3, 1)), [(1, 5)])
    assert ends[:, 0].tolist() == [[3.8, 5.0], [4.5, 5.0], [2.0, 4.0]]


# crepes 0.9.1: ConformalRegressor().fit(residuals=y - p[, sigmas=d | bins=b]).predict_int([0, 1][, ...], confidence=s),
# for the clips of test_ends_are_those_of_crepes; half widths of two new clips: plain, by deviations, by domains.
CREPES = {
    0.8: ([1.620036, 1.620036], [1.392278, 0.696139], [1.41371, 1.860964]),
    0.9: ([2.168616, 2.168616], [1.840524, 0.920262], [1.651027, 2.206347]),
    0.95: ([2.349307, 2.349307], [2.18799, 1.093995], [2.505238, 2.813067]),
}


@pytest.mark.parametrize("share", CREPES)
def test_ends_are_those_of_crepes(share):
    rng = np.random.default_rng(7)
    y, p = rng.normal(size=60), rng.normal(size=60)
    spread, names = rng.uniform(0.5, 2, 60), ["a", "b"] * 30
    plain = ConformalCalibration.of("dev", ["mos"], _table(y - p, domains=names))
    scaled = ConformalCalibration.of("dev", ["mos"], _table(y - p, deviations=spread))
    scores, wanted = np.array([[0.0], [1.0]]), CREPES[share]
    found = [
        plain.ends(scores, None, np.tile(plain.factors("", share), (2, 1)), [(-9, 9)]),
        scaled.ends(scores, np.array([[1.0], [0.5]]), np.tile(scaled.factors("", share), (2, 1)), [(-9, 9)]),
        plain.ends(scores, None, np.array([plain.factors(name, share) for name in "ab"]), [(-9, 9)]),
    ]
    for ends, halves in zip(found, wanted, strict=True):
        assert np.diff(ends[:, 0])[:, 0] / 2 == pytest.approx(halves, abs=2e-6)
