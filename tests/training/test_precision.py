"""Mixed precision: losses and metrics stay in float32, near those of a run in float32; scaling works under fp16."""

import json

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from lightning_aqa.batch import Axis, Features, Output
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.regression import Regression

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]
AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]


class Wave(Encoder):
    """A trained layer on tenths of a second, under autocast in low precision."""

    sample_rate, width, num_layers = 16000, 4, 1

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1600, 4)

    def forward(self, waveform, num_samples, prompts=None):
        frames_BFD = self.layer(waveform.unfold(1, 1600, 1600))
        mask_BF = torch.arange(frames_BFD.shape[1]) < (num_samples.cpu() // 1600)[:, None]
        return Features(frames_BFD[:, None], mask_BF.to(waveform.device))


class Careless(Head):
    """A head that leaves its scores in the precision that autocast gives them."""

    def __init__(self, width, num_layers, axes, text_width=None):
        super().__init__(width, num_layers, axes, text_width)
        self.last = nn.Linear(width, len(axes))

    def forward(self, features):
        mean_BD = features.layers[:, 0].mean(1)
        scores_BA = self.last(mean_BD)
        return Output(scores_BA, mean_BD, logits=scores_BA[..., None])


class Watching(Regression):
    """Note what the loss is computed from."""

    def loss(self, output, batch):
        if torch.is_grad_enabled():
            types = {field.dtype for field in output if field is not None}
            self.seen = (types, torch.is_autocast_enabled("cpu"), batch.scores.dtype)
        return super().loss(output, batch)


def _fit(corpora, tmp_path, head=Careless, objective=None, accelerator="cpu", **options):
    torch.manual_seed(0)
    objective = objective or Regression()
    module = AQAModule(AXES, Wave(), head)
    trainer = L.Trainer(
        accelerator=accelerator, devices=1, logger=False, callbacks=[objective], default_root_dir=tmp_path,
        max_epochs=2, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, **options,
    )  # fmt: skip
    trainer.fit(module, datamodule=MusicEval(root=str(corpora["musiceval"]), batch_size=8))
    return module, trainer


def test_losses_are_computed_in_float32_outside_of_autocast(corpora, tmp_path):
    objective = Watching()
    _fit(corpora, tmp_path, objective=objective, precision="bf16-mixed")
    assert objective.seen == ({torch.float32}, False, torch.float32)


def test_double_precision_is_kept(corpora, tmp_path):
    objective = Watching()
    _fit(corpora, tmp_path, objective=objective, precision="64-true")
    assert objective.seen == ({torch.float64}, False, torch.float64)


def test_bf16_mixed_is_within_one_percent_of_float32(corpora, fit):
    words = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--model.encoder=MelSpectrogram"]
    words += ["--model.encoder.width=16", "--model.encoder.depth=1", "--objectives.qamro=QAMRO"]
    results = []
    for precision in ("32-true", "bf16-mixed"):
        folder = fit(*words, f"--trainer.precision={precision}", "--monitor=null", epochs=2, name=precision)
        results.append(json.loads((folder / "results.json").read_text())["train"])
    for level in ("utterance", "system"):
        one, other = (result[level]["mean"] for result in results)
        for metric in ("MSE", "LCC"):
            assert other[metric] == pytest.approx(one[metric], rel=0.01), (level, metric)
    assert results[0] != results[1]


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_weights_in_half_precision_are_refused_in_one_line(corpora, tmp_path, fails, precision):
    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--trainer.precision={precision}"]
    said = fails(*words, f"--trainer.default_root_dir={tmp_path}")
    assert said.startswith(f"error: --trainer.precision={precision} keeps")
    assert f"use {precision.removesuffix('true')}mixed" in said
    assert "\n" not in said


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler")
def test_a_step_that_overflows_under_scaling_is_skipped_and_the_scale_lowered(corpora, tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=1000)
    module, trainer = _fit(corpora, tmp_path, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    assert scaler.get_scale() < 2.0**40
    assert trainer.global_step > 4  # no step was refused for its gradient
    assert all(weights.isfinite().all() for weights in module.state_dict().values())


def test_scaling_trains_as_float32_does(corpora, tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    scaled, _ = _fit(corpora, tmp_path, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    plain, trainer = _fit(corpora, tmp_path)
    torch.manual_seed(0)
    start = AQAModule(AXES, Wave(), Careless)
    apart = (plain.head.last.weight - scaled.head.last.weight).abs().max()
    assert trainer.global_step > 4
    assert apart < 0.1 * (plain.head.last.weight - start.head.last.weight).abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 with scaling on a GPU: there is none here")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_on_a_gpu_is_near_float32(corpora, tmp_path, precision):
    mixed, trainer = _fit(corpora, tmp_path, accelerator="gpu", precision=precision)
    plain, _ = _fit(corpora, tmp_path, accelerator="gpu")
    assert trainer.callback_metrics["train/loss"].dtype == torch.float32
    assert (mixed.head.last.weight - plain.head.last.weight).abs().max() < 2e-3
