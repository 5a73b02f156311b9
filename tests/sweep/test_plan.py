"""Expansion of sweep files against hand-made lists, and names of trials that stay the same."""

import pytest

from lightning_aqa.sweep.config import read_sweep
from lightning_aqa.sweep.plan import make_plan
from lightning_aqa.sweep.trial import Trial, read_trials, trial_id, variant_name


@pytest.fixture
def plan(tmp_path):
    """Plan a sweep that is given as YAML."""

    def make(text, *, count=None, seed=0, name=None):
        path = tmp_path / "a.yaml"
        path.write_text(text)
        sweep = read_sweep(path, name=name)
        return make_plan(sweep, tmp_path / sweep.name, count=count, seed=seed).trials()

    return make


GRID = """
method: grid
program: run.py
parameters:
  seed: {values: [0, 1]}
  lr: {value: 0.1}
  model.head: {values: [MLP, AESANet, MLP]}
"""
RANDOM = """
method: random
program: run.py
parameters:
  lr: {min: 0.0, max: 1.0}
  n: {values: [1, 2, 3]}
"""


def test_a_grid_is_the_product_in_the_order_of_the_file(plan):
    assert [trial.parameters for trial in plan(GRID)] == [
        {"seed": 0, "lr": 0.1, "model.head": "MLP"},
        {"seed": 0, "lr": 0.1, "model.head": "AESANet"},
        {"seed": 1, "lr": 0.1, "model.head": "MLP"},
        {"seed": 1, "lr": 0.1, "model.head": "AESANet"},
    ]
    assert [trial.number for trial in plan(GRID)] == [0, 1, 2, 3]
    assert [trial.variant for trial in plan(GRID)] == ["head=MLP", "head=AESANet"] * 2
    assert [trial.parameters["seed"] for trial in plan(GRID, count=3)] == [0, 0, 1]
    assert len(plan(GRID + "run_cap: 2")) == 2


def test_a_trial_has_a_stable_id_of_its_sweep_and_parameters(plan):
    ids = [trial.id for trial in plan(GRID)]
    assert ids == [trial.id for trial in plan(GRID.replace("[0, 1]", "[0, 1, 2]"))][:4]
    assert len({*ids, *(trial.id for trial in plan(GRID, name="other"))}) == 8
    assert trial_id("s", {"x": 1, "y": [None, "a"]}) == "3a381a2d"


def test_draws_are_seeded_and_the_first_ones_do_not_depend_on_how_many(plan):
    few, many = plan(RANDOM, count=3), plan(RANDOM, count=8)
    assert [trial.parameters for trial in few] == [trial.parameters for trial in many][:3]
    assert [trial.parameters for trial in few] != [trial.parameters for trial in plan(RANDOM, count=3, seed=1)]


def test_a_space_that_is_used_up_ends_the_draws(plan):
    assert len(plan(RANDOM.replace("{min: 0.0, max: 1.0}", "{value: 1}"), count=50)) == 3


def test_draws_without_an_end_are_refused(plan):
    with pytest.raises(ValueError, match="random has no end; say how many trials by --count=N or run_cap"):
        plan(RANDOM)


def test_variants_are_named_by_what_varies_but_seeds():
    row = {"data.split_seed": 1, "a.w": 0.1 + 0.2, "b.w": 1, "model.head": "heads.mlp.MLP", "o": {"a": None}}
    assert variant_name(row, ["data.split_seed", "a.w"]) == "w=0.3"
    assert variant_name(row, ["a.w", "b.w"]) == "a.w=0.3, b.w=1"
    assert variant_name(row, ["model.head", "o", "absent"]) == 'head=MLP, o={"a": null}'
    assert variant_name(row, ["data.split_seed"]) == "base"


def test_a_variant_has_the_same_name_however_many_trials_are_planned(plan):
    assert [trial.variant for trial in plan(GRID, count=1)] == ["head=MLP"]
    fixed = GRID.replace("[MLP, AESANet, MLP]", "[MLP]")
    assert [trial.variant for trial in plan(fixed)] == ["base", "base"]


def test_a_record_is_read_as_it_was_written(tmp_path):
    trial = Trial(tmp_path / "x", "x", "s", 0, {"a": 1}, "a=1", state="failed", exit_code=2, command=["python"])
    assert trial.read() is trial
    trial.write()
    assert read_trials(tmp_path) == [trial]
    renumbered = Trial(tmp_path / "x", "x", "s", 5, {"a": 1}, "w")
    assert renumbered.read() == trial._replace(number=5, variant="w")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "not a sweep file; it needs method, parameters and command"),
        ("a: [", "not YAML"),
        ("method: anneal\nprogram: x\nparameters: {a: {value: 1}}", "method must be one of grid, random, bayes"),
        ("method: grid\nparameters: {a: {value: 1}}", "and there is no program"),
        ("method: grid\nprogram: x", "parameters must name what varies, got None"),
        ("method: grid\nprogram: x\nparamters: {}", "unknown key 'paramters'"),
        ("method: bayes\nprogram: x\nparameters: {a: {value: 1}}", "bayes needs metric"),
        ("method: grid\nprogram: x\nmetric: {goal: up, name: a}\nparameters: {a: {value: 1}}", "metric.goal must be"),
        ("method: grid\nprogram: x\nrun_cap: 0\nparameters: {a: {value: 1}}", "run_cap must be a number of trials"),
        ("method: grid\nname: a/b\nprogram: x\nparameters: {a: {value: 1}}", "makes no folder; choose one"),
    ],
)
def test_what_is_no_sweep_file_is_refused(plan, text, said):
    with pytest.raises(ValueError, match=said):
        plan(text)


def test_another_base_takes_the_place_of_the_config(tmp_path):
    path = tmp_path / "a.yaml"
    text = "method: grid\nparameters: {a: {value: 1}}\ncommand: [python, -m, lightning_aqa, fit, --config, x.yaml, a]"
    path.write_text(text)
    sweep = read_sweep(path, base="b/other.yaml")
    assert sweep.command[-3:] == ["--config", "b/other.yaml", "a"]
    assert sweep.name == "a-other"
    path.write_text(text.replace("--config, x.yaml", "--config=x.yaml"))
    assert read_sweep(path, base="other.yaml").command[-2] == "--config=other.yaml"
    path.write_text(text.replace("--config, x.yaml, ", ""))
    with pytest.raises(ValueError, match="names no --config that --base=b could take the place of"):
        read_sweep(path, base="b")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ValueError, match="no such sweep file"):
        read_sweep(tmp_path / "a.yaml")
