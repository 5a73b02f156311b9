"""k-fold cross-validation from the command line: every clip once, out of fold; broken off, it goes on where it was."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightning_aqa.batch import Axis
from lightning_aqa.cli.main import main
from lightning_aqa.metrics.correlation import mse
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.clip_intervals import calibrated_by, read_calibration, with_held_out_ends
from lightning_aqa.results.predictions import COLUMNS, read_predictions, write_predictions
from lightning_aqa.training import cross_validation
from lightning_aqa.training.cross_validation import CrossValidation, is_unfinished_crossvalidation, pool_folds
from lightning_aqa.training.loading import read_checkpoint
from tests.pictures import PLACES, drawing, without_pictures


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


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory, fold_here):
    """The folder of a cross-validation that ran through, its first fold in a process of its own."""
    folder, start = tmp_path_factory.mktemp("finished"), cross_validation.train_fold

    def run(command, *options):
        if "--data.fold=0" in command:
            return start(without_pictures(command), *options)
        return fold_here(command, *options)

    with pytest.MonkeyPatch.context() as patch, drawing(places=PLACES[1:]):
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


def test_the_folder_of_all_says_nothing_that_is_of_one_fold(finished):
    facts = json.loads((finished / "run.json").read_text())
    assert facts["folds"] == 3
    assert not {"evaluated", "wandb", "mlflow"} & facts.keys()
    runs = [json.loads((finished / run / "run.json").read_text()) for run in ("fold0", "fold1", "fold2", "refit")]
    assert "evaluated" in runs[0]
    seconds = [run["training_speed"]["seconds"] for run in runs]
    assert facts["training_speed"]["seconds"] == pytest.approx(sum(seconds), rel=0.01)


def test_every_fold_leaves_its_log_and_its_folder(finished):
    names = {path.name for path in finished.iterdir()}
    folds = {*(f"fold{fold}" for fold in range(3)), "refit"}
    assert names == folds | {f"{fold}.log" for fold in folds} | {
        "config.yaml", "run.json", "predictions.csv", "results.json", "scatter_test.png", "error_by_domain.png",
        "intervals.json",
    }  # fmt: skip
    for fold in folds:
        assert "train/loss" in (finished / f"{fold}.log").read_text()
        assert (finished / fold / "checkpoints" / "best.ckpt").exists()


def test_broken_off_and_started_again_it_goes_on(words, finished, capfd, monkeypatch, fold_here):
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
        return fold_here(command, *options)

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
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"fold0", "fold1", "fold2", "refit"}
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
    pool_folds(tmp_path, CrossValidation(2))
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


# Splits and folds of the table's own


def _table(folder, corpora, column, values):
    """Write a table of clips with a column of splits, one value per clip, and return it."""
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[: len(values)]
    lines = [f"{path},S{i % 4},{1 + i % 5},{value}" for i, (path, value) in enumerate(zip(audio, values, strict=True))]
    (folder / "own.csv").write_text("\n".join([f"file,system,overall,{column}", *lines]))
    return folder / "own.csv"


def _on(table, words, *more):
    return [*(f"--data.path={table}" if "data.path" in word else word for word in words), *more]


@pytest.mark.parametrize(
    ("column", "names"), [("subset", ("train", "valid", "test")), ("Split", ("Train", "", "eval"))]
)
def test_a_table_s_own_test_set_is_seen_by_no_fold(
    words, corpora, tmp_path, capfd, monkeypatch, fold_here, column, names
):
    train, dev, test = names
    values = [train, train, dev or train, test] * 3
    table = _table(tmp_path, corpora, column, values)
    own = {path.split(",")[0] for path in table.read_text().splitlines()[1:] if path.endswith(f",{test}")}
    monkeypatch.setattr(cross_validation, "train_fold", fold_here)
    assert main(_in(tmp_path, _on(table, words, "--data.dev_fraction=0", "--monitor=null"))) == 0
    said = capfd.readouterr().out
    assert "results of clips out of fold, each by a model that was not trained on it; " in said
    assert f"{table}: the splits are the table's own ({'train 6, dev 3, test 3' if dev else 'train 9, eval 3'})" in said
    assert f"python -m lightning_aqa score {tmp_path / 'cv'} CLIPS" in said
    folder, held_out = tmp_path / "cv", "test" if dev else "eval"
    for fold in range(3):
        assert not own & {row["id"] for row in _rows(folder / f"fold{fold}")}
    split_of = {row["id"]: row["split"] for row in _rows(folder)}
    assert {id_ for id_, split in split_of.items() if split == held_out} == own
    assert sorted(split_of.values()) == sorted([held_out] * 3 + ["out-of-fold"] * 9)
    pooled = [{name: row[name] for name in COLUMNS} for row in _rows(folder) if row["split"] == held_out]
    assert pooled == [row for row in _rows(folder / "refit") if row["split"] == held_out]
    assert {row["split"] for row in _rows(folder / "refit")} == {"train", held_out}
    results = json.loads((folder / "results.json").read_text())
    assert {name: found["utterance"]["overall"]["n"] for name, found in results.items()} == {
        "out-of-fold": 9,
        held_out: 3,
    }


def test_a_test_set_beside_own_folds_is_seen_by_none_of_them(words, corpora, tmp_path, capfd, monkeypatch, fold_here):
    table = _table(tmp_path, corpora, "set", ["0", "1", "test"] * 4)
    monkeypatch.setattr(cross_validation, "train_fold", fold_here)
    assert main(_in(tmp_path, _on(table, words, "--data.dev_fraction=0", "--monitor=null", "--refit=false"))) == 0
    said = capfd.readouterr().out
    assert "the 2 folds are the table's own (0 4, 1 4); no fold sees test." in said
    assert "refit" not in said
    assert [row["split"] for row in _rows(tmp_path / "cv")] == ["test"] * 8
    tested = {path.split(",")[0] for path in table.read_text().splitlines() if path.endswith(",test")}
    assert not tested & {row["id"] for fold in range(2) for row in _rows(tmp_path / "cv" / f"fold{fold}")}


def test_a_table_s_own_folds_are_the_folds(words, corpora, tmp_path, capfd, monkeypatch, fold_here):
    table = _table(tmp_path, corpora, "fold", ["a", "b"] * 6)
    monkeypatch.setattr(cross_validation, "train_fold", fold_here)
    assert main(_in(tmp_path, _on(table, words, "--data.dev_fraction=0", "--monitor=null", "--refit=false"))) == 0
    said = capfd.readouterr().out
    assert "the 2 folds are the table's own (a 6, b 6)" in said
    assert said.strip().endswith("--ensemble")  # without a refit the folds' models are what there is
    folds = [{row["id"] for row in _rows(tmp_path / "cv" / f"fold{k}") if row["split"] == "test"} for k in range(2)]
    assert [len(ids) for ids in folds] == [6, 6]
    assert not (tmp_path / "cv" / "refit").exists()
    score = main(["score", str(tmp_path / "cv"), next(iter(folds[0])), "--output", str(tmp_path / "scores.csv")])
    assert score == 2
    assert "--ensemble takes the mean" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["batch1"] * 12, "the table's own splits are 1 (batch1 12)"),
        ([f"item{i}" for i in range(25)], "expected train, dev and test, or the names of 2 to 20 folds"),
    ],
)
def test_a_column_that_is_no_split_is_told_before_the_first_fold(words, corpora, tmp_path, fails, values, expected):
    table = _table(tmp_path, corpora, "set", values)
    said = fails(*_in(tmp_path, _on(table, words)))
    assert expected in said
    assert "--data.columns='{split: \"\"}'" in said
    assert not (tmp_path / "cv").exists()


@pytest.mark.parametrize("values", [["test", "dev"] * 6, ["test"] * 12])
def test_a_table_without_train_is_told_and_never_to_train_on_its_test_set(words, corpora, tmp_path, fails, values):
    said = fails(*_in(tmp_path, _on(_table(tmp_path, corpora, "set", values), words)))
    assert "none is train, to learn from; rename one" in said
    assert "columns" not in said
    assert not (tmp_path / "cv").exists()


def test_a_column_of_splits_can_be_left_aside(words, corpora, tmp_path, capfd, monkeypatch, fold_here):
    table = _table(tmp_path, corpora, "set", ["batch1"] * 12)
    started = []
    monkeypatch.setattr(cross_validation, "train_fold", lambda command, *rest: started.append(command) or 3)
    assert main(_in(tmp_path, _on(table, words, '--data.columns={split: ""}'))) == 3
    assert "3 folds are drawn by clip (seed 0)" in capfd.readouterr().out
    assert len(started) == 1


@pytest.mark.parametrize("kind", ["no table", "no audio"])
def test_what_is_missing_is_told_before_the_first_fold_and_leaves_no_folder(words, corpora, tmp_path, fails, kind):
    table = tmp_path / "none.csv"
    if kind == "no audio":
        table.write_text("file,overall\n" + "".join(f"a{i}.wav,{1 + i % 5}\n" for i in range(9)))
    said = fails(*_in(tmp_path / "runs", _on(table, words)))
    assert ("missing file: 9" if kind == "no audio" else f"{table}") in said
    assert not (tmp_path / "runs" / "cv").exists()


def test_the_run_folder_stands_for_the_refit_and_on_request_for_its_folds(finished, corpora, tmp_path):
    from lightning_aqa import load

    clip = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[0]
    refit = load(finished / "refit" / "checkpoints" / "best.ckpt")(clip)["overall"]
    folds = [load(finished / f"fold{k}")(clip)["overall"] for k in range(3)]
    assert load(finished)(clip)["overall"] == refit
    assert load(finished, ensemble=True)(clip)["overall"] == pytest.approx(np.mean(folds), abs=1e-5)
    assert len({refit, *folds}) == 4


def _scored(finished, clips, folder, *args):
    name = f"{len(list(folder.iterdir()))}.jsonl"
    assert main(["score", str(finished), *map(str, clips), f"--output={folder / name}", *args]) == 0
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_every_clip_is_scored_with_an_interval_by_the_errors_out_of_fold(finished, corpora, tmp_path, capfd, fails):
    from lightning_aqa import load

    clips = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:2]
    rows = _scored(finished, clips, tmp_path)
    errors = [abs(float(row["target"]) - float(row["score"])) for row in _rows(finished)]
    for row in rows:  # of 12 errors the 12th is that of 90 % of 13
        score = row["overall"]
        assert (row["overall low"], row["overall high"]) == pytest.approx(
            (max(1, score - max(errors)), min(5, score + max(errors))), abs=1e-5
        )
    numbers = ("overall", "overall low", "overall high")
    assert [{key: row[key] for key in numbers} for row in load(finished).rows(clips)] == [
        {key: row[key] for key in numbers} for row in rows
    ]
    narrower = _scored(finished, clips, tmp_path, "--interval=0.5")[0]
    assert narrower["overall high"] - narrower["overall low"] < rows[0]["overall high"] - rows[0]["overall low"]
    capfd.readouterr()
    assert "overall low" not in _scored(finished, clips, tmp_path, "--interval=0.95")[0]
    assert "no intervals: 12 rated clips of test to calibrate by, 0.95 takes at least 19." in capfd.readouterr().out
    assert "overall low" not in _scored(finished, clips, tmp_path, "--interval=0")[0]
    assert "no intervals" not in capfd.readouterr().out
    said = fails("score", str(finished), str(clips[0]), f"--output={tmp_path / 'x.csv'}", "--interval=90")
    assert said == "error: interval is a share of clips, such as 0.9, or 0 for none; got 90."


def test_intervals_of_clips_that_calibrate_follow_from_the_other_folds(finished):
    scale, (split, table) = [Axis("overall", "", 1.0, 5.0)], read_predictions(finished / "predictions.csv")[0][0]
    of, folds = calibrated_by(split, table, ["overall"], None), {id_: i % 3 for i, id_ in enumerate(table.ids)}
    assert np.isnan(with_held_out_ends(table, scale, of, folds).intervals).all()  # 8 others are too few
    everyone = with_held_out_ends(table, scale, of, dict(zip(table.ids, range(12), strict=True))).intervals
    errors = np.abs(table.scores - table.targets)[:, 0]
    worst = int(errors.argmax())
    assert everyone[worst, 0, 1] - everyone[worst, 0, 0] <= 2 * np.sort(errors)[-2] + 1e-9
    results = json.loads((finished / "results.json").read_text())["test"]["utterance"]["overall"]["interval"]
    assert results == {"share": 0.9, "calibrated_on": "other folds", "n": 0, "covered": None, "width": None}


@pytest.mark.parametrize("text", ["", "[]", '{"axes": ["overall"]}', '{"axes": 3, "errors": [[-1]]}', "\x00"])
def test_a_damaged_calibration_is_left_out_and_named(finished, tmp_path, text, caplog):
    (tmp_path / "intervals.json").write_text(text)
    assert read_calibration(tmp_path) is None
    assert "intervals.json" in caplog.text
    assert read_calibration(finished) is not None


def test_a_run_folder_is_taken_by_test_predict_and_init_from(words, finished, tmp_path, capfd):
    data = [word for word in words if word.startswith("--data") and "data.folds" not in word]
    here = [f"--trainer.default_root_dir={tmp_path}"]
    assert main(["test", f"--ckpt_path={finished}", *data, *here]) == 0
    assert main(["predict", f"--ckpt_path={finished}", "--ensemble", *data, *here]) == 0
    model = [word for word in words if word.startswith("--model")]
    assert main(["fit", *data, *model, *here, f"--init_from={finished}", "--trainer.max_epochs=1", "--name=new"]) == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"cv-test", "cv-predict", "new"}
    said = capfd.readouterr().out
    assert f"test: 1 of its 1 clips are, by their ids, among those that {finished / 'refit'}" in said
    assert main(["fit", *data, *model, *here, f"--ckpt_path={finished}"]) == 2  # and its refit is not gone on with
    assert f"--init_from={finished} starts a new training" in capfd.readouterr().err
    assert main(["test", f"--ckpt_path={tmp_path}", *data, *here]) == 2
    assert f"{tmp_path}: no checkpoint in this folder" in capfd.readouterr().err


def test_a_process_of_the_command_s_own_forks_its_folds(words, tmp_path):
    """The front door as it is, in a process of its own; a notebook's or a test's is not forked."""
    fewer = ["--data.folds=2", "--data.dev_fraction=0", "--monitor=null", "--refit=false"]
    command = [sys.executable, "-m", "lightning_aqa", *_in(tmp_path, words), *fewer]
    ended = subprocess.run(without_pictures(command), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "train/loss" in (tmp_path / "cv" / "fold1.log").read_text()
    assert "train/loss" not in ended.stdout
    assert len(_rows(tmp_path / "cv")) == 12
