"""Lightning's own callbacks in a run: they work, or one line says what to use."""

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelSummary, RichProgressBar, TQDMProgressBar

from lightning_aqa.cli.foreign_callbacks import fitted_callbacks
from lightning_aqa.cli.main import main
from lightning_aqa.module import AQAModule
from lightning_aqa.results.history import read_history


@pytest.fixture
def data(corpora):
    return ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.batch_size=16"]


@pytest.mark.parametrize("bar", [RichProgressBar, TQDMProgressBar])
def test_a_bar_that_is_asked_for_is_shown_without_a_terminal_unless_an_argument_says_no(bar):
    callbacks = [ModelSummary(), bar()]
    assert fitted_callbacks(callbacks, ["fit"]) == (callbacks, {"enable_progress_bar": True})
    kept = (callbacks[:1], {})
    assert fitted_callbacks(callbacks, ["fit", "--trainer.enable_progress_bar=false"]) == kept
    assert fitted_callbacks(callbacks, ["fit", "--trainer.enable_progress_bar", "False"]) == kept
    assert fitted_callbacks(callbacks[:1], ["fit", "--trainer.enable_progress_bar=true"]) == kept


def test_bars_summaries_and_timers_leave_a_whole_run_and_a_config_that_is_read_again(data, fit, capfd):
    more = ("TQDMProgressBar", "RichModelSummary", "Timer", "Timer.duration=00:01:00:00")
    args = [f"--trainer.callbacks{'.' if '=' in one else '+='}{one.removeprefix('Timer.')}" for one in more]
    folder = fit(*data, *args)
    assert "Epoch 0" in capfd.readouterr().out
    assert (folder / "results.json").exists()
    saved = yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["callbacks"]
    assert saved[-1]["init_args"]["interval"] == "step"
    assert main(["fit", "--config", str(folder / "config.yaml"), "--print_config"]) == 0


@pytest.mark.parametrize(
    ("tuner", "instead"), [("LearningRateFinder", "model.optimizer.init_args.lr"), ("BatchSizeFinder", "--data.batch_")]
)
def test_a_tuner_is_refused_with_what_to_use(data, fails, tmp_path, tuner, instead):
    said = fails("fit", *data, f"--trainer.callbacks+={tuner}", f"--trainer.default_root_dir={tmp_path}")
    assert said.splitlines()[-1].startswith(f"error: trainer.callbacks: {tuner} takes all other callbacks away")
    assert instead in said


def test_an_epoch_without_validation_has_empty_cells_and_steps_no_plateau(data, fit, capsys):
    plateau = ["lightning.pytorch.cli.ReduceLROnPlateau", "val/loss", "0", "1e9"]
    names = ("", ".monitor", ".patience", ".threshold")
    args = [f"--model.scheduler{name}={value}" for name, value in zip(names, plateau, strict=True)]
    folder = fit(*data, *args, "--trainer.check_val_every_n_epoch=2", epochs=5)
    rows = read_history(folder / "history.csv")
    assert ["val/loss" in row for row in rows] == [False, True, False, True, False]
    assert all("train/loss" in row for row in rows)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert ["val/" in line for line in lines] == [False, True, False, True, False]
    (scheduler,) = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["lr_schedulers"]
    assert scheduler["_last_lr"] == pytest.approx([1e-5])  # two validations, neither better by the threshold


def test_a_plateau_without_a_split_to_validate_on_is_told(corpora, fails, tmp_path):
    said = fails(
        "fit", "--data=AESNatural", f"--data.root={corpora['aes_natural']}", "--trainer.limit_val_batches=0",
        "--model.scheduler=lightning.pytorch.cli.ReduceLROnPlateau", "--model.scheduler.monitor=val/loss",
        "--monitor=null", f"--trainer.default_root_dir={tmp_path}",
    )  # fmt: skip
    assert said.splitlines()[-1].startswith("error: val/loss, which the scheduler's monitor names, is not a logged")


BROKEN = """
from lightning.pytorch.callbacks import Callback
class Broken(Callback):
    def on_train_batch_end(self, *args):
        {}["no such key"]
"""


def test_an_error_that_nobody_foresaw_is_one_line_and_its_traceback_is_kept(data, tmp_path, capfd, monkeypatch):
    (tmp_path / "my_broken_callback.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    args = ["fit", *data, f"--trainer.default_root_dir={tmp_path}", "--name=run"]
    assert main([*args, "--trainer.callbacks+=my_broken_callback.Broken"]) == 1
    said = capfd.readouterr().err.splitlines()
    kept = tmp_path / "run" / "traceback.txt"
    where = "(my_broken_callback.py, line 5)"
    assert said[-1] == f"error: KeyError: 'no such key' {where}. The traceback is in {kept}."
    assert "Traceback" not in "".join(said)
    assert '{}["no such key"]' in kept.read_text()


@pytest.fixture
def seen(monkeypatch):
    """Weights after each step and each epoch of a training, and those that are tested."""
    found = {"step": [], "epoch": [], "test": []}
    hooks = {"step": "on_train_batch_end", "epoch": "on_train_epoch_end", "test": "on_test_start"}
    for name, hook in hooks.items():
        usual = getattr(AQAModule, hook)

        def keep(module, *args, name=name, usual=usual):
            found[name].append({key: value.detach().clone() for key, value in module.named_parameters()})
            return usual(module, *args)

        monkeypatch.setattr(AQAModule, hook, keep)
    return found


OPTIMISER = ["--model.optimizer=AdamW", "--model.optimizer.lr=0.05"]


def _assert_kept_and_tested(folder, name, seen, average):
    (tested,) = seen["test"]
    kept = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    for name, expected in average.items():
        torch.testing.assert_close(kept[name], expected)
        assert torch.equal(tested[name], kept[name]), name
    assert any(not torch.allclose(average[name], weight) for name, weight in seen["step"][-1].items())


def test_stochastically_averaged_weights_are_those_kept_and_tested(data, fit, seen):
    args = ["--trainer.callbacks+=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.05"]
    folder = fit(*data, *args, "--trainer.callbacks.swa_epoch_start=2", *OPTIMISER, epochs=4)
    one, two, three = seen["epoch"][:3]  # the average is taken at the starts of the epochs after them
    _assert_kept_and_tested(folder, "best", seen, {name: (one[name] + two[name] + three[name]) / 3 for name in one})
    saved = yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["callbacks"]
    assert saved[0]["init_args"]["device"] == "cpu"


def test_exponentially_averaged_weights_are_those_kept_and_tested(data, fit, seen):
    args = ["--trainer.callbacks+=EMAWeightAveraging", "--trainer.callbacks.decay=0.5", "--monitor=null"]
    folder = fit(*data, *args, *OPTIMISER, epochs=2)
    average = seen["step"][0]
    for weights in seen["step"][1:]:
        average = {name: (average[name] + weight) / 2 for name, weight in weights.items()}
    _assert_kept_and_tested(folder, "last", seen, average)
