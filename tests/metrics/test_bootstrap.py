"""Intervals from resamples: against scipy's bootstrap, for every level and unit, and how often they hold the truth."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from lightning_aqa.metrics.bootstrap import Interval, Replicates, interval, p_value, replicate
from lightning_aqa.metrics.correlation import ktau, lcc, mse, srcc
from lightning_aqa.metrics.intervals import intervals
from lightning_aqa.metrics.levels import METRICS, evaluate

PLAIN = {"MSE": mse, "LCC": lcc, "SRCC": srcc, "KTAU": ktau}
NAN = math.nan


def _replicates(estimate, draws, left_out=()):
    return Replicates(np.array([estimate]), np.array([draws], float), np.array([left_out], float))


def _corpus(num_systems=8, per_system=5, seed=0):
    generator = np.random.default_rng(seed)
    number = num_systems * per_system
    systems = [f"S{i % num_systems}" for i in range(number)]
    prompts = [f"P{i // num_systems}" for i in range(number)]
    quality = generator.normal(size=num_systems)[np.arange(number) % num_systems]
    targets = np.round((quality[:, None] + generator.normal(size=(number, 2))) * 5) / 5
    return systems, prompts, targets + generator.normal(size=(number, 2)), targets


def test_percentiles_of_five_draws_are_read_off():
    found = interval(_replicates(3.0, [1, 2, 3, 4, 5]), "percentile", confidence=0.5)
    assert found == Interval(2.0, 4.0)


def test_bca_moves_to_the_side_that_the_draws_miss():
    # 1 of 5 draws below, one equal: bias -0.52; quantiles fall from .25 and .75 to ndtr(2 * -0.52 -+ 0.67).
    found = interval(_replicates(2.0, [1, 2, 3, 4, 5]), "bca", confidence=0.5)
    expected = [1 + 4 * stats.norm.cdf(2 * stats.norm.ppf(0.3) + stats.norm.ppf(tail)) for tail in (0.25, 0.75)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("metric", PLAIN)
def test_intervals_are_those_of_scipy_on_the_same_resamples(metric, method):
    generator = np.random.default_rng(5)
    y = np.round(generator.normal(size=25), 1)
    p = y + generator.normal(size=25)
    ours = replicate(p[:, None], y[:, None], [""] * 25, metrics=[metric], num_resamples=500)[metric]
    assert ours.estimate[0] == pytest.approx(PLAIN[metric](p, y))
    theirs = stats.bootstrap(
        (p, y), PLAIN[metric], paired=True, vectorized=False, n_resamples=0, method={"bca": "BCa"}.get(method, method),
        bootstrap_result=SimpleNamespace(bootstrap_distribution=ours.draws[0]),
    )  # fmt: skip
    assert interval(ours, method) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-9)


def test_draws_of_the_system_level_are_the_metrics_of_the_means_of_drawn_systems():
    systems, prompts, p, y = _corpus()
    of = [np.array(systems) == f"S{i}" for i in range(8)]
    means = [np.array([values[rows, 0].mean() for rows in of]).round(12) for values in (p, y)]
    draws = replicate(p[:, :1], y[:, :1], systems, prompts, level="system", num_resamples=300, seed=2)
    drawn = np.random.default_rng(2).integers(0, 8, (300, 8), dtype=np.int32)
    for metric, plain in PLAIN.items():
        expected = [plain(means[0][rows], means[1][rows]) for rows in drawn]
        assert draws[metric].draws[0] == pytest.approx(expected, abs=1e-9)
        without = [plain(*(np.delete(values, i) for values in means)) for i in range(8)]
        assert draws[metric].left_out[0] == pytest.approx(without, abs=1e-9)


@pytest.mark.parametrize("unit", ["clip", "prompt"])
def test_draws_of_clips_or_prompts_move_the_means_of_systems(unit):
    systems, prompts, p, y = _corpus()
    draws = replicate(p[:, :1], y[:, :1], systems, prompts, level="system", unit=unit, num_resamples=50, seed=2)
    names = np.arange(40) if unit == "clip" else np.array([int(name[1:]) for name in prompts])
    drawn = np.random.default_rng(2).integers(0, names.max() + 1, (50, names.max() + 1), dtype=np.int32)
    for metric, plain in PLAIN.items():
        expected = []
        for units in drawn:
            rows = np.concatenate([np.flatnonzero(names == number) for number in units])
            there = [rows[np.array(systems)[rows] == name] for name in sorted(set(systems))]
            means = (np.array([x[of, 0].mean() for of in there if len(of)]).round(12) for x in (p, y))
            expected.append(plain(*means))
        assert draws[metric].draws[0] == pytest.approx(expected, abs=1e-9)


def test_clusters_of_equal_clips_widen_the_interval():
    generator = np.random.default_rng(0)
    y, p = generator.normal(size=(2, 40))
    copies, names = np.tile((p + y, y), 25), [f"P{i % 40}" for i in range(1000)]
    of = {
        unit: replicate(copies[0][:, None], copies[1][:, None], [""] * 1000, names, unit=unit, metrics=["LCC"])["LCC"]
        for unit in ("clip", "prompt")
    }
    width = {unit: interval(drawn).high - interval(drawn).low for unit, drawn in of.items()}
    # 25 copies of each clip tell nothing new; who counts them as new believes in an interval 5 times narrower.
    assert width["prompt"] / width["clip"] == pytest.approx(5, rel=0.15)


def test_crossed_units_are_at_least_as_wide_as_either():
    systems, prompts, p, y = _corpus(12, 12)
    deviations = {
        unit: replicate(p, y, systems, prompts, unit=unit, metrics=["LCC"])["LCC"].draws[0].std()
        for unit in ("system", "prompt", "system+prompt")
    }
    assert deviations["system+prompt"] > max(deviations["system"], deviations["prompt"])


def test_every_interval_is_there_and_holds_the_metric():
    systems, prompts, p, y = _corpus()
    ids, domains = [f"{i:03}" for i in range(40)], ["music"] * 20 + ["speech"] * 10 + [""] * 10
    found = intervals(ids, systems, domains, p, y, ["PQ", "PC"], prompts, num_resamples=400)
    results = evaluate(ids, systems, domains, p, y, ["PQ", "PC"])
    assert list(found) == ["", "music", "speech"]
    for domain, levels in found.items():
        of = results["domains"][domain] if domain else results
        for level in ("utterance", "system"):
            for axis in ("PQ", "PC", "mean"):
                for metric in METRICS:
                    low, high = levels[level][axis][metric]
                    assert low < of[level][axis][metric] < high


def test_the_order_of_the_clips_moves_no_bit():
    systems, prompts, p, y = _corpus()
    ids = [f"{i:03}" for i in range(40)]
    first = intervals(ids, systems, systems, p, y, ["PQ", "PC"], prompts, unit="prompt", num_resamples=100)
    order = np.random.default_rng(0).permutation(40)
    names = ([column[i] for i in order] for column in (ids, systems, systems))
    prompts = [prompts[i] for i in order]
    assert intervals(*names, p[order], y[order], ["PQ", "PC"], prompts, unit="prompt", num_resamples=100) == first


def test_unrated_clips_do_not_count_on_their_axis():
    systems, _, p, y = _corpus()
    y[::3, 0] = NAN
    rated = np.isfinite(y[:, 0])
    names = [name for name, is_rated in zip(systems, rated, strict=True) if is_rated]
    for level in ("utterance", "system"):
        all_of_them = replicate(p, y, systems, level=level, unit="system", num_resamples=50)
        alone = replicate(p[rated, :1], y[rated, :1], names, level=level, unit="system", num_resamples=50)
        for metric in METRICS:
            assert all_of_them[metric].draws[0] == pytest.approx(alone[metric].draws[0], abs=1e-12)


@pytest.mark.parametrize(
    ("p", "y"),
    [([2.0] * 6, range(6)), ([NAN] * 6, range(6)), (range(6), [NAN] * 6), ([], [])],
    ids=["constant predictions", "predictions that are not finite", "nothing rated", "no clips"],
)
def test_a_correlation_that_is_undefined_has_no_interval(p, y):
    ids = [str(i) for i in range(len(p))]
    tables = (np.array([*column], float)[:, None] for column in (p, y))
    found = intervals(ids, ["S"] * len(p), [""] * len(p), *tables, ["PQ"], num_resamples=20)
    for axes in found[""].values():
        assert all(math.isnan(end) for axis in axes.values() for end in axis["SRCC"])


def test_one_system_has_an_error_but_no_correlation():
    found = intervals(list("abc"), ["S"] * 3, [""] * 3, np.eye(3)[:, :1], np.ones((3, 1)), ["PQ"], num_resamples=20)
    assert found[""]["system"]["PQ"]["MSE"] == pytest.approx((4 / 9, 4 / 9))
    assert math.isnan(found[""]["system"]["PQ"]["SRCC"].low)


def test_an_interval_needs_half_of_its_draws():
    assert interval(_replicates(2.0, [1, 2, 3, NAN, NAN]), "percentile") == pytest.approx((1.05, 2.95))
    assert math.isnan(interval(_replicates(2.0, [1, NAN, NAN]), "percentile").low)


def test_draws_on_one_side_of_the_estimate_are_moved_to_it():
    # Clips drawn at system level: the means of a resample are noisier than those of the corpus, and the error larger.
    systems, prompts, p, y = _corpus(12, 20)
    found = replicate(p[:, :1], y[:, :1], systems, prompts, level="system", unit="clip", metrics=["MSE"])["MSE"]
    low, high = interval(found)
    assert low < found.estimate[0] < high
    assert interval(_replicates(0.9, [0.5, 0.6, 0.7]), confidence=0.5) == pytest.approx((0.85, 0.95))
    assert interval(_replicates(0.99, [0.5, 0.6, 0.98]), confidence=1.0).high == 1


def test_the_p_value_is_where_the_interval_touches_zero():
    generator = np.random.default_rng(0)
    draws, left_out = generator.gamma(2, size=4000) - 0.35, generator.gamma(2, size=50)
    for method in ("percentile", "bca"):
        of = _replicates(1.4, draws, left_out)
        assert 0.01 < p_value(of, method) < 0.5
        touching = interval(of, method, confidence=1 - p_value(of, method))
        assert touching.low == pytest.approx(0, abs=0.01)
    assert p_value(_replicates(5.0, [4, 5, 6]), "percentile") == 0.5
    assert math.isnan(p_value(_replicates(NAN, [4, 5, 6])))


# SRCC of a bivariate normal: 6/pi asin(rho/2).
@pytest.mark.parametrize(("rho", "n"), [(0.99, 30), (0.6, 30), (0.7, 150)])
def test_95_in_100_intervals_hold_the_true_value(rho, n):
    generator = np.random.default_rng(7)
    true, held, num_trials = 6 / math.pi * math.asin(rho / 2), 0, 300
    for trial in range(num_trials):
        y, noise = generator.normal(size=(2, n, 1))
        p = rho * y + math.sqrt(1 - rho**2) * noise
        drawn = replicate(p, y, [""] * n, metrics=["SRCC"], num_resamples=400, seed=trial)
        low, high = interval(drawn["SRCC"])
        held += low <= true <= high
    # Three standard errors of a share of 300 trials are .038.
    assert held / num_trials == pytest.approx(0.95, abs=0.038)
