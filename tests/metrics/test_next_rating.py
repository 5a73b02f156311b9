"""What to ask next: the choice is what a search over all answers finds, and it tells more than chance."""

import numpy as np
import pytest

from lightning_aqa.metrics.next_rating import next_clips, next_pairs
from lightning_aqa.metrics.prediction_powered import GivenRatings, system_means


def _given(rows, systems, predictions=None):
    values, clips, who = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 3
    return GivenRatings(values, clips.astype(np.intp), who.astype(np.intp), np.array(systems), predictions)


def test_the_system_that_is_known_least_comes_first_and_no_clip_twice():
    given = _given([(3, 0, 0), (4, 1, 0), (2, 2, 1), (3, 3, 1), (4, 4, 0)], [0] * 4 + [1] * 4)
    asked = next_clips(given, 20)
    assert asked[0].clips[0] in (5, 6, 7)
    assert sorted(of.clips[0] for of in asked) == list(range(8))
    assert all(one.gain > 0 for one in asked)
    own = [of.clips[0] for of in next_clips(given, 20, listener=0)]
    assert sorted(own) == [2, 3, 5, 6, 7]
    assert [of.clips[0] for of in next_clips(given, 9, most=1)] == [of for of in own if of > 4]


def test_the_clips_that_the_predictor_knows_least_come_first():
    rows = [(3 + (clip % 2) + 0.3 * turn, clip, 20 * turn + clip) for clip in range(10) for turn in (0, 1)]
    widths = np.array([1.0] * 12 + [3.0, 0.5, np.nan])
    asked = [of.clips[0] for of in next_clips(_given(rows, [0] * 15), 3, widths=widths, most=1)]
    assert asked[0] == 12
    assert 13 not in asked


def test_without_any_ratings_one_of_each_system_is_asked_first():
    first = {next_clips(_given([], [0, 0, 1, 1]), 2, seed=seed)[0].clips for seed in range(9)}
    assert len(first) > 1  # clips that tell the same are drawn
    systems = {given // 2 for given in (of.clips[0] for of in next_clips(_given([], [0, 0, 1, 1]), 2))}
    assert systems == {0, 1}


def test_it_narrows_intervals_more_than_chance():
    rng, widths = np.random.default_rng(0), []
    for _ in range(6):
        quality = rng.normal(3, 0.5, 4).repeat(20) + rng.normal(0, 0.7, 80)
        systems = np.arange(4).repeat(20)
        first = [(quality[c] + rng.normal(), c, i) for i, c in enumerate(rng.permutation(20)[:16])]
        first += [
            (quality[c] + rng.normal(), c, 50 + c) for s in (1, 2, 3) for c in (20 * s, 20 * s + 1, 20 * s, 20 * s + 1)
        ]
        chosen = [of.clips[0] for of in next_clips(_given(first, systems), 30)]
        of = []
        for clips in (chosen, rng.permutation(80)[:30]):
            more = [(quality[c] + rng.normal(), c, 200 + i) for i, c in enumerate(clips)]
            of.append(system_means(_given(first + more, systems)).half_widths().mean())
        widths.append(of)
    ours, random = np.mean(widths, axis=0)
    assert ours < 0.97 * random


def _log_odds_widths(wins):
    """Return the widths of all differences, by a search of its own."""
    from scipy.optimize import minimize

    def loss(x):
        odds = x[None] - x[:, None]
        return (wins * np.log1p(np.exp(odds))).sum() + (x**2).sum() / 32

    x = minimize(loss, np.zeros(len(wins))).x
    p = 1 / (1 + np.exp(x[None] - x[:, None]))
    weights = (wins + wins.T) * p * (1 - p)
    cov = np.linalg.inv(np.diag(weights.sum(1)) - weights + np.eye(len(x)) / 16)
    d = np.diag(cov)
    return x, 2 * 1.959964 * np.sqrt(np.maximum(d[:, None] + d - 2 * cov, 0)).sum() / 2


def test_the_pair_is_the_one_that_a_search_over_all_pairs_finds():
    wins = np.array([[0, 5, 1], [1, 0, 0], [2, 4, 0.0]])
    systems, candidates = np.arange(3), [(0, 1), (0, 2), (2, 1)]
    x, before = _log_odds_widths(wins)
    gains = {}
    for s, t in candidates:
        p = 1 / (1 + np.exp(x[t] - x[s]))
        more = wins.copy()
        more[s, t] += p
        more[t, s] += 1 - p  # the strengths stay, the information grows
        gains[s, t] = before - _log_odds_widths(more)[1]
    (asked,) = next_pairs(wins, candidates, systems, 1)
    best = max(gains, key=gains.get)
    assert asked.clips == best
    assert asked.gain == pytest.approx(gains[best], rel=1e-3)
    assert len(next_pairs(wins, candidates, systems, 9)) == 3


def test_pairs_of_one_system_are_not_asked_and_predictions_say_what_is_known():
    systems = np.array([0, 0, 1, 2])
    candidates = [(0, 1), (0, 2), (1, 3), (2, 3)]
    asked = next_pairs(np.zeros((3, 3)), candidates, systems, 9, scores=np.array([8.0, 0.1, 0.0]))
    assert asked[0].clips == (2, 3)  # the two that the predictor does not tell apart
    assert len(asked) == 3
