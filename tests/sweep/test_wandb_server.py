"""W&B's own programs against a stand-in for its server: what its pages need is there, under the names they ask for."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import pytest
import wandb
from PIL import Image
from wandb import wandb_agent as agents

from lightning_aqa.cli.main import main
from lightning_aqa.results.side_files import read_config
from lightning_aqa.sweep import wandb_agent
from lightning_aqa.sweep.trial import read_trials
from lightning_aqa.utils.wandb import mend_parts, next_step
from tests.pictures import drawing
from tests.wandb_stand_in import signed_in, stand_in

BASE = """
data: {class_path: MusicEval, init_args: {root: %s}}
model:
  encoder: {class_path: MelSpectrogram, init_args: {depth: 1, width: 16}}
  head: {class_path: MLP, init_args: {hidden: []}}
trainer: {max_epochs: 1, logger: {class_path: WandbLogger, init_args: {project: lightning_aqa}}}
"""
SWEEP = """
name: margins
description: Margin and weighting
project: ours
method: grid
metric: {name: val/utterance/SRCC/mean, goal: maximize}
parameters:
  seed_everything: {values: [3]}
  variant: {values: [wide.yaml, weighted.yaml]}
command: ["${env}", "${interpreter}", -m, lightning_aqa, fit, --config, base.yaml, "${args}"]
"""
VARIANT = "objectives: {qamro: {class_path: QAMRO, init_args: {margin_scale: %s, quality: %s}}}\n"
NAMES = ["wide", "weighted"]


def write(folder, corpora):
    (folder / "base.yaml").write_text(BASE % corpora["musiceval"])
    (folder / "s.yaml").write_text(SWEEP)
    for name, settings in zip(NAMES, [(0.4, "none"), (0.2, "minmax")], strict=True):
        (folder / f"{name}.yaml").write_text(VARIANT % settings)


def draw(folder, axes):
    Image.new("RGB", (9, 9)).save(folder / "scatter_test.png")
    return [folder / "scatter_test.png"]


class Trial:
    """What an agent starts as a process, here in this one: its command is the same, its environment its own."""

    def __init__(self, command, env=None, forward_signals=False, **options):
        assert command[:4] == ["/usr/bin/env", "python", "-m", "lightning_aqa"]
        with mock.patch.dict(os.environ, env, clear=True):
            wandb.teardown()  # what the agent has told the library in this process
            os.environ.pop("WANDB_SERVICE", None)
            with drawing(draw):
                self.code = main(command[4:])

    def poll(self):
        return self.code


class Agent:
    """The process of ``wandb agent``, in this one."""

    def __init__(self, command, env):
        if command[0] == "git":  # W&B looks for a repository
            raise FileNotFoundError
        assert command[:4] == [sys.executable, "-m", "wandb", "agent"]
        asked = ["/usr/bin/env", "python", "-c", "import sys; print(sys.prefix)"]
        assert subprocess.check_output(asked, env=env, text=True).strip() == sys.prefix  # the trials' Python is ours
        with mock.patch.dict(os.environ, env, clear=True):
            agents.run_agent(command[-1])

    def wait(self):
        pass

    terminate = wait


@pytest.fixture(scope="module")
def ran(tmp_path_factory, corpora):
    """A sweep that W&B has run, and its report: the folder, and what the server then holds."""
    folder = tmp_path_factory.mktemp("wandb")
    write(folder, corpora)
    with pytest.MonkeyPatch.context() as patch, stand_in() as server, signed_in(server):
        patch.chdir(folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(agents, "AgentProcess", Trial)
        patch.setattr(agents.Agent, "POLL_INTERVAL", 0)
        patch.setattr(wandb_agent, "subprocess", SimpleNamespace(Popen=Agent))
        assert main(["sweep", "s.yaml", "--engine=wandb", "--workers=1"]) == 0
        assert main(["wandb-report", "margins"]) == 0
    return SimpleNamespace(folder=folder / "runs" / "margins", server=server)


def test_the_agents_run_each_trial_with_its_arguments(ran):
    (sweep,) = ran.server.sweeps.values()
    assert sweep["text"]["metric"] == {"name": "val/utterance/SRCC/mean", "goal": "maximize"}
    assert sorted(sweep["given"]) == sorted(ran.server.runs) == ["trial0", "trial1"]
    assert ran.server.unknown == []
    trials = {trial.id: trial for trial in read_trials(ran.folder)}
    for number, name in enumerate(NAMES):
        id_ = f"trial{number}"
        assert sweep["given"][id_] == trials[id_].parameters == {"seed_everything": 3, "variant": f"{name}.yaml"}
        assert (trials[id_].variant, trials[id_].state) == (name, "finished")
        run, config = ran.server.runs[id_], read_config(ran.folder / id_ / "config.yaml")[1]
        assert config["seed_everything"] == 3
        about = {"displayName": f"{name} seed 3", "groupName": "margins", "jobType": name, "tags": ["sweep", "margins"]}
        assert run.about == {**about, "sweep": "sweep0"}
        assert {key: run.config[key]["value"] for key in ("seed_everything", "variant")} == trials[id_].parameters
        sent = run.config["config"]["value"]
        assert sent == {key: value for key, value in config.items() if value != {}}  # which W&B leaves out
        assert (run.project, run.exit_code) == ("ours", 0)


def test_the_trials_of_the_server_are_those_that_were_planned(ran, monkeypatch, capsys):
    monkeypatch.chdir(ran.folder.parent.parent)
    assert main(["sweep", "s.yaml", "--show"]) == 0
    said = capsys.readouterr().out
    assert "margins: test, utterance level" in said
    assert "Not in the table" not in said


def test_a_fit_logs_its_history_its_summary_and_its_files(ran):
    for id_, run in ran.server.runs.items():
        steps = [row["_step"] for row in run.history]
        assert steps == list(range(len(steps)))
        rows = [row for row in run.history if "val/utterance/SRCC/mean" in row]
        assert [row["epoch"] for row in rows] == [0]
        assert run.summary["val/utterance/SRCC/mean"] == rows[-1]["val/utterance/SRCC/mean"]
        results = json.loads((ran.folder / id_ / "results.json").read_text())["test"]["utterance"]
        logged = run.summary["test/test/utterance/SRCC/mean"]
        assert logged == pytest.approx(results["mean"]["SRCC"], abs=1e-6)
        assert {"config.yaml", "requirements.txt", "wandb-metadata.json", "output.log"} <= set(run.files)
        picture = run.summary["pictures/scatter_test"]["filenames"][0]
        assert run.files[picture] == (ran.folder / id_ / "scatter_test.png").read_bytes()


def _values(run, key):
    """Look a key of a panel up in what a run has sent; None where it has not."""
    kind, _, name = key.rpartition(":")
    if kind == "config":
        found = run.config
        for part in name.split("."):
            found = (found or {}).get(part)
        return found
    return run.summary.get(name)


def _keys(config):
    """List what a panel shows: metrics, axes, columns and targets."""
    columns = [column["accessor"] for column in config.get("columns") or []]
    named = [config.get(name) for name in ("xAxis", "yAxis", "targetKey")]
    return [key for key in [*(config.get("metrics") or []), *named, *columns] if key]


def test_every_panel_of_the_report_shows_what_the_runs_have_logged(ran):
    (report,) = ran.server.reports
    (grid,) = (block["metadata"] for block in report["blocks"] if block["type"] == "panel-grid")
    panels = grid["panelBankSectionConfig"]["panels"]
    kinds = {panel["viewType"] for panel in panels}
    assert kinds == {"Bar Chart", "Run History Line Plot", "Scatter Plot", "Parallel Coordinates Plot",
                     "Parameter Importance"}  # fmt: skip
    titles = " ".join(str(panel["config"].get("chartTitle")) for panel in panels)
    assert "margin: margin_scale" in titles
    assert "weighting: quality" in titles
    for panel in panels:
        keys = _keys(panel["config"])
        assert keys
        for run in ran.server.runs.values():
            assert all(_values(run, key) is not None for key in keys), panel
        if panel["viewType"] in ("Bar Chart", "Run History Line Plot"):
            assert panel["config"]["groupBy"] == "jobType"
    scales = "config:config.value.objectives.qamro.init_args.margin_scale"
    assert [_values(ran.server.runs[f"trial{n}"], scales) for n in (0, 1)] == [0.4, 0.2]
    (runs,) = grid["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "jobType"}]
    (chosen,) = runs["filters"]["filters"]
    assert (chosen["key"], chosen["op"], chosen["value"]) == ({"section": "run", "name": "group"}, "=", "margins")
    assert runs["project"]["name"] == "ours"


def test_an_offline_run_that_went_on_is_synced_as_one_history(tmp_path, corpora, monkeypatch, capsys):
    write(tmp_path, corpora)
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--config", "base.yaml", "--name=off"]
    with stand_in() as server:
        with signed_in(server, "offline"):
            assert main(words) == 0
            assert main([*words, "--ckpt_path=runs/off/checkpoints/last.ckpt", "--trainer.max_epochs=3"]) == 0
        said = capsys.readouterr().out
        assert server.asked == []
        (sync,) = re.findall("wandb (sync .+)", said)[-1:]
        with signed_in(server):
            subprocess.run(
                [sys.executable, "-m", "wandb", *sync.split()], check=True, capture_output=True, cwd=tmp_path
            )
    (run,) = server.runs.values()
    assert len(sync.split()) == 3
    assert (run.about["displayName"], run.exit_code, server.unknown) == ("off", 0, [])
    assert [row["_step"] for row in run.history] == list(range(len(run.history)))
    assert [row["epoch"] for row in run.history if "val/loss" in row] == [0, 1, 2]
    assert [row["epoch"] for row in run.history if "train/loss" in row] == [0, 1, 2]
    assert run.summary["epoch"] == 3


@pytest.mark.slow
def test_agents_and_trials_as_processes_of_their_own_do_the_same(tmp_path, corpora, monkeypatch, capfd):
    write(tmp_path, corpora)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)  # without this Python
    with stand_in() as server, signed_in(server):
        assert main(["sweep", "s.yaml", "--engine=wandb", "--workers=2"]) == 0, capfd.readouterr().err
    assert {run.about["jobType"] for run in server.runs.values()} == set(NAMES)
    assert [run.exit_code for run in server.runs.values()] == [0, 0]
    assert all("val/utterance/SRCC/mean" in run.summary for run in server.runs.values())


@pytest.mark.slow
def test_trials_of_which_nothing_is_left_are_told_and_fail_the_sweep(tmp_path, corpora, monkeypatch, capfd):
    write(tmp_path, corpora)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SWEEP.split("command:")[0] + "command: ['false', '${args}']\n")
    with stand_in() as server, signed_in(server):
        assert main(["sweep", "s.yaml", "--engine=wandb", "--workers=1"]) == 1
    said = capfd.readouterr().err
    assert "trial0 failed (wide); see above" in said
    assert "trial1 failed (weighted); see above" in said


def test_a_server_that_is_not_reached_is_one_line(ran, fails, monkeypatch):
    def unreachable(*args, **kwargs):
        raise wandb.errors.CommError("no such host\nand more")

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("lightning_aqa.cli.wandb_report.write", unreachable)
    assert fails("wandb-report", str(ran.folder)) == "error: W&B: no such host."


def test_what_a_kill_left_unfinished_is_taken_away_before_the_run_goes_on(tmp_path):
    with mock.patch.dict(os.environ, {"WANDB_MODE": "offline"}):
        run = wandb.init(project="p", id="a", dir=tmp_path, settings=wandb.Settings(silent=True))
        for number in range(300):  # more than a block of the file
            run.log({"x" * 200: number})
        run.finish()
    (part,) = tmp_path.glob("wandb/offline-run-*")
    empty = tmp_path / "wandb" / "offline-run-20260101_000000-a"
    empty.mkdir()
    content = (part / "run-a.wandb").read_bytes()
    (empty / "run-a.wandb").write_bytes(content[:7])
    assert next_step(tmp_path, "a") == 300
    mend_parts(tmp_path)
    assert (part.exists(), empty.exists()) == (True, False)
    assert next_step(tmp_path, "b") == 0
    (part / "run-a.wandb").write_bytes(content[:40000])  # torn by a kill
    step = next_step(tmp_path, "a")
    assert 0 < step < 300
    mend_parts(tmp_path)
    assert 32768 < (part / "run-a.wandb").stat().st_size < 40000
    with stand_in() as server, signed_in(server):
        run = [sys.executable, "-m", "wandb", "sync", str(part)]
        subprocess.run(run, check=True, capture_output=True, cwd=tmp_path)
    assert (part / "run-a.wandb.synced").exists()
    assert len(server.runs["a"].history) == step
    (part / "run-a.wandb").write_bytes(content)
    mend_parts(tmp_path)
    assert (part / "run-a.wandb").read_bytes() == content
    (part / "run-a.wandb").write_bytes(content[:7] + b"\1\2\3\4\5\0\1hello" * 9)
    assert next_step(tmp_path, "a") == 0
