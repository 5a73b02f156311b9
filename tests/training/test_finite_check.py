"""A loss or a gradient that is not finite stops the run and says where."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.training.finite_check import NonFiniteError, check_gradient, check_loss


class Breaks(Regression):
    """Not a number in one training batch."""

    def __init__(self, batch: int = 2, kind: str = "loss") -> None:
        super().__init__()
        self.batch, self.wrong, self.count = batch, kind, 0

    def loss(self, output, batch):
        self.count += torch.is_grad_enabled()
        if not torch.is_grad_enabled() or self.count != self.batch:
            return super().loss(output, batch)
        if self.wrong == "loss":
            return super().loss(output, batch) * torch.inf
        return super().loss(output, batch) + (output.scores - output.scores.detach()).abs().sqrt().sum()


def _trainer(tmp_path, *written, scaler=None):
    paths = [tmp_path / name for name in written]
    for path in paths:
        path.write_text("")
    return SimpleNamespace(
        current_epoch=2,
        fit_loop=SimpleNamespace(batch_idx=4),
        checkpoint_callbacks=[SimpleNamespace(best_model_path=str(path)) for path in paths],
        precision_plugin=SimpleNamespace(scaler=scaler),
        lightning_module=SimpleNamespace(objectives=[SimpleNamespace(name="mse")]),
    )


def _step(scores, ids):
    names = [""] * len(ids)
    empty = torch.zeros(len(ids), 0)
    targets = torch.ones(len(ids), 1)
    return Output(scores, scores), Batch(empty, empty.sum(1).long(), targets, ids, names, names, names)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_objective_the_clips_and_the_last_checkpoint_are_named(tmp_path, value):
    output, batch = _step(torch.tensor([[1.0], [math.nan], [2.0]]), ["a", "b", "c"])
    terms = {"mse": torch.tensor(value), "qamro": torch.tensor(1.0)}
    with pytest.raises(NonFiniteError) as raised:
        check_loss(
            terms["mse"] + terms["qamro"], terms, output, batch.ids, _trainer(tmp_path, "best.ckpt", "last.ckpt")
        )
    said = str(raised.value)
    assert said.startswith(f"The loss is not finite: objective mse ({value:g}) at epoch 3, batch 5; ")
    assert "clips whose output is not finite: b." in said
    assert f"The last good checkpoint is {tmp_path / 'last.ckpt'}." in said


def test_without_a_bad_output_the_clips_of_the_batch_are_named(tmp_path):
    ids = [f"c{i}" for i in range(23)]
    output, batch = _step(torch.ones(23, 1), ids)
    terms = {"mse": torch.tensor(torch.nan), "mae": torch.tensor(torch.nan)}
    with pytest.raises(
        NonFiniteError, match=r"objectives mse \(nan\), mae \(nan\) .*; its clips: c0, .*c19 and 3 more"
    ):
        check_loss(torch.tensor(torch.nan), terms, output, batch.ids, _trainer(tmp_path))


def test_without_a_checkpoint_that_is_said(tmp_path):
    output, batch = _step(torch.ones(1, 1), ["a"])
    with pytest.raises(NonFiniteError, match=r"objective their sum at .*No checkpoint was written before"):
        check_loss(torch.tensor(torch.inf), {"mse": torch.tensor(1.0)}, output, batch.ids, _trainer(tmp_path))


def test_what_is_finite_passes(tmp_path):
    output, batch = _step(torch.tensor([[math.nan]]), ["a"])
    check_loss(torch.tensor(1e38), {"mse": torch.tensor(1e38)}, output, batch.ids, _trainer(tmp_path))
    layer = nn.Linear(1, 1)
    check_gradient(layer.named_parameters(), ["a"], _trainer(tmp_path))  # no gradient yet
    layer.weight.grad = torch.full((1, 1), 3e38)
    check_gradient(layer.named_parameters(), ["a"], _trainer(tmp_path))


def test_a_gradient_is_left_to_a_scaler(tmp_path):
    layer = nn.Linear(1, 1)
    layer.weight.grad, layer.bias.grad = torch.ones(1, 1), torch.full((1,), torch.inf)
    check_gradient(layer.named_parameters(), ["a"], _trainer(tmp_path, scaler=object()))
    with pytest.raises(NonFiniteError, match=r"gradient of bias .*epoch 3, batch 5.*objectives mse.*its clips: a\."):
        check_gradient(layer.named_parameters(), ["a"], _trainer(tmp_path))


@pytest.mark.parametrize(
    ("kind", "starts"), [("loss", "The loss is not finite: objective bad (inf)"), ("gradient", "The gradient of ")]
)
def test_a_run_stops_with_one_line_and_its_checkpoint_stays(corpora, tmp_path, fails, kind, starts):
    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--objectives.bad=Breaks"]
    words += ["--objectives.bad.batch=3", f"--objectives.bad.kind={kind}", "--data.batch_size=4"]
    words += [f"--trainer.default_root_dir={tmp_path}", "--name=run", "--checkpoint_every_n_steps=1"]
    said = fails(*words)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert said.startswith(f"error: {starts}")
    assert said.count("\n") == 0
    assert "epoch 1, batch 3" in said
    assert f"The last good checkpoint is {last}." in said
    saved = torch.load(last, weights_only=True)
    assert saved["global_step"] == 2
    assert all(weights.isfinite().all() for weights in saved["state_dict"].values())
