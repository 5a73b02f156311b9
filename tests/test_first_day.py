"""The first day: from a table and a folder of audio to a check, intervals, and scores of the refit model."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from lightning_aqa import load
from lightning_aqa.cli.main import main
from lightning_aqa.training import cross_validation
from tests.slow import all_but

NUM_CLIPS = 24


@pytest.fixture(scope="module")
def folder(corpora, tmp_path_factory):
    """The folder of a user who has a folder of audio."""
    path = tmp_path_factory.mktemp("day")
    (path / "clips").mkdir()
    for clip in sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:NUM_CLIPS]:
        (path / "clips" / clip.name).symlink_to(clip)
    return path


def _rating(index):
    return 1 + (7 * index) % 9 / 2


def _lines(names, kind):
    """The lines of a table of some kind, and the scale of its one axis."""
    rows = list(enumerate(names))
    if kind == "wide":
        return ["file,system,overall", *(f"{name},S{i % 4},{_rating(i)}" for i, name in rows)], [1, 5]
    if kind == "long":
        header = "file_name,rater_id,axis,score"
        return [header, *(f"{name},L{k},overall,{1 + (i + k) % 5}" for i, name in rows for k in range(3))], [1, 5]
    if kind == "semicolon with BOM":
        return ["\ufeffpath;model;mos", *(f"{name};S{i % 4};{_rating(i)}" for i, name in rows)], [1, 5]
    if kind == "0 to 100":
        return ["wav,listener,quality", *(f"{name},L{k},{(13 * i + k) % 101}" for i, name in rows for k in (0, 5))], [
            0,
            100,
        ]
    if kind == "subset":
        splits = ["train", "train", "valid", "test", "train", "train"]
        return ["clip,subset,mos", *(f"{name},{splits[i % 6]},{_rating(i)}" for i, name in rows)], [1, 5]
    assert kind == "without extensions"
    return ["id\tscore", *(f"{name.removesuffix('.wav')}\t{_rating(i)}" for i, name in rows)], [1, 5]


KINDS = ["wide", "long", "semicolon with BOM", "0 to 100", "subset", "without extensions"]


@pytest.fixture(params=all_but(KINDS, "wide", "long", "subset", "without extensions"))
def table(request, folder):
    """A table of each kind, and its scale; that without extensions has none itself."""
    lines, scale = _lines(sorted(path.name for path in (folder / "clips").iterdir()), request.param)
    path = folder / (request.param if request.param == "without extensions" else f"{request.param}.csv")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path.name, scale, request.param


def test_three_commands_lead_from_a_table_to_scores(table, folder, tmp_path, monkeypatch, capfd, fold_here):
    name, scale, kind = table
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cross_validation, "train_fold", fold_here)
    here = [f"--trainer.default_root_dir={tmp_path}"]

    assert main(["inspect", name, "clips"]) == 0
    said = capfd.readouterr().out
    ready = re.search(r"--data\.axes=('[^']+'|\S+)", said)
    assert ready, said
    axes = shlex.split(ready[0])[0]
    assert str(scale) in axes
    assert str(NUM_CLIPS) in said

    small = ["--data.folds=2", "--trainer.max_epochs=2", "--trainer.logger=false"]
    assert main(["fit", name, "clips", axes, *small, *here]) == 0
    said = capfd.readouterr().out
    assert " to " in said.split("SRCC 95 %")[1]
    results = json.loads((tmp_path / "own_data" / "results.json").read_text())
    assert set(results) == ({"out-of-fold", "test"} if kind == "subset" else {"test"})
    found = results["out-of-fold" if kind == "subset" else "test"]  # the four test clips alone are too few
    (low, high) = next(iter(found["utterance"].values()))["ci"]["SRCC"]
    assert -1 <= low < high <= 1

    monkeypatch.chdir(tmp_path)
    command = shlex.split(re.search(r"to score other clips: python -m lightning_aqa (.*)", said)[1])
    assert main([*command[:-1], str(folder / "clips")]) == 0
    with open("scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    axis = next(iter(found["utterance"]))
    assert len(rows) == NUM_CLIPS
    assert all(scale[0] - 1 < float(row[axis]) < scale[1] + 1 for row in rows)


PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text()


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_fifteen_lines_of_python_do_the_same(table, folder, monkeypatch, capsys):
    name, scale, _ = table
    code = re.search(r"^## A table to scores.*?^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1]
    first, second = sorted(path.name for path in (folder / "clips").iterdir())[:2]
    fewer = {"(0, 1, 2, 3, 4, ": "(0, 1, ", "folds=5": "folds=2"}
    for old, new in {'"ratings.csv"': repr(name), "a00.wav": first, "a01.wav": second, **fewer}.items():
        assert old in code
        code = code.replace(old, new)
    monkeypatch.chdir(folder)
    found = {"__name__": "page"}
    exec(compile(code, "docs/python.md", "exec"), found)
    said = capsys.readouterr().out
    assert "'ci': {'MSE': [" in said
    table, axis = found["join"](found["tables"][:-1]), found["data"].axes[0]
    assert [axis.low, axis.high] == scale
    learned = {clip.id for clip in found["data"].manifest if clip.split in ("train", "dev")}
    assert set(table.ids) == learned
    assert (
        load("overall.ckpt")(f"clips/{first}")[axis.name]
        == found["Scorer"](found["module"])(f"clips/{first}")[axis.name]
    )
