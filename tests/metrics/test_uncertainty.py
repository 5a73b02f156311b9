"""Intervals: what they are of few units, never beyond what a metric can be, and how often they hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_aqa.metrics.intervals import intervals
from lightning_aqa.metrics.jackknife import Replicates, replicate
from lightning_aqa.metrics.levels import METRICS, evaluate
from lightning_aqa.metrics.uncertainty import interval, why_no_interval

NAN = math.nan


def _flat(metric, runs, num_units=10):
    """Return runs that no unit moves: all that is left is their spread."""
    runs = np.array(runs, float)
    same = np.repeat(runs[:, None], num_units, axis=1)
    counts = np.full((len(runs), 1), num_units)
    return Replicates(metric, runs, same, same, (num_units,), counts, counts[:, 0], counts[:, 0], "clips")


def _sample(generator, rho, n):
    y, noise = generator.normal(size=(2, n, 1))
    return rho * y + math.sqrt(1 - rho**2) * noise, y


def _true(metric, rho):
    """Return the metric of a bivariate normal of correlation rho and unit variances."""
    ranks = {"SRCC": 6 / math.pi * math.asin(rho / 2), "KTAU": 2 / math.pi * math.asin(rho)}
    return ({"MSE": 2 * (1 - rho), "LCC": rho} | ranks)[metric]


def test_the_interval_of_an_error_is_worked_by_hand():
    # Squared errors 1 .. 7: mean 4; without one of them (28 - e) / 6.
    p, y = np.sqrt(np.arange(1.0, 8))[:, None], np.zeros((7, 1))
    logs = np.log([(28 - e) / 6 for e in range(1, 8)])
    error = math.sqrt(6 / 5 * ((logs - logs.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, 5) * error
    found = interval(replicate(p, y, [""] * 7, metrics=["MSE"])["MSE"])
    assert found == pytest.approx((4 * math.exp(-half), 4 * math.exp(half)))


def test_the_interval_of_a_linear_correlation_is_that_of_the_jackknife_on_fisher_s_z():
    p, y = _sample(np.random.default_rng(0), 0.7, 20)
    z = [math.atanh(stats.pearsonr(np.delete(p[:, 0], i), np.delete(y[:, 0], i)).statistic) for i in range(20)]
    half = stats.t.ppf(0.975, 19) * math.sqrt(19 / 20 * ((np.array(z) - np.mean(z)) ** 2).sum())
    point = math.atanh(stats.pearsonr(p[:, 0], y[:, 0]).statistic)
    found = interval(replicate(p, y, [""] * 20, metrics=["LCC"])["LCC"])
    assert found == pytest.approx((math.tanh(point - half), math.tanh(point + half)))


@pytest.mark.parametrize("metric", ["LCC", "MSE"])
def test_the_spread_over_seeds_is_that_of_student_s_interval_on_the_scale(metric):
    runs, to, back = [0.80, 0.83, 0.86], *((np.log, np.exp) if metric == "MSE" else (np.arctanh, np.tanh))
    half = stats.t.ppf(0.975, 2) * to(runs).std(ddof=1) / math.sqrt(3)
    assert interval(_flat(metric, runs)) == pytest.approx(back([to(0.83) - half, to(0.83) + half]))
    assert interval(_flat(metric, runs[:1])) == pytest.approx((0.80, 0.80))


def test_seed_noise_that_the_choice_of_clips_explains_is_not_counted_again():
    # The runs err independently on each clip and are equally good: what they differ by is luck of these clips.
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(60):
        y = generator.normal(size=(30, 1))
        runs = replicate(y + 0.5 * generator.normal(size=(30, 3)), y, [""] * 30, metrics=["LCC"])["LCC"]
        one = interval(runs.mean())
        ratios.append(np.ptp(np.arctanh(interval(runs))) / np.ptp(np.arctanh(one)))
    assert np.median(ratios) < 1.15


def test_folds_widen_by_the_correction_of_nadeau_and_bengio():
    p, y = _sample(np.random.default_rng(0), 0.7, 50)
    runs = replicate(p, y, [""] * 50, metrics=["LCC"])["LCC"]
    wide, plain = np.arctanh(interval(runs, folds=5)), np.arctanh(interval(runs))
    assert np.ptp(wide) == pytest.approx(1.5 * np.ptp(plain))


@pytest.mark.parametrize("unit", ["clip", "system"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_units_have_no_interval_but_a_reason(unit, count):
    systems = [f"S{i % count}" for i in range(20 if unit == "system" else count)]
    p, y = np.random.default_rng(0).normal(size=(2, len(systems), 1))
    for metric, of in replicate(p, y, systems, unit=unit).items():
        assert math.isnan(interval(of).low)
        assert why_no_interval(of).startswith(f"{count} {unit}")
        is_value = metric == "MSE" or len(systems) > 2
        assert math.isfinite(of.estimate[0]) == is_value


@pytest.mark.parametrize(("count", "bound"), [(6, 0.65), (8, 0.89), (10, 0.957), (30, 0.998)])
def test_a_perfect_order_has_its_exact_bound(count, bound):
    y = np.arange(float(count))[:, None]
    assert interval(replicate(y**3, y, [""] * count)["SRCC"]) == pytest.approx((bound, 1), abs=0.004)
    assert interval(replicate(-(y**3), y, [""] * count)["SRCC"]) == pytest.approx((-1, -bound), abs=0.004)


@pytest.mark.parametrize("metric", ["SRCC", "KTAU"])
@pytest.mark.parametrize("count", [6, 8, 12])
def test_runs_nearer_to_a_perfect_order_than_half_a_step_are_no_surer_than_it(count, metric):
    y = np.arange(float(count))
    swap = np.r_[y[:-2], y[-1], y[-2]]
    runs = np.stack([swap, y, y], 1)
    of = replicate(runs, y[:, None], [""] * count)[metric]
    low, high = interval(of)
    perfect = interval(of.pick([2]))
    assert low <= perfect.low < of.estimate.mean() < high
    assert interval(replicate(-runs, y[:, None], [""] * count)[metric]) == pytest.approx((-high, -low))


def test_a_run_without_an_error_beside_others_leaves_no_interval():
    y = np.arange(9.0)
    assert why_no_interval(replicate(np.stack([y, y + 0.1], 1), y[:, None], [""] * 9)["MSE"])


@given(
    st.integers(6, 12).flatmap(
        lambda n: st.tuples(*(st.lists(st.integers(1, 5), min_size=n, max_size=n) for _ in range(3)))
    )
)
def test_no_interval_is_beyond_what_the_metric_can_be_or_a_point(rows):
    first, second, y = (np.array(row, float) for row in rows)
    for metric, of in replicate(np.stack([first, second], 1), y[:, None], [""] * len(y)).items():
        low, high = interval(of)
        if math.isnan(low):
            assert why_no_interval(of)
            continue
        assert (low >= 0) if metric == "MSE" else (-1 <= low <= high <= 1)
        value = of.estimate.mean()
        assert low - 1e-9 <= value <= high + 1e-9
        assert high > low or metric == "MSE" or (metric == "LCC" and abs(value) > 1 - 1e-9)


@pytest.mark.parametrize(
    ("p", "y"),
    [([2.0] * 6, range(6)), ([NAN] * 6, range(6)), (range(6), [NAN] * 6), ([], []), ([1.0] * 5 + [2.0], range(6))],
    ids=["constant predictions", "not finite", "nothing rated", "no clips", "one that differs"],
)
def test_a_correlation_that_is_undefined_has_no_interval(p, y):
    ids = [str(i) for i in range(len(p))]
    tables = (np.array([*column], float)[:, None] for column in (p, y))
    found = intervals(ids, ["S"] * len(p), [""] * len(p), *tables, ["PQ"])
    for axes in found[""].values():
        for axis in axes.values():
            assert math.isnan(axis["SRCC"].interval.low)
            assert axis["SRCC"].why


def test_clusters_of_equal_clips_widen_the_interval():
    y, p = np.random.default_rng(0).normal(size=(2, 40))
    copies, names = np.tile((p + y, y), 25), [f"P{i % 40}" for i in range(1000)]
    width = {}
    for unit in ("clip", "prompt"):
        low, high = interval(replicate(*copies[:, :, None], [""] * 1000, names, unit=unit, metrics=["LCC"])["LCC"])
        width[unit] = high - low
    # 25 copies of each clip tell nothing new; who counts them as new believes in an interval 5 times narrower.
    assert width["prompt"] / width["clip"] == pytest.approx(5, rel=0.15)


def test_every_interval_is_there_and_holds_the_metric():
    generator = np.random.default_rng(0)
    systems = [f"S{i % 8}" for i in range(80)]
    y = generator.normal(size=(80, 2)) + np.arange(80)[:, None] % 8
    p = y + generator.normal(size=(80, 2))
    ids, domains = [f"{i:03}" for i in range(80)], ["music"] * 40 + ["speech"] * 30 + [""] * 10
    found = intervals(ids, systems, domains, p, y, ["PQ", "PC"])
    results = evaluate(ids, systems, domains, p, y, ["PQ", "PC"])
    assert list(found) == ["", "music", "speech"]
    for domain, levels in found.items():
        of = results["domains"][domain] if domain else results
        for level in ("utterance", "system"):
            for axis in ("PQ", "PC", "mean"):
                for metric in METRICS:
                    low, high = levels[level][axis][metric].interval
                    assert low < of[level][axis][metric] <= high


def test_the_order_of_the_clips_moves_no_bit():
    generator = np.random.default_rng(0)
    ids, prompts = [f"{i:03}" for i in range(400)], [f"P{i % 7}" for i in range(400)]
    systems, (p, y) = [f"S{i % 9}" for i in range(400)], generator.normal(size=(2, 400, 2))
    order = generator.permutation(400)
    for unit in ("prompt", "clip"):
        first = intervals(ids, systems, systems, p, y, ["PQ", "PC"], prompts, unit=unit)
        names = ([column[i] for i in order] for column in (ids, systems, systems))
        mixed = [prompts[i] for i in order]
        assert intervals(*names, p[order], y[order], ["PQ", "PC"], mixed, unit=unit) == first


def test_a_domain_without_prompts_takes_its_clips():
    p, y = np.random.default_rng(0).normal(size=(2, 20, 1))
    ids, domains = [f"{i:02}" for i in range(20)], ["music"] * 10 + ["speech"] * 10
    found = intervals(ids, [""] * 20, domains, p, y, ["PQ"], ["P"] * 10 + [""] * 10, unit="prompt")
    assert found["speech"]["utterance"]["PQ"]["SRCC"].why == ""
    assert found["music"]["utterance"]["PQ"]["SRCC"].why == "1 prompt: a correlation needs 3"
    with pytest.raises(ValueError, match="needs the prompt of the clips, and none is named"):
        intervals(ids, [""] * 20, domains, p, y, ["PQ"], unit="prompt")


@pytest.mark.parametrize(("rho", "n", "lowest"), [(0.95, 6, 0.90), (0.99, 30, 0.90), (0.6, 30, 0.92), (0.7, 150, 0.92)])
def test_95_in_100_intervals_hold_the_true_value(rho, n, lowest):
    generator, held, num_trials = np.random.default_rng(7), dict.fromkeys(METRICS, 0), 300
    for _ in range(num_trials):
        p, y = _sample(generator, rho, n)
        for metric, of in replicate(p, y, [""] * n).items():
            low, high = interval(of)
            held[metric] += low <= _true(metric, rho) <= high
    # Three standard errors of a share of 300 trials are .038; rank correlations of few are known to steps alone.
    for metric in METRICS:
        assert held[metric] / num_trials >= lowest, metric
    assert held["LCC"] / num_trials == pytest.approx(0.95, abs=0.038)
