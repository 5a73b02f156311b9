"""The subcommand ensemble: its folder scores as the members do together, on clips and folds that they share."""

import csv
import json
import shutil

import numpy as np
import pytest

from lightning_aqa import load
from lightning_aqa.cli.main import main
from lightning_aqa.results.predictions import read_predictions, write_predictions
from lightning_aqa.training import cross_validation

NAMES = ("one", "two")


@pytest.fixture(scope="module")
def runs(corpora, tmp_path_factory, fold_here):
    """Two cross-validations over the same folds, whose models have encoders of different widths and windows."""
    folder = tmp_path_factory.mktemp("members")
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:12]
    lines = [f"{path},S{i % 4},{1 + i % 5}" for i, path in enumerate(audio)]
    (folder / "list.csv").write_text("\n".join(["file,system,overall", *lines]))
    words = ["fit", "--data=Table", f"--data.path={folder / 'list.csv'}", "--data.axes={overall: [1, 5]}"]
    words += ["--data.folds=3", "--data.dev_fraction=0", "--monitor=null", "--model.encoder=MelSpectrogram"]
    words += ["--model.encoder.depth=1", "--trainer.max_epochs=1"]
    here = [f"--trainer.default_root_dir={folder}", "--name=one", "--model.encoder.width=8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "train_fold", fold_here)
        assert main([*words, *here]) == 0
        shutil.copytree(folder / "one", folder / "two")
        shutil.rmtree(folder / "two" / "refit")
        own = [f"--trainer.default_root_dir={folder / 'two'}", "--name=refit", "--model.encoder.width=12"]
        assert main([*words, *own, "--data.fold=all", "--data.window_seconds=2"]) == 0
    ((split, table),), axes = read_predictions(folder / "one" / "predictions.csv")
    other = table._replace(scores=table.scores + np.random.default_rng(0).normal(size=table.scores.shape))
    write_predictions(folder / "two" / "predictions.csv", [(split, other)], axes)
    return folder


def _rows(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_folder_scores_as_the_members_do_on_average(runs, corpora, tmp_path, capfd):
    made = tmp_path / "both"
    assert main(["ensemble", str(runs / "one"), str(runs / "two"), f"--output={made}"]) == 0
    said = capfd.readouterr().out
    assert "gain: ensemble minus run, with its 95 % interval" in said
    clips = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:3]
    wanted = np.mean([[row["overall"] for row in load(runs / name)(clips)] for name in NAMES], axis=0)
    assert [row["overall"] for row in load(made)(clips)] == pytest.approx(wanted, abs=1e-5)
    assert main(["score", str(made), *map(str, clips), f"--output={tmp_path / 's.csv'}"]) == 0
    with open(tmp_path / "s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["overall"]) for row in rows] == pytest.approx(wanted, abs=1e-5)
    assert all(float(row["overall low"]) <= float(row["overall"]) <= float(row["overall high"]) for row in rows)
    pooled, members = _rows(made), [_rows(runs / name) for name in NAMES]
    means = np.mean([[float(row["score"]) for row in table] for table in members], axis=0)
    assert [float(row["score"]) for row in pooled] == pytest.approx(means)
    moved = tmp_path / "elsewhere"
    shutil.move(made, moved)
    assert [row["overall"] for row in load(moved)(clips)] == pytest.approx(wanted, abs=1e-5)
    assert main(["test", f"--ckpt_path={moved}", "--data=Folder", f"--data.root={clips[0].parent}"]) == 2
    assert "an ensemble, of several models; `score` and `load` take it" in capfd.readouterr().err


def test_models_of_one_encoder_encode_once(runs, corpora, tmp_path):
    made, again = tmp_path / "same", tmp_path / "one"
    shutil.copytree(runs / "one", again)
    assert main(["ensemble", str(runs / "one"), str(again), f"--output={made}", "--weights=ridge"]) == 0
    record = json.loads((made / "ensemble.json").read_text())["members"]
    assert [row["weights"] for row in record] == [{"overall": 0.5}] * 2
    clip = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[0]
    scorer = load(made)
    assert not hasattr(scorer, "members")
    assert scorer(clip)["overall"] == pytest.approx(load(again)(clip)["overall"], abs=1e-5)


def test_runs_that_do_not_fit_are_refused_or_cut_to_what_they_share(runs, tmp_path, fails, capfd):
    fewer, plain = tmp_path / "fewer", tmp_path / "plain"
    for folder in (fewer, plain):
        shutil.copytree(runs / "two", folder)
    lines = (fewer / "predictions.csv").read_text().splitlines(keepends=True)
    (fewer / "predictions.csv").write_text("".join(lines[:-1]))
    assert main(["ensemble", str(runs / "one"), str(fewer), f"--output={tmp_path / 'cut'}"]) == 0
    assert "1 clips are not in every run and are left out; 11 are." in capfd.readouterr().out
    (plain / "run.json").unlink()
    one, to = str(runs / "one"), f"--output={tmp_path / 'x'}"
    ridge = "--weights=ridge"
    assert "no folds in it for the clips of test; weights by ridge take" in fails(
        "ensemble", one, str(plain), to, ridge
    )
    assert f"an ensemble takes two different runs or more, got {one} alone; one that is named twice counts" in fails(
        "ensemble", one, one, to
    )
    assert "there is such a folder; name another" in fails("ensemble", one, one, f"--output={tmp_path}")
    assert "not rated in every run" in fails("ensemble", one, str(plain), to, "--split=train")
    tables = [(fewer / f"fold{k}" / "predictions.csv") for k in (0, 1)]
    texts = [path.read_text().splitlines(keepends=True) for path in tables]
    mine = [[line for line in text if line.startswith("test,")] for text in texts]
    for path, text, gone, new in zip(tables, texts, mine, mine[::-1], strict=True):
        kept = [line for line in text if line not in gone]
        path.write_text("".join([*kept, *gone[1:], new[0]]))
    assert "other folds than in" in fails("ensemble", one, str(fewer), to, ridge)
    assert not (tmp_path / "x").exists()


OUTSIDE = '{"members": [{"checkpoint": "../../x", "run": "", "weights": {"a": 1}}]}'


@pytest.mark.parametrize("text", ["", "{}", '{"members": []}', OUTSIDE])
def test_a_damaged_record_is_told(tmp_path, fails, text):
    (tmp_path / "ensemble.json").write_text(text)
    said = fails("score", str(tmp_path), str(tmp_path / "a.wav"), f"--output={tmp_path / 's.csv'}")
    assert "ensemble.json: " in said


@pytest.fixture(scope="module")
def distilled(runs, tmp_path_factory, fold_here):
    """The ensemble of the two, and one model that learns from it."""
    made = tmp_path_factory.mktemp("distilled") / "both"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "train_fold", fold_here)
        assert (
            main(["ensemble", str(runs / "one"), str(runs / "two"), f"--output={made}", "--distill", "--student=one"])
            == 0
        )
    return made


def test_one_model_learns_from_the_ensemble_and_scores_like_any(distilled, runs, corpora, tmp_path):
    clip = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[0]
    one = load(distilled / "distilled")
    assert not hasattr(one, "members")
    assert 1 < one(clip)["overall"] < 5
    rows = _rows(distilled / "distilled")
    assert [row["target"] for row in rows] == [row["target"] for row in _rows(runs / "one")]  # tested by the ratings
    near = json.loads((distilled / "distilled" / "results.json").read_text())["test"]["distilled"]["overall"]
    differences = [float(a["score"]) - float(b["score"]) for a, b in zip(rows, _rows(distilled), strict=True)]
    assert near["n"] == 12
    assert near["RMSE"] == pytest.approx(np.sqrt(np.mean(np.square(differences))))
    assert main(["report", str(distilled / "distilled"), f"--output={tmp_path / 'report'}", "--resamples=100"]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"distilled learned the scores of an ensemble: overall on 12 clips: LCC {near['LCC']:.3f}, " in page


def test_what_it_learns_of_a_fold_comes_from_those_that_have_not_seen_it(distilled, runs):
    with open(distilled / "teacher.csv", newline="") as file:
        told = {(row["fold"], row["id"]): float(row["score"]) for row in csv.DictReader(file)}
    assert {fold for fold, _ in told} == {"0", "1", "2", "all"}
    for fold in ("0", "1", "2"):
        held_out = {row["id"] for row in _rows(runs / "one" / f"fold{fold}") if row["split"] == "test"}
        learned = {id_ for of, id_ in told if of == fold}
        assert (len(learned), learned & held_out) == (12 - len(held_out), set())
        said = {row["id"]: float(row["score"]) for row in _rows(runs / "one" / f"fold{fold}")}
        assert all(told[fold, id_] == pytest.approx(said[id_]) for id_ in learned)  # both have the same folds
        of_student = _rows(distilled / "distilled" / f"fold{fold}")
        targets = {row["id"]: float(row["target"]) for row in of_student if row["split"] == "train"}
        assert targets == pytest.approx({id_: told[fold, id_] for id_ in targets}, abs=1e-5)
    assert len([1 for fold, _ in told if fold == "all"]) == 12


def test_one_model_of_runs_without_folds_is_tested_on_the_split_that_they_share(run_folder, tmp_path, capfd):
    shutil.copytree(run_folder, tmp_path / "two")
    made = tmp_path / "made"
    assert main(["ensemble", str(run_folder), str(tmp_path / "two"), f"--output={made}", "--distill"]) == 0
    said = capfd.readouterr().out
    assert "distilled: one model, as " in said
    assert f"score {made / 'distilled'} CLIPS" in said
    of_test = [row for row in _rows(made / "distilled") if row["split"] == "test"]
    assert [row["target"] for row in of_test] == [row["target"] for row in _rows(run_folder) if row["split"] == "test"]
    assert (made / "ensemble.json").exists()


def test_what_cannot_be_distilled_is_one_line(distilled, runs, tmp_path, fails):
    pair, to = [str(runs / "one"), str(runs / "two")], f"--output={tmp_path / 'x'}"
    assert "--student is about the one model that --distill trains" in fails("ensemble", *pair, to, "--student=one")
    said = fails("ensemble", *pair, to, "--distill", "--student=ones")
    assert said == "error: --student=ones: the members are one, two. Did you mean 'one'?"
    shutil.copytree(runs / "two", tmp_path / "swapped")
    for one, other in ((0, "x"), (1, 0), ("x", 1)):
        shutil.move(tmp_path / "swapped" / f"fold{one}", tmp_path / "swapped" / f"fold{other}")
    said = fails("ensemble", pair[0], str(tmp_path / "swapped"), to, "--distill")
    assert "other folds than in" in said
    assert "--distill takes runs over the same folds" in said
    assert not (tmp_path / "x").exists()
    teacher = f"--data.teacher={distilled / 'teacher.csv'}"
    data = ["--data=Table", f"--data.path={runs / 'list.csv'}", "--data.axes={overall: [1, 5]}"]
    said = fails("fit", *data, teacher)
    assert "teacher.csv: no score of a training clip; give the table that `ensemble --distill` wrote" in said
