"""The verb ``sweep`` on small trials: run once, gone on with, retried, shared, and the same as from the shell."""

import csv
import json
import os
import signal
import statistics
import subprocess
from pathlib import Path

import pytest
import yaml

from lightning_aqa.cli.main import main
from lightning_aqa.results.history import final_value
from lightning_aqa.results.summary import SummaryRow
from lightning_aqa.results.summary_tables import lay_out
from lightning_aqa.sweep.progress import Progress, named_missing
from lightning_aqa.sweep.runner import WAIT_SECONDS
from lightning_aqa.sweep.trial import Trial

PARAMETERS = {"seed_everything": {"values": [0, 1]}, "variant": {"values": ["plain.yaml", "ranked.yaml"]}}
QUIET = "--trainer.logger=false"
WANDB = ["--trainer.logger=WandbLogger", "--trainer.logger.project=p", "--trainer.logger.offline=true"]

KILLER = '''
import os, pathlib, signal
from lightning.pytorch.callbacks import Callback

class Killer(Callback):
    """Kill the process once, in its third epoch."""

    def on_train_epoch_start(self, trainer, module):
        marker = pathlib.Path(__file__).with_name("kill")
        if trainer.current_epoch == 2 and marker.exists():
            marker.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture
def killer(sandbox, monkeypatch):
    """A callback that ends trials; return the word that adds it."""
    (sandbox / "killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(sandbox)
    return "--trainer.callbacks+=killer.Killer"


def _rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_run_once_and_ends_with_its_table(sandbox, write_sweep, sweep):
    write_sweep(PARAMETERS, metric={"name": "val/utterance/SRCC/mean", "goal": "maximize"})
    code, said, trials = sweep("--", *WANDB)
    assert code == 0, said
    assert [trial.state for trial in trials] == ["finished"] * 4
    assert [trial.variant for trial in trials] == ["plain", "ranked"] * 2
    assert "4 of 4 trials finished" in said
    _check_table(sandbox, trials, said)
    before = {trial.id: (trial.start, trial.attempts) for trial in trials}
    code, again, trials = sweep("--", *WANDB)
    assert code == 0
    assert {trial.id: (trial.start, trial.attempts) for trial in trials} == before
    assert _table(again) == _table(said) == _table(sweep("--show")[1])
    assert list((sandbox / "runs/s/claims").iterdir()) == []
    _check_wandb(trials[3])
    _check_against_its_command(sandbox, trials[3])


def _check_table(sandbox, trials, said):
    """The table has mean and deviation of what the runs found."""
    values = {}
    for trial in trials:
        results = json.loads((trial.folder / "results.json").read_text())
        values.setdefault(trial.variant, []).append(results["test"]["utterance"]["MI"]["MSE"])
        assert (trial.folder / "predictions.csv").exists()
        assert "training" in trial.log.read_text()
    rows = [
        row for row in _rows(sandbox / "runs/s/summary.csv") if (row["split"], row["level"]) == ("test", "utterance")
    ]
    shown = {row["variant"]: row for row in rows if (row["axis"], row["metric"]) == ("MI", "MSE")}
    for variant, found in values.items():
        assert float(shown[variant]["mean"]) == pytest.approx(statistics.fmean(found), abs=1e-12)
        assert float(shown[variant]["sd"]) == pytest.approx(statistics.stdev(found), abs=1e-12)
        assert shown[variant]["n"] == "2"
        assert f"{statistics.fmean(found):.3f} ± {statistics.stdev(found):.3f}" in said
        assert f"{statistics.fmean(found):.3f} ± " in (sandbox / "runs/s/summary.md").read_text()


def _table(said):
    return said[said.index("s: test, utterance level") :]


def _check_against_its_command(sandbox, trial):
    """The command of a trial, called alone, gives the same to the bit."""
    assert trial.command[:4] == ["python", "-m", "lightning_aqa", "fit"]
    own = ("--name=", "--trainer.default_root_dir=", "--trainer.logger")
    words = [word for word in trial.command[3:] if not word.startswith(own)]
    assert main([*words, "--name=alone", "--trainer.default_root_dir=runs", QUIET]) == 0
    for name in ("predictions.csv", "results.json", "history.csv"):
        assert (trial.folder / name).read_text() == (sandbox / "runs/alone" / name).read_text(), name
    config = yaml.safe_load((trial.folder / "config.yaml").read_text())
    assert sorted(config["objectives"]) == ["huber", "qamro"]
    assert config["variant"] == "ranked.yaml"


def _check_wandb(trial):
    """W&B knows a trial by its group, job type, tags and parameters."""
    (log,) = trial.folder.glob("wandb/offline-run-*/run-*.wandb")
    assert log.name == f"run-{trial.id}.wandb"
    run = _run_record(log.read_bytes())
    assert (run.run_id, run.run_group, run.job_type, list(run.tags)) == (trial.id, "s", "ranked", ["sweep", "s"])
    assert run.display_name == "ranked seed 1"
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["variant"], config["seed_everything"]) == ("ranked.yaml", 1)


def _run_record(text):
    """Return the record of the run of a W&B log: blocks of 7 bytes of header and the record."""
    from wandb.proto import wandb_internal_pb2

    place = 7
    while place < len(text):
        size = int.from_bytes(text[place + 4 : place + 6], "little")
        record = wandb_internal_pb2.Record()
        record.ParseFromString(text[place + 7 : place + 7 + size])
        if record.WhichOneof("record_type") == "run":
            return record.run
        place += 7 + size
    raise AssertionError("no record of a run")


def test_a_constant_that_was_edited_makes_another_variant(write_sweep, sweep):
    for epochs in (5, 50):
        write_sweep({"epochs": {"value": epochs}, "seed_everything": {"values": [0, 1]}}, script="true")
        code, said, trials = sweep()
        assert code == 0, said
    assert {trial.variant for trial in trials} == {"base (epochs=5)", "base (epochs=50)"}
    assert len(trials) == 4


def test_values_of_which_some_are_undefined_say_of_how_many_they_are():
    found = [SummaryRow("base", {}, "test", "utterance", "MI", "MSE", [1.0, 2.0, 3.0])]
    found.append(SummaryRow("base", {}, "test", "utterance", "MI", "SRCC", [0.9]))
    (grid,) = lay_out(found)
    assert grid.rows == [["base", "3", "2.000 ± 1.000", "-", "0.900 (1 of 3)", "-"]]


def test_a_killed_trial_goes_on_from_its_last_epoch_and_ends_as_an_undisturbed_one(sandbox, write_sweep, sweep, killer):
    write_sweep({"variant": {"value": "ranked.yaml"}})
    words = ["--", QUIET, "--trainer.max_epochs=4", killer]
    (sandbox / "kill").touch()
    code, said, (trial,) = sweep(*words)
    assert (trial.state, trial.exit_code) == ("killed", -9), said
    assert "1 killed. The same command goes on." in said
    assert f"{trial.id} was killed (" in said
    assert code == 1
    code, said, (resumed,) = sweep(*words)
    assert (code, resumed.state, resumed.attempts) == (0, "finished", 2), said
    assert f"--ckpt_path={trial.folder / 'checkpoints' / 'last.ckpt'}" in resumed.command
    code, said, _ = sweep("--name=whole", *words)
    assert code == 0, said
    (whole,) = (sandbox / "runs/whole").glob("*/predictions.csv")
    assert whole.read_text() == (resumed.folder / "predictions.csv").read_text()


def test_a_trial_that_cannot_start_fails_by_its_one_line(write_sweep, sweep):
    write_sweep({"objectives.huber.delta": {"value": "wide"}})
    code, _, (trial,) = sweep()
    assert (code, trial.state, trial.exit_code) == (1, "failed", 2)
    assert trial.log.read_text().startswith("error: Regression: delta: Expected a <class 'float'>")


def test_a_failed_trial_is_told_and_run_again_only_when_asked(sandbox, write_sweep, sweep):
    script = 'echo "group $WANDB_RUN_GROUP, $1"; if [ $1 = x=1 ] && [ -e fail ]; then echo on fire; exit 3; fi'
    write_sweep({"x": {"values": [0, 1]}}, script=script)
    (sandbox / "fail").touch()
    code, said, (fine, wrong) = sweep()
    assert (code, fine.state, wrong.state, wrong.exit_code) == (1, "finished", "failed", 3)
    assert fine.log.read_text() == "group s, x=0\n"
    assert f"{wrong.id} failed (x=1), log in {wrong.log}; it ended with:\n    group s, x=1\n    on fire\n" in said
    assert "--retry runs the failed ones again" in said
    (sandbox / "fail").unlink()
    code, said, (_, wrong) = sweep()
    assert (code, wrong.state, wrong.attempts) == (1, "failed", 1)
    code, said, (fine, wrong) = sweep("--retry")
    assert (code, wrong.state, wrong.attempts, fine.attempts) == (0, "finished", 2, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_children_and_the_sweep_says_so(sandbox, write_sweep, sweep, monkeypatch, number):
    write_sweep({"x": {"values": [0, 1]}}, script="sleep 600 & echo $$ $! > pid-$1; wait")

    def interrupt(progress):
        if len([path for path in sandbox.glob("pid-*") if path.read_text()]) == 2:
            os.kill(os.getpid(), number)
        return False

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "is_due", interrupt)
        code, said, trials = sweep()
    assert code == 128 + number
    assert f"stopped by {number.name}; the same command goes on. 2 killed" in said
    assert [trial.state for trial in trials] == ["killed", "killed"]
    assert list((sandbox / "runs/s/claims").iterdir()) == []
    assert not [pid for path in sandbox.glob("pid-*") for pid in path.read_text().split() if _runs(pid)]
    (sandbox / "run.sh").write_text("true")
    assert [trial.state for trial in sweep()[2]] == ["finished", "finished"]


def _runs(pid):
    """Whether a process is there, other than as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_dead_process_loses_its_trial_and_a_living_one_keeps_it(sandbox, write_sweep, sweep, monkeypatch):
    write_sweep({"x": {"values": [0, 1]}}, script="true")
    _, _, (first, second) = sweep()
    for trial, pid in ((first, _dead()), (second, os.getpid())):
        trial._replace(state="running").write()
        (sandbox / "runs/s/claims" / f"{trial.id}.1").write_text(json.dumps({"host": os.uname().nodename, "pid": pid}))
    # Once there is nothing else to do, the living one ends.
    monkeypatch.setattr("time.sleep", lambda seconds: second.write() if seconds == WAIT_SECONDS else None)
    code, said, (first, second) = sweep()
    assert (code, first.state, first.attempts) == (0, "finished", 2), said
    assert (second.state, second.attempts) == ("finished", 1)


def _dead():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_other_words_are_refused_where_trials_were_run_by_some(sandbox, write_sweep, sweep, fails):
    write_sweep({"x": {"value": 0}}, script="true")
    assert "no trial has finished, so there is no table" in sweep("--show")[1]
    assert sweep("--", "a")[0] == 0
    said = fails("sweep", "s.yaml", "--", "b")
    assert said.startswith("error: runs/s holds trials of another command")
    assert "or another --name" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.yaml"], "missing.yaml: no such sweep file"),
        (["s.yaml", "--workers=0"], "--workers must be at least 1, got 0."),
        (["s.yaml", "--engine=slurm"], "--engine must be one of local, ray, wandb, got 'slurm'."),
        (["s.yaml", "--sow"], "unknown option --sow. Did you mean 'show'?"),
        ([], "the following arguments are required: file"),
        (["s.yaml", "--trainer.max_epochs=1"], "unknown option --trainer.max_epochs=1."),
    ],
)
def test_a_mistake_gets_one_line(sandbox, write_sweep, fails, words, said):
    write_sweep({"variant": {"value": "plain.yaml"}})
    line = fails("sweep", *words)
    assert said in line
    assert len(line.splitlines()) == 1


def test_early_termination_is_said_to_be_left_out(sandbox, write_sweep, sweep):
    write_sweep({"x": {"value": 1}}, script="true", early_terminate={"type": "hyperband", "min_iter": 3})
    assert "early_terminate is left to --engine wandb" in sweep()[1]


def test_the_metric_of_a_run_is_what_wandb_would_keep(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,val/loss\n0,0.5\n1,0.25\n")
    (tmp_path / "results.json").write_text(json.dumps({"test": {"utterance": {"PQ": {"SRCC": 0.75}}}}))
    assert final_value(tmp_path, "val/loss") == 0.25
    assert final_value(tmp_path, "test/test/utterance/SRCC/PQ") == 0.75
    assert final_value(tmp_path, "test/test/utterance/SRCC/PC") != final_value(tmp_path, "val/loss")
    assert str(final_value(tmp_path, "val/x")) == "nan"


def test_progress_says_how_many_and_how_long(tmp_path):
    trials = [Trial(tmp_path, str(n), "s", n, {}, "v", state=state, seconds=10.0) for n, state in _numbered()]
    line = Progress(8, workers=2).summary(trials)
    assert line == "2 of 8 trials finished, 2 running, 2 waiting, 1 killed, 1 failed, 20 s left"


def _numbered():
    return enumerate(["finished", "finished", "running", "running", "killed", "failed", ""])


def test_the_table_names_the_seeds_that_it_lacks():
    states = ("finished", "killed", "")
    trials = [
        Trial(Path(state), f"t{seed}", "s", seed, {"x": 1, "seed_everything": seed}, "plain", state=state)
        for seed, state in enumerate(states)
    ]
    said = "Not in the table: plain seed_everything=1 (killed); plain seed_everything=2 (not run)."
    assert named_missing([*trials, *trials]) == said
    assert named_missing(trials[:1]) == ""
