"""--engine wandb: the sweep is created, agents are started, and what they ran is a sweep folder; no server here."""

import sys
from pathlib import Path

import pytest
import wandb
from wandb.sdk.launch.sweeps import utils
from wandb.sdk.lib import config_util

from lightning_aqa.cli.main import main
from lightning_aqa.sweep import wandb_agent


@pytest.fixture
def account(monkeypatch):
    """An API key; what is created on the server is in the list returned."""
    created = []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(
        wandb, "sweep", lambda sweep, entity, project: created.append((sweep, entity, project)) or "abc"
    )
    return created


class Agent:
    """What ``wandb agent`` does with the runs that its server hands out: here each value of the sweep once."""

    started = []

    def __init__(self, command, env=None, **options):
        if command[0] == "git":
            raise FileNotFoundError("no git here")
        self.started.append(command)
        self.env, self.address = env, command[-1]

    def wait(self):
        for number, value in enumerate(self.values, start=1):
            run = {"args": {"variant": {"value": value}}, "run_id": f"run{number}", "program": None}
            path = Path(self.env["WANDB_DIR"], "wandb", "sweep-abc", f"config-{run['run_id']}.yaml")
            config_util.save_config_file_from_dict(str(path), run["args"])
            words = utils.create_sweep_command(list(self.sweep["command"]))
            macros = {**utils.create_sweep_command_args(run), "interpreter": ["python"], "env": ["/usr/bin/env"]}
            command = [part for word in words for part in (macros[word[2:-1]] if word.startswith("${") else [word])]
            assert command[:4] == ["/usr/bin/env", "python", "-m", "lightning_aqa"]
            self.call(command[4:], {**self.env, "WANDB_RUN_ID": run["run_id"], "WANDB_SWEEP_ID": "abc"})
        self.values.clear()

    def call(self, words, environment):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            assert main(words) == 0

    def terminate(self):
        pass


def test_agents_run_the_sweep_into_its_folder(account, write_sweep, sweep, sandbox, monkeypatch):
    write_sweep({"variant": {"values": ["plain.yaml", "ranked.yaml"]}}, entity="team")
    Agent.started, Agent.values = [], ["plain.yaml", "ranked.yaml"]
    monkeypatch.setattr(Agent, "sweep", property(lambda agent: account[0][0]), raising=False)
    monkeypatch.setattr(wandb_agent.subprocess, "Popen", Agent)
    words = ["--engine=wandb", "--count=4", "--", "--trainer.logger=false"]
    code, said, trials = sweep(*words)
    assert code == 0, said
    ((text, entity, project),) = account
    assert (entity, project, text["name"]) == ("team", "lightning_aqa", "s")
    assert text["command"][-1] == "--trainer.logger=false"
    assert Agent.started == [[sys.executable, "-m", "wandb", "agent", "--count", "2", "team/lightning_aqa/abc"]] * 2
    assert [(trial.id, trial.variant, trial.state) for trial in trials] == [
        ("run1", "plain", "finished"),
        ("run2", "ranked", "finished"),
    ]
    assert "s: test, utterance level" in said
    code, _, trials = sweep(*words)  # the sweep on the server is gone on with
    assert (code, len(account), len(trials)) == (0, 1, 2)


def test_without_a_key_one_line_says_what_to_do(write_sweep, fails, sandbox, monkeypatch):
    monkeypatch.setenv("NETRC", str(sandbox / "none"))
    monkeypatch.setenv("HOME", str(sandbox))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    write_sweep({"x": {"value": 0}}, script="true")
    said = fails("sweep", "s.yaml", "--engine=wandb")
    assert said.startswith("error: --engine wandb needs W&B's server, and there is no API key here")
    assert "--engine local runs the same file without a server" in said
