"""The command of a trial: macros and flags to the letter as W&B's own agent makes them."""

import sys

import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from lightning_aqa.sweep.trial_command import expand, own_words, typed

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


def test_our_own_program_is_known_by_its_command():
    assert own_words([sys.executable, "-m", "lightning_aqa", "fit", "--x=1"]) == ["fit", "--x=1"]
    assert own_words(["python", "run.py", "-m", "lightning_aqa"]) is None
    assert own_words(["bash", "-m", "lightning_aqa"]) is None
    assert own_words([]) is None
    assert typed(["/usr/bin/env", sys.executable, "-m", "lightning_aqa", "fit"]) == [
        "python",
        "-m",
        "lightning_aqa",
        "fit",
    ]
    assert typed(["make", "x"]) == ["make", "x"]
