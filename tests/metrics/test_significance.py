"""Variants against each other, over seeds and clips: Holm by hand, tests against scipy's, false alarms counted."""

import math

import numpy as np
import pytest
from scipy import stats

from lightning_aqa.metrics.bootstrap import Replicates, interval, replicate
from lightning_aqa.metrics.correlation import ktau, lcc, mse, srcc
from lightning_aqa.metrics.permutation import permutation_test_of_clips, permutation_test_of_seeds
from lightning_aqa.metrics.significance import compare, holm, over_seeds, rank_variants

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


@pytest.mark.parametrize("metric", PLAIN)
def test_variants_are_ranked_and_ties_with_the_best_are_named(metric):
    systems, y, variants = _variants(np.random.default_rng(4), [1.5, 0.3, 0.31], seed_noise=0.05)
    table = rank_variants(variants, y, systems, metric=metric, level="utterance", num_resamples=400)
    assert table[2].name == "noise 1.5"
    assert [row.tied for row in table] == [True, True, False]
    assert table[0].difference is None
    assert math.isnan(table[0].p_adjusted)
    assert table[2].p_adjusted < 0.05 <= table[1].p_adjusted
    expected = [PLAIN[metric](run, y) for run in variants[table[0].name]]
    assert table[0].value == pytest.approx(np.mean(expected))
    assert table[0].deviation == pytest.approx(np.std(expected, ddof=1))
    assert table[0].interval.low < table[0].value < table[0].interval.high


def test_a_reference_changes_the_differences_and_not_the_ties():
    systems, y, variants = _variants(np.random.default_rng(3), [1.5, 0.3, 0.31])
    table = rank_variants(variants, y, systems, reference="noise 1.5", num_resamples=200)
    assert [row.difference is None for row in table] == [False, False, True]
    assert table[0].difference.value == pytest.approx(table[0].value - table[2].value)
    assert [row.tied for row in rank_variants(variants, y, systems, num_resamples=200)] == [row.tied for row in table]
    with pytest.raises(ValueError, match=r"reference 'noise 2' is none of the variants noise 1\.5, noise 0\.3"):
        rank_variants(variants, y, systems, reference="noise 2")


def test_one_run_and_an_undefined_variant_have_their_rows():
    y = np.random.default_rng(0).normal(size=20)
    variants = {"constant": np.zeros(20), "right": y}
    table = rank_variants(variants, y, [""] * 20, level="utterance", num_resamples=50)
    assert [row.name for row in table] == ["right", "constant"]
    assert math.isnan(table[1].value)
    assert math.isnan(table[1].difference.p_value)
    assert math.isnan(table[0].deviation)
    assert [row.tied for row in table] == [True, False]


def test_what_has_no_p_value_is_not_told_from_the_best():
    y, systems = np.array([1.0, 2.0, 3.0, 4.0]), ["A", "A", "B", "B"]
    variants = {"one": y, "two": y + 0.1}
    for seed in range(8):  # with two systems many resamples hold one alone, where nothing correlates
        table = rank_variants(variants, y, systems, level="system", num_resamples=20, seed=seed)
        assert [row.tied for row in table] == [True, True]


def test_false_alarms_are_as_rare_as_promised():
    generator = np.random.default_rng(1)
    alarms, num_trials = 0, 100
    for trial in range(num_trials):
        systems, y, variants = _variants(generator, [0.8, 0.80001], seed_noise=0.8)
        row = rank_variants(variants, y, systems, metric="LCC", level="utterance", num_resamples=200, seed=trial)[1]
        alarms += not row.tied
    assert alarms / num_trials < 0.12


# Permutation tests


@pytest.mark.parametrize("metric", PLAIN)
def test_all_exchanges_of_clips_are_those_of_scipy(metric):
    a, b, y = np.random.default_rng(2).normal(size=(3, 8)).round(1)
    a = a + y

    def gap(first, second, axis=-1):
        return PLAIN[metric](first, y) - PLAIN[metric](second, y)

    expected = stats.permutation_test(
        (a, b), gap, permutation_type="samples", vectorized=False, n_resamples=np.inf, alternative="two-sided"
    )
    assert permutation_test_of_clips(a, b, y, [""] * 8, metric=metric) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("metric", PLAIN)
def test_all_exchanges_of_systems_are_tried_at_system_level(metric):
    systems, y, variants = _variants(np.random.default_rng(0), [0.3, 1.0], num_seeds=2, num_systems=5, per_system=4)
    first, second = variants.values()
    means = [
        np.array([[run[np.array(systems) == name].mean() for name in sorted(set(systems))] for run in np.atleast_2d(x)])
        for x in (first, second, y)
    ]
    gaps = []
    for number in range(2**5):
        swap = [bool(number >> i & 1) for i in range(5)]
        sides = np.where(swap, means[1], means[0]), np.where(swap, means[0], means[1])
        values = [np.mean([PLAIN[metric](run, means[2][0]) for run in side]) for side in sides]
        gaps.append(abs(values[0] - values[1]))
    expected = np.mean(np.array(gaps) >= gaps[0] - 1e-9)
    found = permutation_test_of_clips(first, second, y, systems, metric=metric, level="system")
    assert found == pytest.approx(expected)


def test_drawn_exchanges_find_a_difference_and_none_where_there_is_none():
    systems, y, variants = _variants(np.random.default_rng(0), [0.3, 1.0, 1.00001], seed_noise=0.1)
    good, poor, alike = variants.values()
    assert permutation_test_of_clips(good, poor, y, systems, num_permutations=499) == 1 / 500
    assert permutation_test_of_clips(poor, alike, y, systems, num_permutations=499) > 0.05
    assert permutation_test_of_clips(poor, poor, y, systems, num_permutations=99) == 1.0


def test_exchanges_need_pairs_and_one_unit():
    y = np.arange(4.0)
    with pytest.raises(ValueError, match=r"exchanged in pairs, got predictions of shape \(2, 4\) and \(3, 4\)"):
        permutation_test_of_clips(np.ones((2, 4)), np.ones((3, 4)), y, [""] * 4)
    with pytest.raises(ValueError, match="by clip, system or prompt, got 'system\\+prompt'"):
        permutation_test_of_clips(y, y, y, ["S"] * 4, ["P"] * 4, unit="system+prompt")
    assert math.isnan(permutation_test_of_clips(np.ones(4), y, y, [""] * 4))


def test_runs_are_exchanged_as_scipy_does():
    first, second = [0.80, 0.83, 0.86, 0.84], [0.78, 0.80, 0.83, 0.79]
    expected = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a) - np.mean(b), vectorized=False, n_resamples=np.inf
    )
    assert permutation_test_of_seeds(first, second) == pytest.approx(expected.pvalue)
    assert permutation_test_of_seeds(first, second, num_permutations=69) == pytest.approx(expected.pvalue, abs=0.15)
    assert math.isnan(permutation_test_of_seeds([0.8], []))
    assert math.isnan(permutation_test_of_seeds([0.8], [NAN]))
