"""Recovered quality: against sureal, on simulated panels, and on designs that cannot tell."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.data.listeners import outliers, recover

GOLDEN = Path(__file__).parent.parent / "fixtures" / "metrics" / "sureal.json"
SPREAD = [0.3, 0.5, 0.8, 1.2, 1.6]


def _rows(table):
    return [(f"c{c}", f"l{i}", float(y)) for (c, i), y in np.ndenumerate(table) if np.isfinite(y)]


def _panel(rng, clips, listeners, each, bias, spread):
    """Ratings of a random sparse design, and the truth on the scale on which biases weighted by ratings are zero."""
    q, b, v = rng.normal(3, 0.8, clips), rng.normal(0, bias, listeners), rng.permutation(np.resize(spread, listeners))
    table = q[:, None] + b + v * rng.normal(size=(clips, listeners))
    for row in table:
        row[rng.permutation(listeners)[each:]] = np.nan
    n = np.isfinite(table).sum(0)
    return table, q + n @ b / n.sum()


def _agrees(table, quality, bias, inconsistency):
    found = recover(_rows(table), [f"c{c}" for c in range(len(table))], shrink=False)
    ours = np.array([listener.bias for listener in found.listeners])
    shift = np.mean(quality) - np.mean(found.quality)
    np.testing.assert_allclose(found.quality + shift, quality, atol=1e-4)
    np.testing.assert_allclose(ours - ours.mean(), bias, atol=1e-4)
    np.testing.assert_allclose([listener.inconsistency for listener in found.listeners], inconsistency, atol=1e-4)


def test_the_plain_likelihood_is_that_of_sureal():
    for case in json.loads(GOLDEN.read_text()):
        _agrees(np.array(case["ratings"], dtype=float), case["quality"], case["bias"], case["inconsistency"])


def test_the_plain_likelihood_is_that_of_sureal_where_it_is_installed():
    model = pytest.importorskip("sureal.subjective_model").SubjectMLEModelProjectionSolver
    rng = np.random.default_rng(5)
    for _ in range(3):
        table, _ = _panel(rng, 120, 8, 7, 0.5, [0.6, 0.8, 1.0])
        found = model._run_modeling(_Reader(table))
        _agrees(table, found["quality_scores"], found["observer_bias"], found["observer_inconsistency"])


class _Reader:
    """What the model of sureal asks of a data set."""

    def __init__(self, table):
        self.opinion_score_3darray = table[:, :, None]


def test_five_biased_listeners_are_seen_through_and_the_intervals_cover():
    rng, errors, covered = np.random.default_rng(0), [], []
    for _ in range(80):
        table, truth = _panel(rng, 40, 5, 3, 0.5, SPREAD)
        found = recover(_rows(table), [f"c{c}" for c in range(40)])
        errors.append([np.mean((found.quality - truth) ** 2), np.mean((found.mean - truth) ** 2)])
        covered.append(np.mean(np.abs(found.quality - truth) <= found.half_width))
    ours, mean = np.mean(errors, axis=0)
    assert ours < 0.6 * mean
    assert 0.92 <= np.mean(covered) <= 0.975


def test_nothing_is_lost_where_listeners_are_alike():
    rng, errors = np.random.default_rng(1), []
    for _ in range(60):
        table, truth = _panel(rng, 40, 5, 3, 0.0, [0.7])
        found = recover(_rows(table), [f"c{c}" for c in range(40)])
        errors.append([np.mean((found.quality - truth) ** 2), np.mean((found.mean - truth) ** 2)])
    ours, mean = np.mean(errors, axis=0)
    assert ours < 1.02 * mean


def test_ids_that_mean_nothing_give_the_mean():
    rows = [(f"c{c}", f"{c}-{i}", float(y)) for c, i, y in [(0, 0, 1), (0, 1, 4), (1, 0, 2), (2, 0, 5), (2, 1, 5)]]
    found = recover(rows, ["c0", "c1", "c2", "c3"])
    np.testing.assert_allclose(found.quality, [2.5, 2, 5, math.nan])
    assert found.components == 3
    assert all(math.isnan(listener.bias) for listener in found.listeners)


def test_two_panels_that_never_overlap_keep_their_means():
    rng = np.random.default_rng(2)
    tables = [_panel(rng, 20, 3, 3, 0.5, [0.5])[0] + shift for shift in (0, 2)]
    rows = [(f"{p}{c}", f"{p}{i}", y) for p, table in zip("ab", tables, strict=True) for c, i, y in _rows(table)]
    found = recover(rows, [f"{p}c{c}" for p in "ab" for c in range(20)])
    assert found.components == 2
    for part, table in enumerate(tables):
        assert found.quality[20 * part : 20 * part + 20].mean() == pytest.approx(table.mean(), abs=0.15)


def test_a_listener_with_one_rating_has_no_endless_weight():
    rng = np.random.default_rng(3)
    table, _ = _panel(rng, 20, 4, 4, 0.3, [0.5])
    rows = _rows(table)
    changed = recover([*rows, ("c0", "passer-by", 9.0)], [f"c{c}" for c in range(20)])
    assert changed.quality[0] < np.nanmean([*table[0], 9.0]) + 0.5
    assert math.isnan(next(of.bias for of in changed.listeners if of.name == "passer-by"))


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("123456"), st.integers(1, 5)), max_size=25))
def test_any_design_gives_finite_quality_for_what_is_rated(rows):
    rows = list({(c, i): (c, i, float(y)) for c, i, y in rows}.values())
    found = recover(rows, list("abcdef"))
    rated = [any(c == id_ for c, _, _ in rows) for id_ in "abcdef"]
    np.testing.assert_array_equal(np.isfinite(found.quality), rated)
    assert not (found.half_width < 0).any()
    again = recover(rows[::-1], list("abcdef"))
    np.testing.assert_allclose(again.quality, found.quality, atol=1e-3)


def test_a_listener_who_rates_at_random_is_singled_out():
    rng = np.random.default_rng(4)
    table, _ = _panel(rng, 60, 8, 8, 0.2, [0.4])
    table[:, 3] = rng.uniform(1, 5, 60)
    found = recover(_rows(table), [f"c{c}" for c in range(60)])
    assert [of.name for of in found.listeners if of.is_outlier] == ["l3"]
    assert not outliers(np.array([math.nan, 0.5]), np.array([math.nan, 1.0])).any()
