"""Old names of settings: taken with one warning, refused beside another value of today's name."""

import pytest

from lightning_aqa.cli.main import main
from lightning_aqa.objectives.qamro import QAMRO
from lightning_aqa.results.runs import Run
from lightning_aqa.utils.renamed import with_new_names


def test_an_old_name_is_taken_with_a_warning():
    with pytest.warns(FutureWarning, match="memory is now memory_size"):
        assert QAMRO(memory=8).memory_size == 8


def test_two_names_of_one_setting_may_not_say_different_things():
    with pytest.raises(ValueError, match=r"memory=8 and memory_size=16 are one setting; give memory_size alone"):
        QAMRO(memory=8, memory_size=16)
    with pytest.warns(FutureWarning):
        assert QAMRO(memory=8, memory_size=8).memory_size == 8


def test_a_command_with_both_names_is_refused_in_one_line(corpora, fails, tmp_path):
    data = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={tmp_path}"]
    said = fails("fit", *data, "--objectives.q=QAMRO", "--objectives.q.memory=8", "--objectives.q.memory_size=16")
    assert "memory=8 and memory_size=16 are one setting" in said


OLD = (
    "data: {class_path: a.Table, init_args: {level: rms}}\nobjectives: {q: {class_path: QAMRO, init_args: {memory: 8}}}"
)
NEW = """data: {class_path: a.Table, init_args: {normalise: rms, level: null}}
objectives: {q: {class_path: QAMRO, init_args: {memory_size: 8, memory: null}}}"""


def test_runs_of_an_old_and_of_a_new_version_are_one_variant(tmp_path):
    old, new = (Run(tmp_path, {}, [], config_text=text) for text in (OLD, NEW))
    assert old.tried == new.tried
    assert ("objectives.q.memory_size", "8") in new.tried


def test_other_settings_of_the_same_name_stay():
    assert with_new_names({"objectives.m": "Mine", "objectives.m.memory": 3}) == {
        "objectives.m": "Mine",
        "objectives.m.memory": 3,
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["experiments", "--copy="], "--copy needs the name of an experiment"),
        (["experiments", "--copy=experiments/quickstart.yaml", "--to=file"], "--to=file is a file; give a folder"),
        (["score"], "required: checkpoint, inputs"),
        (["report", "runs", "--clips=x"], "--clips: expected a whole number, got x"),
        (["--", "score"], "a subcommand is missing: one of fit, "),
        (["--config", "x.yaml"], "a subcommand is missing: one of fit, "),
    ],
)
def test_a_mistake_at_the_front_door_is_one_line(args, message, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    said = fails(*args)
    assert message in said
    assert said.count("\n") == 0


def test_a_shipped_sweep_is_found_behind_a_switch(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for args in (["--show", "experiments/ablations/qamro.yaml"], ["experiments/ablations/qamro.yaml", "--show"]):
        assert main(["sweep", *args]) == 0
        assert "no such sweep file" not in capfd.readouterr().err
