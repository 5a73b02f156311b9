import numpy as np
import pytest

from lightning_aqa.batch import Axis
from lightning_aqa.data.synthesis.listeners import ListenerPanel, true_scores

AXES = (Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5))


def test_a_listener_without_habits_rounds_the_truth():
    panel = ListenerPanel(np.zeros((2, 2)), np.ones(2), 0.0, AXES)
    assert panel.rate({"MI": 3.4, "TA": 9.0}, [0, 1], np.random.default_rng(0)) == {"MI": [3, 3], "TA": [5, 5]}


def test_bias_and_slope_move_a_rating():
    # Middle 3: 3 + 0.5 * (5 - 3) = 4 for the first, 5 - 1 = 4 for the second listener, and 3 + 2 - 2 = 3 for the third.
    panel = ListenerPanel(np.array([[0.0, 0], [-1, 0], [-2, 0]]), np.array([0.5, 1, 1]), 0.0, AXES)
    assert panel.rate({"MI": 5.0, "TA": 3.0}, [0, 1, 2], np.random.default_rng(0))["MI"] == [4, 4, 3]


def test_ratings_are_integers_within_the_scale():
    panel = ListenerPanel.draw(14, AXES, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    ratings = [
        rating for truth in np.linspace(0, 6, 50) for rating in panel.rate({"MI": truth, "TA": 3}, [3, 7], rng)["MI"]
    ]
    assert {type(rating) for rating in ratings} == {int}
    assert set(ratings) == {1, 2, 3, 4, 5}


def test_listeners_disagree_around_the_truth():
    panel = ListenerPanel.draw(200, AXES, np.random.default_rng(0))
    ratings = panel.rate({"MI": 3.0, "TA": 3.0}, range(200), np.random.default_rng(1))["MI"]
    assert np.mean(ratings) == pytest.approx(3.0, abs=0.15)
    assert 0.3 < np.std(ratings) < 0.9


@pytest.mark.parametrize("domain", ["speech", "music", "sound"])
def test_damage_lowers_every_axis(domain):
    clean, damaged = true_scores(domain, 2, 0.0), true_scores(domain, 2, 0.5)
    assert all(damaged[axis] < clean[axis] for axis in clean)


def test_wrong_content_lowers_textual_alignment_and_nothing_else():
    right, wrong = true_scores("music", 2, 0.2), true_scores("music", 2, 0.2, wrong=0.5)
    assert wrong.pop("TA") == pytest.approx(right.pop("TA") - 1.35)
    assert wrong == right
