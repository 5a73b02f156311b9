"""Sizes of tests, against simulation."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lightning_aqa.metrics.planning import smallest_difference


@pytest.mark.parametrize("n", [2, 3, 6, 30])
@pytest.mark.parametrize("power", [0.5, 0.8])
def test_a_t_test_finds_the_smallest_difference_as_often_as_said(n: int, power: float) -> None:
    samples = np.random.default_rng(n).normal(size=(20_000, n)) + smallest_difference(1 / math.sqrt(n), n - 1, power)
    assert (ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(power, abs=0.015)


@pytest.mark.parametrize("given", [(math.nan, 5), (-1.0, 5), (1.0, math.nan), (1.0, 0)])
def test_what_is_undefined_stays_so(given: tuple[float, float]) -> None:
    assert math.isnan(smallest_difference(*given))
