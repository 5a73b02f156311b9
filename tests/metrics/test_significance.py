"""Variants against each other, over seeds and clips: Holm by hand, tests against scipy's, false alarms counted."""

import math

import numpy as np
import pytest
from scipy import stats

from lightning_aqa.metrics.bootstrap import Replicates, interval, replicate
from lightning_aqa.metrics.correlation import ktau, lcc, mse, srcc
from lightning_aqa.metrics.significance import compare, holm, over_seeds

PLAIN = {"MSE": mse, "LCC": lcc, "SRCC": srcc, "KTAU": ktau}
NAN = math.nan


def _variants(generator, noises, num_seeds=3, num_systems=12, per_system=6, seed_noise=0.0):
    """Return systems, targets and, per noise, the predictions of runs that err by that much."""
    number = num_systems * per_system
    systems = [f"S{i % num_systems:02}" for i in range(number)]
    y_N = generator.normal(size=num_systems)[np.arange(number) % num_systems] + generator.normal(size=number) / 3

    def runs(noise):
        own = noise * generator.normal(size=(1, number)) + seed_noise * generator.normal(size=(num_seeds, number))
        return y_N + own

    return systems, y_N, {f"noise {noise}": runs(noise) for noise in noises}


def test_holm_is_worked_by_hand():
    # Sorted .01 .02 .03 .04 by 4 3 2 1: .04 .06 .06 .04, and no value below the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    adjusted = holm([NAN, 0.02, 0.01])
    assert math.isnan(adjusted[0])
    assert adjusted[1:] == [0.02, 0.02]


def test_the_spread_over_seeds_is_that_of_student_s_interval():
    # No spread over clips: what is left is the t interval of three runs.
    runs = np.array([0.80, 0.83, 0.86])
    flat = Replicates(runs, np.repeat(runs[:, None], 20_000, axis=1), np.repeat(runs[:, None], 5, axis=1))
    half = stats.t.ppf(0.975, 2) * runs.std(ddof=1) / math.sqrt(3)
    found = interval(over_seeds(flat), "percentile")
    assert found == pytest.approx((0.83 - half, 0.83 + half), abs=0.06 * half)
    one = over_seeds(Replicates(runs[:1], flat.draws[:1], flat.left_out[:1]))
    assert interval(one, "percentile") == pytest.approx((0.80, 0.80))


def test_the_difference_over_seeds_alone_has_the_p_value_of_welch():
    first, second = np.array([0.80, 0.83, 0.86, 0.84]), np.array([0.78, 0.80, 0.83])
    flat = [Replicates(runs, np.repeat(runs[:, None], 40_000, 1), np.zeros((len(runs), 0))) for runs in (first, second)]
    found = compare(*flat, "SRCC", method="percentile")
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.p_value == pytest.approx(welch.pvalue, rel=0.05)
    # 12 pairs of runs: .80 beats .78 and ties .80; .83 beats two and ties one; .86 and .84 beat all.
    assert found.superiority == pytest.approx((1.5 + 2.5 + 3 + 3) / 12)
    assert compare(*flat, "MSE", method="percentile").superiority == pytest.approx(2 / 12)


def test_a_paired_difference_is_surer_than_two_intervals():
    generator = np.random.default_rng(0)
    y = generator.normal(size=300)
    shared = y + generator.normal(size=300)
    runs = [(shared + 0.3 * generator.normal(size=300))[:, None], (shared + 0.8 * generator.normal(size=300))[:, None]]
    first, second = (replicate(run, y[:, None], [""] * 300, metrics=["SRCC"])["SRCC"] for run in runs)
    found = compare(first, second, "SRCC")
    assert interval(first).low < interval(second).high
    assert found.interval.low > 0
    assert found.p_value < 0.01
    back = compare(second, first, "SRCC")
    assert back.value == -found.value
    assert (-back.interval.high, -back.interval.low) == pytest.approx(found.interval, abs=0.01)


def test_a_variant_against_itself_is_no_difference():
    y, noise = np.random.default_rng(0).normal(size=(2, 50, 1))
    runs = replicate(y + noise, y, [""] * 50, metrics=["LCC"], num_resamples=100)["LCC"]
    found = compare(runs, runs, "LCC")
    assert (found.value, found.interval, found.p_value, found.superiority) == (0.0, (0.0, 0.0), 1.0, 0.5)
