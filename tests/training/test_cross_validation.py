"""k-fold cross-validation from the command line: every clip once, out of fold; broken off, it goes on where it was."""

import csv
import json
import shutil
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

from lightning_aqa.batch import Axis
from lightning_aqa.cli.main import main
from lightning_aqa.metrics.correlation import mse
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.predictions import read_predictions, write_predictions
from lightning_aqa.training import cross_validation
from lightning_aqa.training.cross_validation import is_unfinished_crossvalidation, pool_folds
from lightning_aqa.training.loading import read_checkpoint


@pytest.fixture(scope="module")
def words(corpora, tmp_path_factory):
    """The command: a table of 12 clips, three folds, one epoch each."""
    folder = tmp_path_factory.mktemp("folds")
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:12]
    lines = [f"{path},S{i % 4},{1 + i % 5}" for i, path in enumerate(audio)]
    (folder / "list.csv").write_text("\n".join(["file,system,overall", *lines]))
    data = ["--data=Table", f"--data.path={folder / 'list.csv'}", "--data.axes={overall: [1, 5]}", "--data.folds=3"]
    model = ["--model.encoder=MelSpectrogram", "--model.encoder.width=8", "--model.encoder.depth=1"]
    run = ["--trainer.max_epochs=1", f"--trainer.default_root_dir={folder}", "--name=cv"]
    return ["fit", *data, *model, *run]


def _in(folder, words):
    """Return the same command, writing elsewhere."""
    return [f"--trainer.default_root_dir={folder}" if "default_root_dir" in word else word for word in words]


def _here(command, env, stdout, signals):
    """Run a fold in this process and draw nothing, which saves the start of another and its pictures."""
    with redirect_stdout(stdout), pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_aqa.results.plots.draw_run", lambda folder, axes: [])
        return main(command[3:])


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory):
    """The folder of a cross-validation that ran through, its first fold in a process of its own."""
    folder, start = tmp_path_factory.mktemp("finished"), cross_validation.train_fold

    def run(command, *options):
        return (start if "--data.fold=0" in command else _here)(command, *options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "train_fold", run)
        assert main(_in(folder, words)) == 0
    return folder / "cv"


def _rows(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_pooled_predictions_hold_each_clip_once_and_out_of_fold(finished):
    rows = _rows(finished)
    assert len({row["id"] for row in rows}) == len(rows) == 12
    assert {row["split"] for row in rows} == {"test"}
    of_folds = [row for fold in range(3) for row in _rows(finished / f"fold{fold}") if row["split"] == "test"]
    assert sorted(of_folds, key=lambda row: row["id"]) == rows
    for fold in range(3):
        trained = {row["id"] for row in _rows(finished / f"fold{fold}") if row["split"] in ("train", "dev")}
        held_out = {row["id"] for row in _rows(finished / f"fold{fold}") if row["split"] == "test"}
        assert len(trained) + len(held_out) == 12
        assert not trained & held_out


def test_pooled_results_are_those_of_the_pooled_predictions(finished):
    results = json.loads((finished / "results.json").read_text())
    assert list(results) == ["test"]
    scores, targets = ([float(row[name]) for row in _rows(finished)] for name in ("score", "target"))
    assert results["test"]["utterance"]["overall"]["MSE"] == pytest.approx(mse(np.array(scores), np.array(targets)))
    assert results["test"]["utterance"]["overall"]["n"] == 12
    assert results["test"]["system"]["overall"]["n"] == 4


def test_every_fold_leaves_its_log_and_its_folder(finished):
    names = {path.name for path in finished.iterdir()}
    folds = {f"fold{fold}" for fold in range(3)}
    assert names == folds | {f"{fold}.log" for fold in folds} | {
        "config.yaml", "run.json", "predictions.csv", "results.json", "scatter_test.png", "error_by_domain.png",
    }  # fmt: skip
    for fold in folds:
        assert "train/loss" in (finished / f"{fold}.log").read_text()
        assert (finished / fold / "checkpoints" / "best.ckpt").exists()


def test_broken_off_and_started_again_it_goes_on(words, finished, capfd, monkeypatch):
    folder, before = finished, {name: (finished / name).read_text() for name in ("predictions.csv", "results.json")}
    kept = folder / "fold0" / "checkpoints" / "last.ckpt"
    stamp = kept.stat().st_mtime_ns
    (folder / "results.json").unlink()
    (folder / "fold1" / "results.json").unlink()
    shutil.rmtree(folder / "fold2" / "checkpoints")
    (folder / "fold2" / "results.json").unlink()
    (folder / "fold2" / "predictions.csv").write_text("half of a ta")
    commands = []

    def run(command, *options):
        commands.append(command)
        return _here(command, *options)

    monkeypatch.setattr(cross_validation, "train_fold", run)
    assert main(_in(folder.parent, words)) == 0
    said = capfd.readouterr().out
    assert "fold 1 of 3: training" not in said
    assert "fold 2 of 3: training" in said
    assert "fold 3 of 3: training" in said
    assert kept.stat().st_mtime_ns == stamp
    resumed, anew = commands
    assert f"--ckpt_path={folder / 'fold1' / 'checkpoints' / 'last.ckpt'}" in resumed
    assert not any("ckpt_path" in word for word in anew)
    assert read_checkpoint(folder / "fold1" / "checkpoints" / "last.ckpt")["epoch"] == 0
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"fold0", "fold1", "fold2"}
    assert {name: (folder / name).read_text() for name in before} == before


def test_a_fold_that_fails_stops_with_the_end_of_its_log(words, tmp_path, capfd, monkeypatch):
    def fail(command, env, stdout, signals):
        stdout.write("".join(f"line {i}\n" for i in range(30)) + "error: no such thing\n")
        return 3

    monkeypatch.setattr(cross_validation, "train_fold", fail)
    assert main(_in(tmp_path, words)) == 3
    said = capfd.readouterr().err
    assert said.endswith("line 29\nerror: no such thing\n")
    assert "line 5\n" not in said
    assert not (tmp_path / "cv" / "results.json").exists()


def test_only_a_run_of_this_very_config_is_gone_on_with(tmp_path):
    assert not is_unfinished_crossvalidation("a: 1", tmp_path)
    (tmp_path / "config.yaml").write_text("a: 1")
    assert is_unfinished_crossvalidation("a: 1", tmp_path)
    assert not is_unfinished_crossvalidation("a: 2", tmp_path)
    (tmp_path / "predictions.csv").touch()
    (tmp_path / "results.json").write_text("{")
    assert is_unfinished_crossvalidation("a: 1", tmp_path)
    (tmp_path / "results.json").write_text("{}")
    assert not is_unfinished_crossvalidation("a: 1", tmp_path)


def test_pooling_sorts_the_clips_and_keeps_their_rows_together(tmp_path):
    parts = {"fold0": ["c", "a"], "fold1": ["d", "b"]}
    for fold, ids in parts.items():
        numbers = np.array([[float(ord(id_)), 1.0] for id_ in ids])
        systems = [id_.upper() for id_ in ids]
        table = Predictions(ids, systems, ["music"] * 2, numbers, numbers + 0.5)
        (tmp_path / fold / "checkpoints").mkdir(parents=True)
        write_predictions(tmp_path / fold / "predictions.csv", [("train", table), ("test", table)], ["PQ", "CE"])
    axes = [tuple(Axis(name, name, 0, 200)) for name in ("PQ", "CE")]
    saved = {"state_dict": {}, "hyper_parameters": {"axes": axes}}
    torch.save(saved, tmp_path / "fold0" / "checkpoints" / "last.ckpt")
    pool_folds(tmp_path, 2)
    (((split, table),), names) = read_predictions(tmp_path / "predictions.csv")
    assert (split, names, table.ids) == ("test", ["PQ", "CE"], ["a", "b", "c", "d"])
    assert table.systems == ["A", "B", "C", "D"]
    assert table.targets[:, 0].tolist() == [97.0, 98.0, 99.0, 100.0]
    assert (table.scores - table.targets == 0.5).all()


def test_one_training_s_checkpoint_is_refused(words, fails, tmp_path):
    said = fails(*_in(tmp_path, words), f"--ckpt_path={tmp_path / 'last.ckpt'}")
    assert "--ckpt_path resumes one training" in said
    assert "--data.fold=K" in said


def test_one_of_several_processes_is_refused(words, fails, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = fails(*_in(tmp_path, words))
    assert "--trainer.devices=N" in said
    assert not (tmp_path / "cv").exists()


def test_folds_in_a_sweep_have_wandb_ids_of_their_own(words, tmp_path, monkeypatch):
    given = {"WANDB_RUN_ID": "abc", "WANDB_NAME": "wide", "WANDB_RUN_GROUP": "sweep", "WANDB_JOB_TYPE": "wide"}
    for name, value in {**given, "LIGHTNING_AQA_SWEEP": str(tmp_path / "sweep")}.items():
        monkeypatch.setenv(name, value)
    started = []

    def run(command, env, stdout, signals):
        started.append(env)
        return 3

    monkeypatch.setattr(cross_validation, "train_fold", run)
    assert main(_in(tmp_path, words)) == 3
    assert (tmp_path / "sweep" / "abc" / "config.yaml").exists()
    (env,) = started
    expected = {**given, "WANDB_RUN_ID": "abc-fold0", "WANDB_NAME": "wide-fold0"}
    assert {name: env.get(name) for name in expected} == expected
    assert "LIGHTNING_AQA_SWEEP" not in env
