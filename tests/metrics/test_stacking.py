"""Weights of ensembles: what is better counts more, and labels that say nothing give nothing."""

import math

import numpy as np
import pytest

from lightning_aqa.metrics.correlation import srcc
from lightning_aqa.metrics.jackknife import replicate
from lightning_aqa.metrics.stacking import combined, equal_weights, held_out_ridge, ridge_weights
from lightning_aqa.metrics.uncertainty import interval


def _members(rng, n, noises, shared=0.0):
    y, common = rng.normal(size=n), rng.normal(size=n) * shared
    return y[:, None], np.array([(y + common + noise * rng.normal(size=n))[:, None] for noise in noises])


def test_the_better_member_weighs_more_and_equal_ones_alike():
    rng = np.random.default_rng(0)
    y, scores = _members(rng, 2000, (0.5, 1.0))
    weights = ridge_weights(scores, y, np.arange(2000) % 5)[:, 0]
    assert weights == pytest.approx([0.8, 0.2], abs=0.04)  # inverse variances
    y, scores = _members(rng, 60, (0.7,) * 4)
    assert ridge_weights(scores, y, np.arange(60) % 5).sum(0) == pytest.approx([1])
    same = np.repeat(scores[:1], 3, axis=0)
    assert ridge_weights(same, y, np.arange(60) % 5) == pytest.approx(equal_weights(3, 1))


@pytest.mark.parametrize("n", [6, 30])
def test_weights_are_never_below_zero_and_an_axis_without_ratings_has_equal_ones(n):
    rng = np.random.default_rng(n)
    y, scores = _members(rng, n, (0.1, 5.0, 5.0))
    scores, y = np.concatenate([scores, -scores], 2), np.concatenate([y, np.full_like(y, np.nan)], 1)
    weights = ridge_weights(scores, y, np.arange(n) % 3)
    assert (weights >= 0).all()
    assert weights[:, 1] == pytest.approx([1 / 3] * 3)


def test_the_ridge_of_held_out_folds_gains_where_there_is_something_to_gain():
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(20):
        y, scores = _members(rng, 104, (0.5, 2.0, 2.0))
        found = held_out_ridge(scores, y, np.arange(104) % 5)
        gains.append(srcc(found[:, 0], y[:, 0]) - srcc(combined(scores, equal_weights(3, 1))[:, 0], y[:, 0]))
    assert np.mean(gains) > 0.03


def test_permuted_labels_give_an_srcc_of_zero_within_its_interval():
    """Members that know nothing of the labels: weights chosen by the same labels must not either."""
    rng, values, leaking, above = np.random.default_rng(0), [], [], 0
    trials = 120
    for _ in range(trials):
        _, scores = _members(rng, 60, (0.5, 0.8, 1.0, 1.5), shared=0.5)
        y = rng.normal(size=(60, 1))
        found = held_out_ridge(scores, y, np.arange(60) % 5)
        runs = replicate(found, y, [""] * 60, metrics=["SRCC"])["SRCC"]
        values.append(float(runs.estimate[0]))
        above += interval(runs).low > 0
        seen = combined(scores, ridge_weights(scores, y, np.arange(60) % 5))  # its weights have seen every label
        leaking.append(srcc(seen[:, 0], y[:, 0]))
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(trials) + 0.01
    assert above / trials < 0.08
    assert np.mean(leaking) > np.mean(values) + 0.02
