"""Where a run puts its files: names, numbers, and the folder that it goes on with."""

from jsonargparse import Namespace

from lightning_aqa.results.run_folder import choose_run_folder, free_folder


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
