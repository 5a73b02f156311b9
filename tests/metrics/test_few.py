"""Few units: what luck does to three, and the bound of a perfect order against simulated samples."""

import math

import numpy as np
import pytest

from lightning_aqa.metrics.correlation import ktau, srcc
from lightning_aqa.metrics.few import half_step, order_bound, too_few


@pytest.mark.parametrize(("count", "luck"), [(3, 3), (4, 12), (5, 60)])
def test_luck_of_few_is_that_of_shuffled_orders(count, luck):
    from itertools import permutations

    orders = list(permutations(range(count)))
    perfect = sum(order in (tuple(range(count)), tuple(range(count))[::-1]) for order in orders)
    assert len(orders) / perfect == luck
    assert too_few(count, "systems").endswith(f"in 1 of {luck}")
    assert too_few(1, "systems") == "1 system: a correlation needs 3"


@pytest.mark.parametrize("count", [6, 8, 10])
def test_a_perfect_order_is_as_rare_at_its_bound_as_it_says(count):
    rho = 2 * math.sin(math.pi / 6 * order_bound(count, "SRCC"))
    y, noise = np.random.default_rng(0).normal(size=(2, 40_000, count))
    p = np.take_along_axis(rho * y + math.sqrt(1 - rho**2) * noise, np.argsort(y, 1), 1)
    assert (np.diff(p, axis=1) > 0).all(1).mean() == pytest.approx(0.025, abs=0.003)
    assert 2 / math.pi * math.asin(rho) == pytest.approx(order_bound(count, "KTAU"))


def test_bounds_grow_with_the_number_and_stay_below_one():
    bounds = [order_bound(count, "SRCC") for count in range(6, 40)]
    assert bounds == sorted(bounds)
    assert bounds[-1] < 1


@pytest.mark.parametrize("count", [4, 7])
def test_a_step_is_one_swap(count):
    order = np.arange(count, dtype=float)
    swapped = np.r_[1, 0, order[2:]]
    assert 1 - srcc(swapped, order) == pytest.approx(2 * half_step(count, "SRCC"))
    assert 1 - ktau(swapped, order) == pytest.approx(2 * half_step(count, "KTAU"))
