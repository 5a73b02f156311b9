import math

import numpy as np
import pytest

from lightning_aqa.metrics.correlation import exact_mean, rows_of_systems, system_means


def test_exact_mean_ties_where_decimals_tie():
    # A running sum of the first gives 0.20000000000000004, of the second 0.19999999999999998.
    one, other = np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.1])
    assert sum(one) / 3 != sum(other) / 3
    assert exact_mean(one) == exact_mean(other) == 0.2


def test_exact_mean_does_not_depend_on_the_order():
    values = np.random.default_rng(0).uniform(1, 10, size=501)
    assert len({exact_mean(np.random.default_rng(seed).permutation(values)) for seed in range(20)}) == 1


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, -math.inf]])
def test_exact_mean_is_nan_where_there_is_none(values):
    assert math.isnan(exact_mean(np.array(values)))


def test_system_means_take_the_kept_values_of_each_system():
    values, kept = np.array([[1.0, 10.0], [3.0, 20.0], [5.0, 30.0]]), np.array([[1, 0], [1, 0], [1, 1]], dtype=bool)
    means = system_means(values, kept, rows_of_systems(["b", "b", "a"]))
    np.testing.assert_array_equal(means, [[5.0, 30.0], [2.0, math.nan]])
