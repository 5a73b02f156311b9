import math

import numpy as np
import pytest

from lightning_aqa.metrics.preferences import JudgedPair, evaluate_pairs, proportion_interval


def judged(clips, score, winner, p_a, listener="", weight=1.0, p_tie=0.0):
    return JudgedPair(*clips, "MI", winner, listener, weight, *score, p_a, 1 - p_a - p_tie, p_tie)


def test_accuracy_loss_and_calibration_by_hand():
    rows = [
        judged("ab", (2.0, 1.0), "a", 0.8),
        judged("cd", (2.0, 1.0), "b", 0.7),
        judged("ef", (1.0, 1.0), "a", 0.5, weight=2.0),
        judged("gh", (1.0, 3.0), "tie", 0.1, p_tie=0.3),
    ]
    found = evaluate_pairs(rows, ["MI", "TA"])
    entry = found["MI"]
    assert entry["accuracy"] == pytest.approx((1 + 0 + 2 * 0.5) / 4)
    assert entry["log_loss"] == pytest.approx(-(math.log(0.8) + math.log(0.3) + 2 * math.log(0.5)) / 4)
    assert entry["ECE"] == pytest.approx(abs((1 - 0.8) + (0 - 0.7) + 2 * (0.5 - 0.5)) / 4)  # one bin of so few
    assert (entry["n"], entry["clips"], entry["ties"], entry["ties_predicted"]) == (3, 8, 1, pytest.approx(0.3))
    assert entry["unit"] == "clips"
    assert list(found) == ["MI", "mean"]
    assert evaluate_pairs([], ["MI"]) == {}


def test_a_model_without_probabilities_has_an_accuracy_alone():
    rows = [judged("ab", (2.0, 1.0), "a", math.nan, p_tie=math.nan)._replace(p_b=math.nan)] * 3
    entry = evaluate_pairs(rows, ["MI"])["MI"]
    assert entry["accuracy"] == 1
    assert all(math.isnan(entry[name]) for name in ("log_loss", "ECE", "ECE_chance", "ties_predicted"))
    assert all(math.isnan(end) for name in ("log_loss", "ECE") for end in entry["ci"][name])
    assert entry["bins"] == []


@pytest.mark.parametrize(("n", "low"), [(1, 0.025), (2, 0.158), (3, 0.292), (6, 0.541)])
def test_an_interval_is_there_for_few_pairs_all_of_which_are_right(n, low):
    rows = [judged((f"a{i}", f"b{i}"), (2.0, 1.0), "a", 0.8) for i in range(n)]
    assert evaluate_pairs(rows, ["MI"])["MI"]["ci"]["accuracy"] == [pytest.approx(low, abs=1e-3), 1.0]
    assert proportion_interval(1.0, n).low == pytest.approx(0.025 ** (1 / n))
    repeated = evaluate_pairs(rows * 50, ["MI"])["MI"]["ci"]["accuracy"]  # the same clips again say nothing new
    assert repeated == [pytest.approx(low, abs=1e-3), 1.0]


def draw(random, num_clips, num_pairs, slope=1.5, stated=1.5, noise=0.7):
    """Pairs of clips whose predicted score errs by clip; the true accuracy is that over all clips of the kind."""
    quality = random.standard_normal(num_clips)
    score = quality + noise * random.standard_normal(num_clips)
    rows = []
    for _ in range(num_pairs):
        a, b = random.choice(num_clips, 2, replace=False)
        wins = random.random() < 1 / (1 + math.exp(-slope * (quality[a] - quality[b])))
        p = 1 / (1 + math.exp(-stated * (score[a] - score[b])))
        rows.append(judged((f"c{a}", f"c{b}"), (score[a], score[b]), "a" if wins else "b", p))
    return rows


def truth(**settings):
    random = np.random.default_rng(99)
    return np.mean([evaluate_pairs(draw(random, 400, 2000, **settings), ["MI"], with_intervals=False)["MI"]["accuracy"]
                    for _ in range(20)])  # fmt: skip


@pytest.mark.parametrize(("num_clips", "num_pairs", "least"), [(6, 6, 0.94), (20, 100, 0.9)])
def test_the_interval_of_the_accuracy_holds_that_of_other_clips(num_clips, num_pairs, least):
    """Pairs drawn one by one would hold it in 76 % of the draws of 100 pairs of 20 clips."""
    true, random = truth(), np.random.default_rng(num_clips)
    ends = [evaluate_pairs(draw(random, num_clips, num_pairs), ["MI"])["MI"]["ci"]["accuracy"] for _ in range(150)]
    assert np.mean([low <= true <= high for low, high in ends]) >= least
    assert np.mean([high - low for low, high in ends]) < 0.95


def test_calibration_tells_exact_probabilities_from_overconfident_ones():
    random = np.random.default_rng(3)
    exact = evaluate_pairs(draw(random, 400, 600, noise=0.0), ["MI"])["MI"]
    sure = evaluate_pairs(draw(random, 400, 600, noise=0.0, stated=6.0), ["MI"])["MI"]
    assert exact["ci"]["ECE"][0] == 0
    assert exact["ECE"] < 2 * exact["ECE_chance"]
    assert sure["ci"]["ECE"][0] > 0.03
    assert sure["log_loss"] > exact["log_loss"]


def test_listeners_with_names_vary_too():
    random = np.random.default_rng(0)
    rows = [row._replace(listener=f"L{i % 3}") for i, row in enumerate(draw(random, 200, 300))]
    off = [row._replace(winner="b" if row.winner == "a" else "a") if row.listener == "L0" else row for row in rows]
    plain = evaluate_pairs([row._replace(listener="") for row in off], ["MI"])["MI"]
    named = evaluate_pairs(off, ["MI"])["MI"]
    assert (plain["unit"], named["unit"]) == ("clips", "clips and listeners")
    assert np.diff(named["ci"]["accuracy"]) > 3 * np.diff(plain["ci"]["accuracy"])  # one of three hears the opposite
