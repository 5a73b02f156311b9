"""The record of the epochs: written after each, and carried on by a resumed run."""

from types import SimpleNamespace

import pytest

from lightning_aqa.results.history import read_history, write_history
from lightning_aqa.training.history import History


def _trainer(epoch, bar=None, is_first=True, **metrics):
    return SimpleNamespace(
        callback_metrics={name.replace("_", "/"): value for name, value in metrics.items()},
        current_epoch=epoch, global_step=10 * (epoch + 1), max_epochs=3, is_global_zero=is_first,
        progress_bar_callback=bar, callbacks=[],
    )  # fmt: skip


def test_rows_come_back_and_what_was_not_logged_is_absent(tmp_path):
    rows = [{"epoch": 0, "a": 0.1}, {"epoch": 1, "a": 1 / 3, "b": float("inf")}, {"epoch": 2, "b": -2.0}]
    write_history(tmp_path / "history.csv", rows)
    assert read_history(tmp_path / "history.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_each_epoch_adds_a_row_and_a_line(tmp_path, capsys):
    history = History(tmp_path, "val/loss")
    history.on_train_epoch_end(_trainer(0, train_loss=0.5, val_loss=0.25, val_mse=9.0), None)
    assert capsys.readouterr().out == "epoch 1/3  train/loss 0.5000  val/loss 0.2500\n"
    history.on_train_epoch_end(_trainer(1, bar=object(), train_loss=0.4), None)
    assert capsys.readouterr().out == ""
    assert read_history(tmp_path / "history.csv") == [
        {"epoch": 0, "step": 10, "train/loss": 0.5, "val/loss": 0.25, "val/mse": 9.0},
        {"epoch": 1, "step": 20, "train/loss": 0.4},
    ]


@pytest.mark.parametrize("monitor", [None, "val/loss"])
def test_a_resumed_record_is_carried_on(tmp_path, monitor, capsys):
    first, second = History(tmp_path, monitor), History(tmp_path, monitor)
    first.on_train_epoch_end(_trainer(0, train_loss=0.5), None)
    second.load_state_dict(first.state_dict())
    second.on_train_epoch_end(_trainer(1, train_loss=0.4), None)
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == [0, 1]
    assert len(first.rows) == 1
    assert "val/loss" not in capsys.readouterr().out


def test_other_processes_write_nothing(tmp_path, capsys):
    History(tmp_path / "nowhere", None).on_train_epoch_end(_trainer(0, is_first=False, train_loss=0.5), None)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
