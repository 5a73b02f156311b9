"""Plans through the front door: what a pilot and what assumptions say, and what cannot be told."""

import csv
import re
from itertools import pairwise

import numpy as np
import pytest

from lightning_aqa.cli.main import main
from lightning_aqa.metrics.planning import assumed_deviation, units_needed
from lightning_aqa.results.ratings import write_ratings
from tests.small_sweep import table, write_run


@pytest.fixture
def planned(tmp_path, capsys):
    """Run ``plan``; return the words of each line of its screen."""

    def run(*words):
        assert main(["plan", *map(str, words), f"--output={tmp_path / 'plan'}"]) == 0
        return capsys.readouterr().out

    return run


def _rows(text):
    """Cells of the rows of the table, by difference."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if re.fullmatch(r"[\d.]+", row[0])}


def test_assumptions_alone_give_a_plan(planned, tmp_path):
    words = ["--srcc=.85", "--correlation=.9", "--difference=.05", "--difference", ".001"]
    said = planned(*words, "--seed_deviation=.01", "--size=400", "--seeds=5")
    n = units_needed(0.05, assumed_deviation(0.85, 0.9))
    assert _rows(said)["0.05"][3] == str(n)
    assert _rows(said)["0.001"][:4] == ["never"] * 3 + [
        f"{units_needed(0.001, assumed_deviation(0.85, 0.9)):,}".replace(",", " ")
    ]
    assert "400 clips, 5 seeds: a difference of 0.04" in said
    assert (tmp_path / "plan" / "plan.png").stat().st_size > 10_000
    with open(tmp_path / "plan" / "plan.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"seeds": "", "clips": str(n), "difference of SRCC": "0.05"} in rows
    curve = [(int(row["clips"]), float(row["difference of SRCC"])) for row in rows if not row["seeds"]][:60]
    assert all(later[1] < earlier[1] for earlier, later in pairwise(curve))


def test_a_pilot_gives_a_plan_of_how_its_variants_differ(planned, sweep):
    said = planned(sweep, "--metric=MSE", "--axis=MI", "--difference=.1")
    assert "Pilot: 4 variants, 2 seeds, 40 clips, split test." in said
    assert re.search(r"varies by [\d.]+ \([\d.]+ to [\d.]+ in 6 pairs\) / root of the number of clips", said)
    (cells,) = _rows(said).values()
    assert len(cells) == 6  # 2, 3, 5, 10 and any number of seeds, and seeds alone
    assert all(cell == "never" or cell.replace(" ", "").isdigit() for cell in cells)


def test_systems_are_counted_with_their_clips(planned, sweep):
    said = planned(sweep, "--unit=prompt", "--difference=.2")
    assert "Pilot: 4 variants, 2 seeds, 8 prompts of 5 clips, split test." in said
    assert "prompts, any number of seeds" in said
    assert "interval" not in said


def test_the_clips_that_a_pilot_plans_are_those_of_its_paired_differences(planned, tmp_path):
    runs = [write_run(tmp_path / name, table(noise=0.4, seed=seed)) for name, seed in (("a", 1), ("b", 2))]
    (cells,) = _rows(planned(*runs, "--metric=MSE", "--axis=MI", "--difference=.05")).values()
    errors = [((of.scores - of.targets)[:, 0]) ** 2 for of in (table(noise=0.4, seed=1), table(noise=0.4, seed=2))]
    plain = units_needed(0.05, float(np.std(errors[0] - errors[1], ddof=1)))
    assert int(cells[0].replace(" ", "")) == pytest.approx(plain, rel=0.4)  # the test is on the logarithm


def test_listeners_are_counted_from_ratings_or_an_assumption(planned, tmp_path):
    of, draw = table(noise=0.4), np.random.default_rng(0)
    runs = [write_run(tmp_path / name, table(noise=0.4, seed=seed)) for name, seed in (("a", 1), ("b", 2))]
    rows = [
        (id_, "MI", str(k), float(target + draw.normal(0, 0.8)))
        for id_, (target, _) in zip(of.ids, of.targets, strict=True)
        for k in range(10)
    ]
    write_ratings(runs[0] / "ratings.csv", [("test", rows)])
    (factors,) = re.findall(
        r"Clips by listeners per clip \(10 here\): (.*)\.", planned(*runs, "--axis=MI", "--metric=LCC")
    )
    found = {k: float(x) for k, x in re.findall(r"(\d+): x ([\d.]+)", factors)}
    assert found["1"] > found["2"] > 2 > found["5"] > found["10"] == 1 > found["20"]
    assert "(5 here): 1: x 2.1, 2: x 1.4, 5: x 1," in planned("--srcc=.6", "--reliability=.8", "--listeners=5")
    assert "is above 0.548" in planned("--srcc=.85", "--reliability=.3")


def test_predictions_that_do_not_vary_correlate_with_none(planned, tmp_path):
    pilots = (table(), table()._replace(scores=np.ones((40, 2))))
    said = planned(*(write_run(tmp_path / name, of) for name, of in zip("ab", pilots, strict=True)), "--metric=MSE")
    assert "root of the number of clips; variants less alike take more." in said
    assert "nan" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--level=system"], "5 systems: too few to tell how a difference varies; 6 at least."),
        ([], "One seed per variant does not tell how runs vary"),
        ([], "How many listeners it takes is not known: give runs with ratings.csv"),
        ([], "Assumed: two predictors of SRCC"),
    ],
)
def test_what_a_small_pilot_cannot_tell_is_said(planned, tmp_path, words, expected):
    said = planned(write_run(tmp_path / "alone", table()), *words)
    assert "if runs do not vary" in said
    assert expected in said
    if "too few" in expected:
        assert set(_rows(said)["0.01"]) == {"-"}
        assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give run folders of a pilot, or --srcc to plan without one; there is none."),
        (["--srcc=.85", "--correlation=.3"], "two predictors of SRCC 0.85 correlate between 0.445 and 1; give one"),
        (
            ["--srcc=.85", "--axis=MI"],
            "--axis=MI: there are no runs to take it from; leave it out, or give run folders.",
        ),
        (
            ["--srcc=.5", "--correlation=1"],
            "two predictors of SRCC 0.5 correlate between -0.5 and 1; give one in between",
        ),
        (["--srcc=.8", "--difference=1e-300"], "--difference must be between 1e-09 and 1e+09, got 1e-300."),
        (["--srcc=.8", f"--size={10**21}"], "--size must be at most 1e+09, got 1e+21."),
        (["--srcc=.8", "--seed_deviation=1e300"], "--seed_deviation must be at most 1e+09, got 1e+300."),
        (["--srcc=1.2"], "--srcc must be between -1 and 1, got 1.2."),
        (["--srcc=.8", "--difference=-1"], "--difference must be above 0, got -1."),
        (["--srcc=.8", "--difference=nan"], "--difference must be above 0, got nan."),
        (["--srcc=.8", "--power=80"], "--power must be between 0.05 and 1, got 80."),
        (["--srcc=.8", "--metric=LCC"], "--metric=LCC: only SRCC can be planned without a pilot; give run folders."),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(fails, words, expected):
    said = fails("plan", *words)
    assert expected in said
    assert "\n" not in said


def test_one_run_alone_says_nothing_of_differences_of_mse(fails, tmp_path):
    run = write_run(tmp_path / "alone", table())
    assert "give runs of two variants" in fails("plan", str(run), "--metric=MSE")
    two = [str(write_run(tmp_path / name, table(seed=seed))) for seed, name in enumerate("vw")]
    assert "the pilot is of 2 variants" in fails("plan", *two, "--correlation=.9")
    same = [str(write_run(tmp_path / name, table())) for name in ("x", "y")]
    assert "the same whichever clip is left out" in fails("plan", *same)
    constant = table()._replace(scores=np.ones((40, 2)))
    assert "SRCC of this pilot is undefined" in fails("plan", str(write_run(tmp_path / "constant", constant)))
