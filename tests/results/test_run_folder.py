"""Where a run puts its files: names, numbers, and the folder that it goes on with."""

import errno
import os
from contextlib import ExitStack

import pytest
from jsonargparse import Namespace

from lightning_aqa.results.run_folder import choose_run_folder, claim_in, free_folder


def _never(folder):
    return False


def _settings(root, name=None, checkpoint=None, logger=None):
    trainer = Namespace(default_root_dir=str(root), logger=logger)
    data = Namespace(class_path="lightning_aqa.data.table.Table")
    return Namespace(trainer=trainer, name=name, ckpt_path=checkpoint, data=data)


def _run(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()
    return folder / "checkpoints" / "last.ckpt"


def test_a_run_is_named_by_its_flag_its_config_or_its_data(tmp_path):
    def folder(verb="fit", stem="", **settings):
        return choose_run_folder(_settings(tmp_path, **settings), verb, stem, _never).name

    assert folder(name="mine", stem="own_data") == "mine"
    assert folder(stem="own_data") == "own_data"
    assert folder() == "table"
    assert folder("test", checkpoint=str(tmp_path / "trained" / "checkpoints" / "best.ckpt")) == "trained-test"


def test_a_name_that_is_taken_gets_the_next_number(tmp_path):
    assert free_folder(tmp_path / "run", _never) == tmp_path / "run"
    (tmp_path / "run").mkdir()
    assert free_folder(tmp_path / "run", _never) == tmp_path / "run"
    _run(tmp_path / "run")
    _run(tmp_path / "run-2")
    assert free_folder(tmp_path / "run", _never) == tmp_path / "run-3"
    assert free_folder(tmp_path / "run", lambda folder: folder.name == "run-2") == tmp_path / "run-2"


def test_training_goes_on_in_the_folder_of_its_checkpoint_and_an_evaluation_does_not(tmp_path):
    checkpoint = _run(tmp_path / "old" / "run")
    settings = _settings(tmp_path, checkpoint=str(checkpoint))
    assert choose_run_folder(settings, "fit", "", _never) == tmp_path / "old" / "run"
    assert choose_run_folder(settings, "test", "", _never) == tmp_path / "run-test"
    loose = _settings(tmp_path, checkpoint=str(tmp_path / "loose.ckpt"))
    assert choose_run_folder(loose, "fit", "", _never) == tmp_path / "table"


def _elsewhere(work):
    """Ask another process, and return the name of the folder that it gets, or its error."""
    reads, writes = os.pipe()
    if (process := os.fork()) == 0:
        with ExitStack() as held:
            try:
                said = work(claim_in(held)).name
            except ValueError as error:
                said = str(error)
            os.write(writes, said.encode())
            os._exit(0)
    os.waitpid(process, 0)
    os.close(writes)
    with open(reads, encoding="utf-8") as file:
        return file.read()


def test_two_that_start_together_get_a_folder_each_and_a_name_that_is_alive_is_refused(tmp_path):
    folder = tmp_path / "run"
    named, resumed = (
        _settings(tmp_path, name="run"),
        _settings(tmp_path, checkpoint=str(folder / "checkpoints/last.ckpt")),
    )
    with ExitStack() as held:
        assert free_folder(folder, _never, claim_in(held)) == folder
        assert _elsewhere(lambda take: free_folder(folder, _never, take)) == "run-2"
        said = _elsewhere(lambda take: choose_run_folder(named, "fit", "", _never, take))
        assert said.startswith(f"--name=run: a run is going on in {folder} right now")
        _run(folder)
        said = _elsewhere(lambda take: choose_run_folder(resumed, "fit", "", _never, take))
        assert said.startswith(f"--ckpt_path={folder}/checkpoints/last.ckpt: a run is going on in {folder} right now")
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "config.yaml"]
    assert _elsewhere(lambda take: choose_run_folder(resumed, "fit", "", _never, take)) == "run"


def test_on_a_disk_without_locks_who_makes_a_folder_has_it_and_a_trial_has_the_one_of_its_sweep(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with ExitStack() as held:
        folders = [free_folder(tmp_path / "run", _never, claim_in(held)) for _ in range(2)]
        assert [folder.name for folder in folders] == ["run", "run-2"]
        (tmp_path / "trial").mkdir()
        (tmp_path / "trial" / "trial.json").touch()
        assert free_folder(tmp_path / "trial", _never, claim_in(held)).name == "trial"


def test_a_command_that_fails_before_it_writes_leaves_no_folder(tmp_path):
    with ExitStack() as held:
        assert free_folder(tmp_path / "run", _never, claim_in(held)).is_dir()
    assert not (tmp_path / "run").exists()
    with pytest.raises(FileNotFoundError):
        os.stat(tmp_path / "run" / "run.lock")
