"""A metric with each unit left out or doubled: against the plain metrics on rows that are left out or repeated."""

import math

import numpy as np
import pytest

from lightning_aqa.metrics.correlation import ktau, lcc, mse, srcc
from lightning_aqa.metrics.jackknife import mean_of, replicate
from lightning_aqa.metrics.levels import METRICS

PLAIN = {"MSE": mse, "LCC": lcc, "SRCC": srcc, "KTAU": ktau}
NAN = math.nan


def _corpus(num_systems=8, per_system=5, seed=0):
    generator = np.random.default_rng(seed)
    number = num_systems * per_system
    systems = [f"S{i % num_systems}" for i in range(number)]
    prompts = [f"P{i // num_systems}" for i in range(number)]
    quality = generator.normal(size=num_systems)[np.arange(number) % num_systems]
    targets = np.round((quality[:, None] + generator.normal(size=(number, 2))) * 5) / 5
    return systems, prompts, targets + generator.normal(size=(number, 2)), targets


@pytest.mark.parametrize("metric", PLAIN)
def test_clips_are_left_out_and_doubled(metric):
    _, _, p, y = _corpus()
    found = replicate(p[:, :1], y[:, :1], [""] * 40, metrics=[metric])[metric]
    assert found.estimate[0] == pytest.approx(PLAIN[metric](p[:, 0], y[:, 0]))
    without = [PLAIN[metric](np.delete(p[:, 0], i), np.delete(y[:, 0], i)) for i in range(40)]
    assert found.without[0] == pytest.approx(without, abs=1e-9)
    doubled = [PLAIN[metric](np.append(p[:, 0], p[i, 0]), np.append(y[:, 0], y[i, 0])) for i in range(40)]
    if metric in ("SRCC", "KTAU"):
        assert found.doubled[0] == pytest.approx(doubled, abs=1e-9)


@pytest.mark.parametrize("unit", ["system", "clip", "prompt"])
def test_units_move_the_means_of_systems(unit):
    systems, prompts, p, y = _corpus()
    found = replicate(p[:, :1], y[:, :1], systems, prompts, level="system", unit=unit)
    names = {"system": systems, "prompt": prompts, "clip": [str(i).zfill(2) for i in range(40)]}[unit]
    for metric, plain in PLAIN.items():
        expected = []
        for left_out in sorted(set(names)):
            rows = np.array([name != left_out for name in names])
            there = [rows & (np.array(systems) == name) for name in sorted(set(systems))]
            expected.append(plain(*(np.array([x[of, 0].mean() for of in there if of.any()]).round(12) for x in (p, y))))
        assert found[metric].without[0] == pytest.approx(expected, abs=1e-9)


def test_crossed_units_vary_in_turn():
    systems, prompts, p, y = _corpus()
    one, other, both = (
        replicate(p, y, systems, prompts, unit=unit, metrics=["LCC"])["LCC"]
        for unit in ("system", "prompt", "system+prompt")
    )
    assert both.ways == (8, 5)
    assert np.array_equal(both.without, np.concatenate([one.without, other.without], axis=1))
    assert (both.fewest[0], both.unit) == (5, "prompts")


def test_unrated_clips_do_not_count_on_their_axis():
    systems, _, p, y = _corpus()
    y[::3, 0] = NAN
    y[np.array(systems) == "S0", 0] = NAN
    rated = np.isfinite(y[:, 0])
    names = [name for name, is_rated in zip(systems, rated, strict=True) if is_rated]
    for level in ("utterance", "system"):
        all_of_them = replicate(p, y, systems, level=level, unit="system")
        alone = replicate(p[rated, :1], y[rated, :1], names, level=level, unit="system")
        for metric in METRICS:
            assert all_of_them[metric].without[0, 1:] == pytest.approx(alone[metric].without[0], abs=1e-12)
            assert (all_of_them[metric].fewest.tolist(), all_of_them[metric].unit) == ([7, 8], "systems")


def test_two_values_have_an_error_but_no_correlation():
    found = replicate(np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]]), ["", ""])
    assert found["MSE"].estimate[0] == 0.5
    assert all(math.isnan(found[metric].estimate[0]) for metric in ("LCC", "SRCC", "KTAU"))


def test_axes_and_seeds_are_averaged_sample_by_sample():
    systems, _, p, y = _corpus()
    found = replicate(p, y, systems)["SRCC"]
    expected = found.without.mean(0)
    assert found.mean().without[0] == pytest.approx(expected)
    assert mean_of([found.pick([0]), found.pick([1])]).without[0] == pytest.approx(expected)
