"""Pairs, top systems and correlations inside groups: worked by hand and against slow loops."""

import math
from itertools import combinations

import numpy as np
import pytest

from lightning_aqa.metrics import pairwise
from lightning_aqa.metrics.correlation import ktau, lcc, srcc
from lightning_aqa.metrics.pairwise import accuracy_by_gap, top_k_accuracy, within_groups

NAN = math.nan


def _scores(number=250, seed=0):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 21, number) / 5
    return np.round(y + generator.normal(size=number), 1), y, [f"G{i % 9}" for i in range(number)]


def test_four_clips_are_worked_by_hand():
    p, y = np.array([1.0, 2.0, 2.0, 0.0]), np.array([1.0, 1.5, 2.5, 3.0])
    # Gaps: ab .5 right, ac 1.5 right, ad 2 wrong, bc 1 tied, bd 1.5 wrong, cd .5 wrong.
    rows = accuracy_by_gap(p, y, edges=[0, 0.5, 1.5, 5])
    assert [(row.pairs, row.accuracy) for row in rows] == [(2, 0.5), (3, 0.5), (1, 0.0)]


@pytest.mark.parametrize("grouped", [False, True])
def test_pairs_are_those_of_a_double_loop(grouped, monkeypatch):
    monkeypatch.setattr(pairwise, "_BLOCK", 100)
    p, y, groups = _scores()
    y[::50] = NAN
    right, pairs, edges = [0.0] * 3, [0] * 3, [0, 0.2, 1, math.inf]
    for i, j in combinations(range(len(y)), 2):
        gap = round(y[i] - y[j], 9)
        if not math.isfinite(gap) or gap == 0 or (grouped and groups[i] != groups[j]):
            continue
        place = next(k for k in range(3) if edges[k] < abs(gap) <= edges[k + 1])
        pairs[place] += 1
        right[place] += 0.5 if p[i] == p[j] else float((p[i] > p[j]) == (gap > 0))
    rows = accuracy_by_gap(p, y, groups if grouped else None, edges=edges)
    assert [row.pairs for row in rows] == pairs
    assert [row.accuracy for row in rows] == pytest.approx([r / n for r, n in zip(right, pairs, strict=True)])


def test_without_ties_in_the_predictions_the_accuracy_is_kendall_s_tau():
    p, y = np.random.default_rng(0).normal(size=(2, 200))
    (row,) = accuracy_by_gap(p, y, edges=[0, math.inf])
    assert 2 * row.accuracy - 1 == pytest.approx(ktau(p, y))


def test_no_pair_has_no_accuracy():
    (row,) = accuracy_by_gap(np.arange(3.0), np.ones(3), edges=[0, math.inf])
    assert row.pairs == 0
    assert math.isnan(row.accuracy)
    assert accuracy_by_gap(np.zeros(0), np.zeros(0), [])[0].pairs == 0


def test_the_top_is_shared_by_what_ties_at_its_border():
    y = np.array([5.0, 4.0, 3.0, 2.0])
    assert top_k_accuracy(y, y, 2) == 1
    assert top_k_accuracy(-y, y, 2) == 0
    # Two of three equals have a place each in two ways out of three.
    assert top_k_accuracy(np.array([3.0, 3.0, 3.0, 1.0]), y, 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(np.zeros(4), y, 1) == pytest.approx(1 / 4)
    assert math.isnan(top_k_accuracy(y, y, 5))
    assert math.isnan(top_k_accuracy(y, np.array([NAN, 1, 2, 3]), 1))


def test_inside_groups_means_are_weighted_by_clips_and_small_or_constant_groups_do_not_count():
    p = np.array([1.0, 2, 3, 9, 8, 7, 6, 0, 1, 4, 4, 4, 5, 5])
    y = np.array([1.0, 2, 3, 1, 2, 3, 4, 0, 1, 1, 2, 3, 0, 9])
    groups = ["a"] * 3 + ["b"] * 4 + ["two"] * 2 + ["constant"] * 3 + [""] * 2
    found = within_groups(p, y, groups)
    # a: 1, b: -1.
    assert (found.groups, found.n) == (2, 7)
    assert (found.lcc, found.srcc, found.ktau) == pytest.approx([(3 - 4) / 7] * 3)
    assert found.pooled_lcc == pytest.approx((2 - 5) / (2 + 5))


def test_a_predictor_that_knows_only_the_group_knows_nothing_inside_it():
    _, y, groups = _scores()
    worth = np.array([int(name[1:]) for name in groups]) * 3.0
    p = worth + np.random.default_rng(1).normal(size=len(y))
    assert lcc(p, y + worth) > 0.8
    found = within_groups(p, y + worth, groups)
    assert abs(found.pooled_lcc) < 0.15
    assert abs(found.srcc) < 0.15
    assert math.isnan(within_groups(worth, y, groups).lcc)


def test_one_group_is_the_plain_correlation():
    p, y, _ = _scores()
    found = within_groups(p, y, ["G"] * len(y))
    plain = lcc(p, y), srcc(p, y), ktau(p, y), lcc(p, y)
    assert (found.lcc, found.srcc, found.ktau, found.pooled_lcc) == pytest.approx(plain)
