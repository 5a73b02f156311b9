"""Checkpoints are read without running what they hold; what is wrong with one is said with its name."""

import logging
import os
import pickle

import pytest
import torch

from lightning_aqa.batch import Axis
from lightning_aqa.module import AQAModule
from lightning_aqa.training.loading import INSTANTIATOR, load_module, load_weights, read_checkpoint, warn_of_differences

AXES = [Axis("PQ", "Quality", 0, 10)]


class Payload:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return exec, ("import os; os.environ['AQA_TEST_PAYLOAD'] = 'ran'",)


@pytest.fixture
def save(tmp_path):
    def to(content):
        torch.save(content, tmp_path / "x.ckpt")
        return tmp_path / "x.ckpt"

    return to


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, save, monkeypatch):
    monkeypatch.delenv("AQA_TEST_PAYLOAD", raising=False)
    bare = tmp_path / "bare.ckpt"
    bare.write_bytes(pickle.dumps(Payload()))
    for path in (save({"state_dict": {}, "more": Payload()}), bare):
        with pytest.raises(ValueError, match=rf"{path.name}: refused, since it wants "):
            read_checkpoint(path)
    assert "AQA_TEST_PAYLOAD" not in os.environ


def test_what_is_no_checkpoint_is_named(tmp_path, save):
    with pytest.raises(
        ValueError, match=r"gone\.ckpt: no such checkpoint; give a run folder, or a file of its checkpoints/"
    ):
        read_checkpoint(tmp_path / "gone.ckpt")
    with pytest.raises(ValueError, match="no checkpoint in this folder"):
        read_checkpoint(tmp_path)
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match=r"text\.ckpt: cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "text.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt: not a checkpoint of a run \(it has no state_dict\)"):
        read_checkpoint(save({"weights": {}}))


@pytest.mark.parametrize("instantiator", [None, "os.system", "builtins.exec"])
def test_only_the_instantiator_of_the_command_line_is_called(save, instantiator):
    hyperparameters = {} if instantiator is None else {"_instantiator": instantiator}
    with pytest.raises(ValueError, match=r"does not say what its model is made of"):
        load_module(save({"state_dict": {}, "hyper_parameters": hyperparameters}))


def test_a_run_s_checkpoint_gives_its_module_back(corpora, fit):
    words = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--model.head.hidden=[7]"]
    path = fit(*words) / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(path)
    assert saved["hyper_parameters"]["_instantiator"] == INSTANTIATOR
    module = load_module(path)
    assert [axis.name for axis in module.axes] == ["MI", "TA"]
    assert not module.is_fresh
    assert module.state_dict().keys() == saved["state_dict"].keys()
    assert all(torch.equal(value, saved["state_dict"][name]) for name, value in module.state_dict().items())


def test_a_checkpoint_whose_weights_are_not_those_of_its_own_model_is_refused(corpora, fit, tmp_path):
    folder = fit("--data=MusicEval", f"--data.root={corpora['musiceval']}", "--trainer.logger=false")
    content = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("head.") and name.endswith("weight"))
    content["state_dict"][name] = torch.zeros(1, 1)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=rf"x\.ckpt: its weights are not those of its model as it is now: .*{name}"):
        load_module(tmp_path / "x.ckpt")


def test_weights_come_with_the_constants_and_make_a_module_experienced(save):
    one, two = AQAModule(AXES), AQAModule(AXES)
    one.head.fit_scale(torch.tensor([3.25]), torch.tensor([0.5]))
    load_weights(two, save({"state_dict": one.state_dict()}))
    assert two.head.location_A.item() == 3.25
    assert not two.is_fresh
    assert one.is_fresh


def test_weights_of_another_model_are_refused_by_name(save):
    path = save({"state_dict": AQAModule([*AXES, Axis("CE", "Enjoyment", 0, 10)]).state_dict()})
    with pytest.raises(ValueError, match=r"x\.ckpt: \d+ weights are not those of this model, among them head\."):
        load_weights(AQAModule(AXES), path)
    module = AQAModule(AXES)
    names = {f"renamed.{name}": value for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"weights are not those of this model"):
        load_weights(module, save({"state_dict": names}))
    assert module.is_fresh


def test_settings_that_differ_are_warned_of_with_the_one_that_counts(save, caplog):
    path = save({"state_dict": {}, "hyper_parameters": {"encoder": {"width": 1}, "head": "MLP", "axes": []}})
    with caplog.at_level(logging.WARNING):
        warn_of_differences(
            path,
            read_checkpoint(path)["hyper_parameters"],
            {"encoder": {"width": 1}, "head": "MLP", "axes": [1], "new": 3},
            is_fit=True,
        )
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        warn_of_differences(
            path, read_checkpoint(path)["hyper_parameters"], {"encoder": {"width": 2}, "head": "MLP"}, is_fit=True
        )
        warn_of_differences(
            path, read_checkpoint(path)["hyper_parameters"], {"encoder": {"width": 1}, "head": "AESANet"}, is_fit=False
        )
    fit, test = (record.getMessage() for record in caplog.records)
    assert "(encoder); the config counts. To change settings and keep weights, use --init_from." in fit
    assert "(head); the checkpoint counts." in test


def test_a_checkpoint_of_a_module_made_in_python_can_be_read(tmp_path):
    module = AQAModule(AXES)
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, tmp_path / "x.ckpt")
    assert read_checkpoint(tmp_path / "x.ckpt")["hyper_parameters"]["axes"] == [["PQ", "Quality", 0, 10]]


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
def test_no_verb_runs_what_a_checkpoint_holds(corpora, save, fails, monkeypatch, tmp_path, verb):
    monkeypatch.delenv("AQA_TEST_PAYLOAD", raising=False)
    path = save({"state_dict": {}, "hyper_parameters": {}, "callbacks": {}, "more": Payload()})
    words = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={tmp_path}"]
    assert f"{path}: refused, since it wants " in fails(verb, *words, f"--ckpt_path={path}")
    assert "AQA_TEST_PAYLOAD" not in os.environ
