"""Values and distributions of W&B sweep files: hand-made lists, and draws against the distributions they are of."""

import math

import numpy as np
import pytest
from scipy import stats

from lightning_aqa.sweep.parameters import draw, grid_values, read_parameter


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"value": 3}, "constant"),
        ({"values": [1, 2]}, "categorical"),
        ({"values": [1, 2], "probabilities": [0.25, 0.75]}, "categorical_w_probabilities"),
        ({"min": 1, "max": 5}, "int_uniform"),
        ({"min": 1, "max": 5.0}, "uniform"),
        ({"distribution": "uniform", "min": 1, "max": 5}, "uniform"),
        ({"distribution": "normal"}, "normal"),
    ],
)
def test_the_distribution_is_inferred_as_wandb_does(given, kind):
    assert read_parameter("x", given).kind == kind


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"value": "a"}, ["a"]),
        ({"values": [None, True, {"a": 1}]}, [None, True, {"a": 1}]),
        ({"min": -1, "max": 2}, [-1, 0, 1, 2]),
        ({"distribution": "q_uniform", "min": 0.0, "max": 0.3, "q": 0.1}, [0.0, 0.1, 0.2, 0.3]),
        ({"distribution": "q_uniform", "min": 3, "max": 11, "q": 4}, [4, 8]),
    ],
)
def test_a_grid_lists_by_hand(given, values):
    found = grid_values(read_parameter("x", given))
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def _draws(given, number=4000):
    parameter, generator = read_parameter("x", given), np.random.default_rng(0)
    return np.array([draw(parameter, generator) for _ in range(number)])


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ({"min": -1.0, "max": 3.0}, stats.uniform(-1, 4)),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}, stats.loguniform(1e-4, 1e-1)),
        ({"distribution": "log_uniform", "min": -3, "max": 0}, stats.loguniform(math.exp(-3), 1)),
        ({"distribution": "normal", "mu": 2, "sigma": 0.5}, stats.norm(2, 0.5)),
        ({"distribution": "log_normal", "mu": 1, "sigma": 0.5}, stats.lognorm(0.5, scale=math.e)),
        ({"distribution": "beta", "a": 2, "b": 5}, stats.beta(2, 5)),
    ],
)
def test_draws_have_the_distribution(given, reference):
    assert stats.kstest(_draws(given), reference.cdf).pvalue > 0.01


def test_draws_of_choices_have_their_chances():
    found = _draws({"values": ["a", "b"], "probabilities": [0.2, 0.8]})
    assert np.mean(found == "b") == pytest.approx(0.8, abs=0.02)
    whole = _draws({"min": 1, "max": 3})
    assert [np.mean(whole == value) for value in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.03)


def test_quantised_draws_lie_on_the_grid():
    found = _draws({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25})
    assert sorted(set(found.tolist())) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert np.mean(found == 0.0) == pytest.approx(0.125, abs=0.02)  # the ends round from one side alone


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "give value, values, or min and max"),
        ({"parameters": {"y": {"value": 1}}}, r"write x\.<key> as one dotted key"),
        ({"distribution": "gumbel"}, "unknown distribution 'gumbel'"),
        ({"min": 1}, "uniform lacks max"),
        ({"value": 1, "q": 2}, "constant has no q"),
        ({"values": []}, "a list that is not empty"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "one per value with the sum 1"),
        ({"min": 2, "max": 1}, "min must be a number up to max"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "min of log_uniform_values must be above 0"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q must be above 0"),
    ],
)
def test_what_is_no_parameter_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        read_parameter("x", given)


def test_a_grid_has_an_end():
    with pytest.raises(ValueError, match="a grid takes value, values, int_uniform or q_uniform, got normal"):
        grid_values(read_parameter("x", {"distribution": "normal"}))
