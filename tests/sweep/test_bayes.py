"""Optuna proposes trials that a sweep runs, and a sweep that was stopped goes on from its journal."""

import sys

import pytest

from lightning_aqa.sweep.config import read_sweep
from lightning_aqa.sweep.plan import BayesPlan

SPACE = {
    "x": {"min": -1.0, "max": 3.0},
    "n": {"min": 1, "max": 4},
    "q": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25},
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
    "part": {"values": ["a", {"b": None}]},
    "fixed": {"value": 7},
}
METRIC = {"name": "val/loss", "goal": "minimize"}
# What a training leaves: here the loss is (x - 1)^2, without the dot.
SCRIPT = """
x=${1#x=}
folder=$(dirname "$LIGHTNING_AQA_TRIAL")
echo "val/loss" > $folder/history.csv
awk -v x=$x 'BEGIN {print (x - 1) * (x - 1)}' >> $folder/history.csv
if [ -e fail ]; then rm fail; exit 1; fi
"""


@pytest.fixture
def space(write_sweep):
    """A sweep over every kind of parameter that can be proposed."""
    write_sweep(SPACE, method="bayes", metric=METRIC, script=SCRIPT)


def _plan(folder, count=8):
    return BayesPlan(read_sweep("s.yaml"), folder, count, seed=0)


def test_trials_are_proposed_run_and_told(space, sandbox, sweep):
    (sandbox / "fail").touch()
    code, said, trials = sweep("--count=8", "--workers=1")
    assert (code, len(trials)) == (1, 8), said
    assert [trial.state for trial in trials].count("failed") == 1
    for trial in trials:
        given = trial.parameters
        assert -1 <= given["x"] <= 3
        assert given["n"] in (1, 2, 3, 4)
        assert given["q"] in (0.0, 0.25, 0.5, 0.75, 1.0)
        assert 1e-4 <= given["lr"] <= 1e-1
        assert given["part"] in ("a", {"b": None})
        assert given["fixed"] == 7
    told = _plan(sandbox / "runs/s").study.get_trials()
    assert [trial.state.name for trial in told].count("COMPLETE") == 7
    assert min(trial.value for trial in told if trial.value is not None) == pytest.approx(
        min((trial.parameters["x"] - 1) ** 2 for trial in trials if trial.state == "finished"), rel=1e-4
    )


def test_a_search_goes_on_where_it_was_stopped(space, sandbox, sweep):
    _, _, first = sweep("--count=3", "--workers=1")
    code, said, both = sweep("--count=5", "--workers=1")
    assert code == 0, said
    assert [trial.start for trial in both[:3]] == [trial.start for trial in first]
    assert len({trial.id for trial in both}) == 5
    assert not _plan(sandbox / "runs/s", count=5).propose()


def test_a_proposal_that_was_not_run_is_run_later(space, sandbox, sweep):
    plan = _plan(sandbox / "runs/s", count=1)
    assert plan.propose()
    (proposed,) = plan.trials()
    _, _, (trial,) = sweep("--count=1")
    assert trial.id == proposed.id
    assert trial.state == "finished"


def test_a_distribution_that_cannot_be_proposed_from_is_refused(write_sweep, fails):
    write_sweep({"x": {"distribution": "normal"}}, method="bayes", metric=METRIC)
    assert "parameters.x: bayes takes values, int_uniform" in fails("sweep", "s.yaml", "--count=1")


def test_without_optuna_one_line_says_how_to_get_it(space, fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = fails("sweep", "s.yaml", "--count=1")
    assert said == "error: method: bayes needs Optuna: pip install 'lightning_aqa[bayes]'."
