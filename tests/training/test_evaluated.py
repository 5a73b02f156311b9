"""The table of results says which epoch it is of, has the split test first and says its words."""

import csv
import json

import pytest

from lightning_aqa.cli.main import main
from lightning_aqa.results.console import legend_of

MONITOR = "val/utterance/SRCC/mean"


@pytest.fixture
def train(corpora, fit):
    def run(*args, **kwargs):
        data = ("--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.batch_size=16")
        return fit(*data, "--model.head.hidden=[]", "--trainer.logger=false", *args, **kwargs)

    return run


def _title_and_splits(said):
    lines = said.splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.startswith("results of ")]
    rows = [line.split() for line in lines[start + 2 :]]
    table = rows[: next(i for i, row in enumerate(rows) if row[1] not in ("utterance", "system", "system_mos"))]
    return lines[start].strip(), list(dict.fromkeys(row[0] for row in table))


def test_the_table_is_of_the_best_epoch_and_a_test_says_its_checkpoint(train, capsys, tmp_path, corpora):
    folder = train(epochs=3)
    title, splits = _title_and_splits(capsys.readouterr().out)
    values = [float(row[MONITOR]) for row in csv.DictReader((folder / "history.csv").read_text().splitlines())]
    best = values.index(max(values)) + 1
    assert title == f"results of epoch {best}, best by {MONITOR}"
    assert splits == ["test", "train", "dev"]
    assert list(json.loads((folder / "results.json").read_text())) == ["train", "dev", "test"]
    fact = json.loads((folder / "run.json").read_text())["evaluated"]
    assert (fact["epoch"], fact["chosen_by"]) == (best, MONITOR)
    for name, epoch in (("best", best), ("last", 3)):
        path = folder / "checkpoints" / f"{name}.ckpt"
        args = ["test", f"--ckpt_path={path}", "--data=MusicEval", f"--data.root={corpora['musiceval']}"]
        assert main([*args, f"--trainer.default_root_dir={tmp_path}", f"--name=of_{name}"]) == 0
        said = capsys.readouterr().out.replace("\n/", "/")
        assert f"results of {path}, epoch {epoch}" in " ".join(said.split())
        assert json.loads((tmp_path / f"of_{name}" / "run.json").read_text())["evaluated"]["epoch"] == epoch


@pytest.mark.parametrize("flag", ["--monitor=null", "--trainer.enable_checkpointing=false"])
def test_without_a_best_epoch_the_table_is_of_the_last(train, capsys, flag):
    train(flag, epochs=2)
    assert _title_and_splits(capsys.readouterr().out)[0] == "results of epoch 2, the last"


def _entry(**more):
    return {"n": 4, "MSE": 1.0, "LCC": 0.5, "SRCC": 0.5, "KTAU": 0.5, **more}


def test_words_are_said_only_where_they_stand():
    assert legend_of({"test": {"utterance": {"MI": _entry()}}}) == []
    entry = _entry(ceiling={"lcc": 0.9}, ci_system={"SRCC": [0.1, 0.9]})
    found = legend_of({"test": {"utterance": {"MI": entry}, "system_mos": {"MI": _entry()}}, "dev": {"domains": {}}})
    assert [line.split(":")[0] for line in found] == ["system_mos", "over systems", "highest LCC"]
