"""The numbers of the table: those of evaluate, with what stands out, and ceilings."""

import math

import numpy as np
import pytest

from lightning_aqa.metrics.jackknife import replicate
from lightning_aqa.metrics.levels import METRICS, evaluate
from lightning_aqa.metrics.significance import Contestant
from lightning_aqa.results.clips import read_listeners
from lightning_aqa.results.comparison import compare_column, compare_variants
from lightning_aqa.results.runs import find_runs
from lightning_aqa.results.tables import write_markdown
from lightning_aqa.results.variants import collect
from tests.small_sweep import table, write_run


@pytest.fixture(scope="module")
def evidence(sweep):
    return collect(find_runs([sweep])[0], "test")


@pytest.fixture(scope="module")
def blocks(sweep, evidence):
    ratings = read_listeners(find_runs([sweep])[0], "test", evidence.ids, evidence.axes)
    return {(b.level, b.domain): b for b in compare_variants(evidence, ratings, num_resamples=200)}


def test_there_is_a_table_per_level_and_domain(blocks):
    domains = ("", "music", "speech")
    assert set(blocks) == {(level, domain) for level in ("utterance", "system") for domain in domains}
    assert blocks["system", ""].n == {"MI": 5, "TA": 5}
    assert blocks["utterance", "music"].n == {"MI": 20, "TA": 20}


@pytest.mark.parametrize("level", ["utterance", "system"])
@pytest.mark.parametrize("domain", ["", "speech"])
def test_values_are_the_means_over_seeds_of_what_a_run_reports(evidence, blocks, level, domain):
    for v, variant in enumerate(evidence.variants):
        found = []
        for scores in variant.scores:
            results = evaluate(
                evidence.ids, evidence.systems, evidence.domains, scores, evidence.targets, evidence.axes
            )  # fmt: skip
            found.append((results["domains"][domain] if domain else results)[level])
        for axis in ("MI", "TA", "mean"):
            for metric in METRICS:
                cell = blocks[level, domain].rows[v][axis, metric]
                values = [entry[axis][metric] for entry in found]
                assert cell.value == pytest.approx(np.mean(values), abs=1e-9)
                assert cell.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_systems_are_also_set_against_the_scores_that_the_corpus_publishes(evidence):
    published = {f"S{i}": {"MI": 1.0 + i * 0.7, "TA": 4.5 - i} for i in range(4)}
    scores = np.array(
        [[published.get(name, {}).get(axis, np.nan) for axis in ("MI", "TA")] for name in evidence.systems]
    )
    (block,) = [b for b in compare_variants(evidence, None, scores, num_resamples=500) if b.level == "system_mos"]
    assert block.n == {"MI": 4, "TA": 4}
    for v, variant in enumerate(evidence.variants):
        found = [
            evaluate(
                evidence.ids, evidence.systems, evidence.domains, each, evidence.targets, evidence.axes, published
            )["system_mos"]
            for each in variant.scores
        ]  # fmt: skip
        for axis, metric in block.columns:
            expected = np.mean([entry[axis][metric] for entry in found])
            assert block.rows[v][axis, metric].value == pytest.approx(expected, abs=1e-9)


def test_the_baseline_is_compared_with_nothing_and_the_best_is_tied_with_itself(blocks):
    for block in blocks.values():
        for column in block.columns:
            cells = [row[column] for row in block.rows]
            assert cells[0].difference is None
            assert all(cell.difference is not None for cell in cells[1:])
            best = [cell for cell in cells if cell.is_best]
            assert len(best) == 1
            assert best[0].is_tied
            sign = -1 if column[1] == "MSE" else 1
            assert sign * best[0].value == max(sign * cell.value for cell in cells)


def test_what_is_far_worse_is_marked_and_what_is_the_same_is_not():
    draw = np.random.default_rng(0)
    y = draw.normal(size=(200, 1))
    good, same, bad = (
        y + draw.normal(size=(200, 1)) * 0.1,
        y + draw.normal(size=(200, 1)) * 0.1,
        draw.normal(size=(200, 1)),
    )
    runs = [replicate(p, y, [""] * 200, metrics=["SRCC"])["SRCC"] for p in (good, same, bad)]
    cells = compare_column([Contestant(of, is_fixed=True) for of in runs])
    assert [cell.is_sure for cell in cells] == [False, False, True]
    assert [cell.is_tied for cell in cells] == [True, True, False]
    assert [cell.verdict for cell in cells] == ["", "undecided", "worse"]


def test_what_has_no_p_value_is_not_told_from_the_best():
    y = np.arange(6.0)[:, None]
    runs = [replicate(np.hstack([p, p]), y, list("AABBCC"), level="system", metrics=["SRCC"])["SRCC"] for p in (y, -y)]
    cells = compare_column([Contestant(of) for of in runs])
    assert [cell.is_tied for cell in cells] == [True, True]
    assert [cell.why for cell in cells] == ["3 systems: a perfect order comes by luck in 1 of 3"] * 2
    assert np.isnan([*cells[0].interval, cells[1].difference.p_value]).all()


def test_one_variant_is_tied_with_nothing(tmp_path):
    evidence = collect(find_runs([write_run(tmp_path / "a", table(12))])[0], "test")
    block = compare_variants(evidence, num_resamples=500)[0]
    assert not any(cell.is_tied for cell in block.rows[0].values())


def test_an_axis_that_nobody_rated_is_undefined_and_told_as_a_dash(tmp_path):
    of = table(12)
    of.targets[:, 1] = np.nan
    folder = write_run(tmp_path / "a", of)
    evidence = collect(find_runs([folder])[0], "test")
    block = compare_variants(evidence, num_resamples=500)[0]
    assert block.n == {"MI": 12, "TA": 0}
    assert math.isnan(block.rows[0]["TA", "SRCC"].value)
    assert block.rows[0]["mean", "SRCC"].value == block.rows[0]["MI", "SRCC"].value
    write_markdown(tmp_path / "t.md", evidence, [block])
    assert "\u2013" in (tmp_path / "t.md").read_text()


def test_ceilings_and_the_system_alone_stand_beside(blocks):
    names = [name for name, _, _ in blocks["utterance", ""].beside]
    assert names == ["Ceiling", "Split half", "System mean"]
    assert [name for name, _, _ in blocks["system", ""].beside] == names[:2]
    _, _, alone = blocks["utterance", ""].beside[2]
    assert 0.5 < alone["MI", "SRCC"] < 1


def _column(variants, y, systems=None, **settings):
    """Compare variants given as lists of runs on one axis."""
    settings = {"metrics": ["SRCC"], "level": "utterance", **settings}
    systems = systems or [""] * len(y)
    varied = [replicate(np.stack(runs, 1), y[:, None], systems, None, **settings)["SRCC"] for runs in variants]
    return compare_column([Contestant(of) for of in varied])


def test_a_column_names_the_best_its_ties_and_what_differs_from_the_first():
    generator = np.random.default_rng(4)
    y = generator.normal(size=60)
    scores = [y + noise * generator.normal(size=60) for noise in (1.5, 0.3, 0.31)]
    poor, good, alike = ([mean + 0.05 * generator.normal(size=60) for _ in range(3)] for mean in scores)
    cells = _column([poor, good, alike], y)
    assert [cell.is_tied for cell in cells] == [False, True, True]
    assert [cell.is_sure for cell in cells] == [False, True, True]
    assert cells[0].difference is None
    assert cells[1].difference.value == pytest.approx(cells[1].value - cells[0].value)


def test_a_constant_variant_is_undefined_and_not_tied():
    y = np.random.default_rng(0).normal(size=20)
    constant, right = _column([[np.zeros(20)] * 2, [y] * 2], y)
    assert np.isnan([constant.value, right.difference.p_value]).all()
    assert (constant.is_tied, right.is_tied) == (False, True)


def test_one_seed_marks_nothing():
    y, noise = np.random.default_rng(0).normal(size=(2, 40))
    cells = _column([[y + noise], [y + 0.1 * noise]], y)
    assert not any(cell.is_tied or cell.is_sure or cell.verdict for cell in cells)
    assert cells[1].is_best
    assert math.isnan(cells[1].p_adjusted)


def test_false_alarms_are_as_rare_as_promised():
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        y = generator.normal(size=40)
        variants = [[y + 0.8 * generator.normal(size=40) for _ in range(3)] for _ in range(2)]
        alarms += not all(cell.is_tied for cell in _column(variants, y))
    assert alarms / 60 < 0.12
