"""Prediction-powered means: values by hand, invariances, and coverage from two systems of two clips on."""

import math

import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from lightning_aqa.metrics.mean_variance import CLIP, LISTENER
from lightning_aqa.metrics.moderation import moderated
from lightning_aqa.metrics.prediction_powered import GivenRatings, quantiles, system_means
from lightning_aqa.metrics.system_ranks import rank_systems


def _panel(rng, systems, clips, rated, listeners, each, rho, gap=0.5):
    """Draw ratings as ``benchmarks/listening.py`` does, in smaller numbers."""
    mu, unit = rng.normal(3, gap, systems), rng.normal(size=(systems, clips))
    quality = mu[:, None] + 0.6 * unit
    level, view = rng.normal(0, 0.5, listeners), rng.normal(0, 0.3, (listeners, systems))
    predicted = rho * unit + math.sqrt(1 - rho**2) * rng.normal(size=(systems, clips))
    rows = [
        (quality[s, c] + level[i] + view[i, s] + rng.normal(0, 0.7), s * clips + c, i)
        for s in range(systems)
        for c in rng.permutation(clips)[:rated]
        for i in rng.permutation(listeners)[:each]
    ]
    values, names, who = (np.array(column) for column in zip(*rows, strict=True))
    return (
        GivenRatings(values, names, who, np.repeat(np.arange(systems), clips), predicted.ravel()),
        mu,
        quality.mean(1),
    )


def test_without_predictions_it_is_the_mean_of_clips_with_its_usual_interval():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    given = GivenRatings(values, np.arange(4), np.arange(4), np.zeros(4, np.intp))
    found = system_means(given)
    assert found.means == pytest.approx([3.0])
    half = quantiles(np.array(3.0), 0.95) * values.std(ddof=1) / 2
    assert found.half_widths() == pytest.approx([half])


def test_a_perfect_predictor_gives_the_mean_of_all_clips():
    quality = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 2.0, 2.5, 3.5, 1.5, 4.5, 3.0, 5.0])
    rated = np.arange(9)
    given = GivenRatings(quality[rated], rated, rated, np.zeros(12, np.intp), 10 * quality - 7)
    found = system_means(given, target="clips")
    assert found.slope == pytest.approx(0.1)
    assert found.means == pytest.approx([quality.mean()])
    assert found.half_widths() == pytest.approx([0.0], abs=1e-6)


def test_all_ratings_of_a_finite_set_leave_nothing_unsure():
    rng = np.random.default_rng(0)
    given, _, _ = _panel(rng, 4, 10, 10, 1, 1, 0.0)
    given = given._replace(listeners=np.arange(len(given.values)), predictions=None)
    twice = [np.concatenate([part, part + shift]) for part, shift in zip(given[:3], (0.3, 0, 999), strict=True)]
    full = given._replace(values=twice[0], clips=twice[1], listeners=twice[2])
    assert system_means(full, target="clips", full=2).half_widths() == pytest.approx(0, abs=1e-6)
    assert (system_means(full, target="clips").half_widths() > 0.01).all()


@settings(max_examples=6)
@cases(st.integers(0, 2**16), st.floats(0.01, 100), st.floats(-50, 50), st.booleans())
def test_scale_and_shift_of_a_predictor_do_not_matter_nor_the_order_of_rows(seed, scale, shift, turned):
    rng = np.random.default_rng(seed)
    given, _, _ = _panel(rng, 3, 8, 5, 4, 2, 0.8)
    order = rng.permutation(len(given.values))
    other = GivenRatings(
        *(part[order] for part in given[:3]), given.systems, (-scale if turned else scale) * given.predictions + shift
    )
    one, two = system_means(given), system_means(other)
    assert two.means == pytest.approx(one.means, abs=1e-6)
    assert two.half_widths() == pytest.approx(one.half_widths(), rel=1e-4)


def test_listeners_who_rate_everything_are_no_noise_between_systems():
    rng = np.random.default_rng(1)
    level = np.array([-2.0, 0.0, 2.0])
    clips, who = np.repeat(np.arange(16), 3), np.tile(np.arange(3), 16)
    values = rng.normal(0, 0.5, 16)[clips] + level[who] + rng.normal(0, 0.1, 48)
    found = system_means(GivenRatings(values, clips, who, np.repeat([0, 1], 8)))
    assert found.components[LISTENER] == pytest.approx(level.var(ddof=1), rel=0.2)
    assert found.components[CLIP] > 0.05
    _, error, _ = found.difference(0, 1)
    assert error < 0.5
    assert found.covariance[0, 0] > 1


@pytest.mark.parametrize(
    ("panel", "least"),
    [
        ((2, 12, 2, 4, 2, 0.8), 0.88),
        ((3, 12, 3, 4, 2, 0.8), 0.88),
        ((6, 12, 6, 4, 2, 0.8), 0.9),
    ],
)
def test_intervals_hold_the_truth_of_few_systems_clips_and_listeners(panel, least):
    rng, held = np.random.default_rng(0), []
    for _ in range(20):
        given, mu, of_clips = _panel(rng, *panel)
        for target, truth in (("systems", mu), ("clips", of_clips)):
            found = system_means(given, target=target)
            held.append(np.abs(found.means - truth) <= found.half_widths())
    assert least <= np.mean(held)


def test_a_good_predictor_narrows_and_one_of_noise_loses_nothing():
    rng, widths = np.random.default_rng(0), []
    for _ in range(12):
        good, _, _ = _panel(rng, 6, 40, 8, 10, 2, 0.9)
        noise = good._replace(predictions=rng.normal(size=len(good.systems)))
        alone = system_means(good, use_predictions=False, target="clips").half_widths().mean()
        widths.append([system_means(of, target="clips").half_widths().mean() / alone for of in (good, noise)])
    of_good, of_noise = np.mean(widths, axis=0)
    assert of_good < 0.92
    assert of_noise == pytest.approx(1, abs=0.02)


def test_ranks_that_are_possible_hold_the_true_ones_and_equal_systems_are_not_told_apart():
    rng, wrong, told = np.random.default_rng(0), 0, 0
    for _ in range(10):
        given, mu, _ = _panel(rng, 4, 20, 10, 8, 2, 0.8, gap=0.7)
        ranks = rank_systems(system_means(given), num_draws=500)
        true = 1 + (mu[:, None] < mu).sum(1)
        wrong += ((true < ranks.best) | (true > ranks.worst)).any()
        same, _, _ = _panel(rng, 4, 20, 10, 8, 2, 0.8, gap=0.0)
        told += any(len(rank_systems(system_means(same), num_draws=500).not_told_apart(s)) < 3 for s in range(4))
    assert wrong <= 3
    assert told <= 3


def test_a_system_without_ratings_and_one_with_one_clip():
    values, clips = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 1.0, 3.0]), np.arange(8)
    systems = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4])
    found = system_means(GivenRatings(values, clips, clips, systems))
    assert found.means[:4] == pytest.approx([2, 4.5, 3, 2])
    assert math.isnan(found.means[4])
    halves = found.half_widths()
    assert np.isfinite(halves[:4]).all()  # one clip borrows its variance from the others
    assert math.isnan(halves[4])
    ranks = rank_systems(found, num_draws=100)
    assert (ranks.rank[4], ranks.best[4], ranks.worst[4]) == (5, 1, 5)
    with pytest.raises(ValueError, match="no ratings; expected those of some clips"):
        system_means(GivenRatings(values[:0], clips[:0], clips[:0], systems))


def test_variances_that_differ_are_kept_apart():
    variances, freedom = moderated(np.array([1e-2, 1.0, 100.0, 1e-2, 1.0, 100.0]), np.full(6, 30.0))
    assert variances == pytest.approx([1e-2, 1, 100, 1e-2, 1, 100], rel=0.1)
    assert (freedom < 35).all()
    two, own = moderated(np.array([1.0, 2.0]), np.array([3.0, 0.0]))
    assert two[0] == 1
    assert math.isnan(two[1])
    assert math.isnan(own[1])
