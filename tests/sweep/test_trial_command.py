"""The command of a trial: macros and flags to the letter as W&B's own agent makes them."""

import sys

import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from lightning_aqa.sweep.trial_command import TrialCommand, expand, read_command

VALUES = {
    "variant": "a b.yaml",
    "model.head.hidden": [64, 32],
    "objectives": {"mse": {"class_path": "Regression"}},
    "flag": True,
    "off": False,
    "lr": 1e-4,
    "none": None,
}
MACROS = ["args", "args_no_hyphens", "args_no_equals", "args_no_boolean_flags", "args_json"]


@pytest.mark.parametrize("macro", MACROS)
def test_flags_are_those_of_the_agent_of_wandb(macro):
    agent = create_sweep_command_args({"args": {name: {"value": value} for name, value in VALUES.items()}})
    assert expand([f"${{{macro}}}"], VALUES) == agent[macro]


def test_variables_of_the_environment_are_filled_in_as_the_agent_does(monkeypatch):
    monkeypatch.setenv("AQA_DATA", "/data")
    command = ["${env}", "${interpreter}", "${program}", "--root=${envvar:AQA_DATA}/x", "${envvar:AQA_NOT_SET}"]
    # The agent replaces variables alone at this point.
    agent = create_sweep_command(list(command))
    assert expand(command, {}, "run.py") == ["/usr/bin/env", sys.executable, "run.py", *agent[3:]]
    assert agent[3:] == ["--root=/data/x", "AQA_NOT_SET"]


def test_an_unknown_macro_is_refused():
    with pytest.raises(ValueError, match=r"the command has \$\{args_append_hydra\}; this engine knows"):
        expand(["${args_append_hydra}"], {})


OWN = ["fit", "--x=1"]


@pytest.mark.parametrize(
    "program",
    [
        [sys.executable, "-m", "lightning_aqa"],
        ["/usr/bin/env", sys.executable, "-m", "lightning_aqa"],
        ["lightning-aqa"],
        ["/usr/bin/env", "/opt/venv/bin/lightning-aqa"],
    ],
)
def test_our_own_program_is_known_by_its_command(program):
    command = read_command([*program, *OWN])
    assert command == TrialCommand(OWN, is_own=True)
    assert command.portable == ["python", "-m", "lightning_aqa", *OWN]
    assert command.executable == [sys.executable, "-m", "lightning_aqa", *OWN]


@pytest.mark.parametrize("command", [["python", "run.py", "-m", "lightning_aqa"], ["bash", "-m", "lightning_aqa"], []])
def test_another_program_is_left_as_it_is(command):
    found = read_command(command)
    assert not found.is_own
    assert found.portable == found.executable == command
