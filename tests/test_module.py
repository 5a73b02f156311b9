"""The module: what is trained and what stays frozen, the sum of the terms, and the tables it leaves."""

import json
import logging

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn

from lightning_aqa.batch import Axis, Batch, Features, Output
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.data.table import Table
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.aesa_net import AESANet
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.metrics.correlation import mse
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.frame_scores import FrameScores
from lightning_aqa.objectives.qamro import QAMRO
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.objectives.triplet import Triplet

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]

AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]


class Level(Encoder):
    """The level in each tenth of a second, in bel; nothing to train."""

    sample_rate, width, num_layers = 16000, 1, 1

    def forward(self, waveform, num_samples, prompts=None):
        power_BF = waveform.unfold(1, 1600, 1600).square().mean(2)
        mask_BF = torch.arange(power_BF.shape[1]) < (num_samples // 1600)[:, None]
        return Features((power_BF + 1e-9).log10().masked_fill(~mask_BF, 0.0)[:, None, :, None], mask_BF)


class Network(Level):
    """The same through a layer that can be trained, with dropout that shows the mode it is in."""

    width = 4

    def __init__(self):
        super().__init__()
        self.layer, self.dropout = nn.Linear(1, 4), nn.Dropout(0.5)

    def forward(self, waveform, num_samples, prompts=None):
        features = super().forward(waveform, num_samples, prompts)
        return features._replace(layers=self.dropout(self.layer(features.layers)))


class Means(Head):
    """A linear layer on the mean frame."""

    def __init__(self, width, num_layers, axes, text_width=None):
        super().__init__(width, num_layers, axes, text_width)
        self.last = nn.Linear(width, len(axes))

    def forward(self, features):
        mean_BD = features.layers[:, 0].mean(1)
        return Output(self.location_A + self.scale_A * self.last(mean_BD), mean_BD)


class Spread(Objective):
    """How far the scores of a batch lie apart."""

    def loss(self, output, batch):
        return output.scores.std()


def _named(**objectives):
    for name, objective in objectives.items():
        objective.name = name
    return list(objectives.values())


def _trainer(tmp_path, callbacks=(), **options):
    options = {"max_epochs": 1, "num_sanity_val_steps": 0, **options}
    return L.Trainer(
        accelerator="cpu", logger=False, callbacks=list(callbacks), default_root_dir=tmp_path,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


@pytest.fixture
def data(corpora):
    return MusicEval(root=str(corpora["musiceval"]), batch_size=8)


@pytest.fixture
def table(corpora, tmp_path):
    """Serve clips with given scores, one string of comma-separated cells per clip: MI, TA, split."""
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())

    def make(*rows, axes=("MI", "TA"), **options):
        lines = [f"{path},{row}" for path, row in zip(audio, rows, strict=False)]
        (tmp_path / "list.csv").write_text("\n".join(["file,MI,TA,split", *lines]))
        return Table(path=str(tmp_path / "list.csv"), axes={name: [1, 5] for name in axes}, layout="wide", **options)

    return make


# What is trained


def test_a_frozen_encoder_stays_in_eval_mode_and_the_head_does_not():
    module = AQAModule(AXES, Network(), freeze="all")
    assert module.encoder_is_frozen
    for mode in (None, True, False, True):
        if mode is not None:
            module.train(mode)
        assert not any(part.training for part in module.encoder.modules())
        assert all(part.training is (mode is not False) for part in module.head.modules())


def test_a_trained_encoder_is_in_training_mode():
    module = AQAModule(AXES, Network())
    assert not module.encoder_is_frozen
    assert all(part.training for part in module.train().modules())
    module.encoder.layer.requires_grad_(False)
    assert not module.train().encoder.layer.training


class Modes(Callback):
    """Note the mode of the encoder in each training batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(pl_module.encoder.training)


@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.parametrize("encoder", [Level, Network])
def test_a_frozen_encoder_is_in_eval_mode_in_every_step_of_a_fit(data, tmp_path, is_fresh, encoder):
    module, modes = AQAModule(AXES, encoder(), freeze="all"), Modes()
    module.is_fresh = is_fresh
    _trainer(tmp_path, [Regression(), modes], max_epochs=2, num_sanity_val_steps=2).fit(module, datamodule=data)
    assert modes.seen
    assert not any(modes.seen)


def test_frozen_parameters_are_not_in_the_optimiser_and_do_not_move(data, tmp_path):
    module = AQAModule(AXES, Network(), freeze="all")
    before = {name: value.clone() for name, value in module.encoder.state_dict().items()}
    _trainer(tmp_path, [Regression()]).fit(module, datamodule=data)
    optimiser = module.optimizers().optimizer
    held = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in module.head.parameters()}
    assert all(torch.equal(value, before[name]) for name, value in module.encoder.state_dict().items())


def test_a_frozen_encoder_builds_no_graph():
    waveform = torch.randn(2, 3200)
    batch = Batch(waveform, torch.tensor([3200, 3200]), torch.zeros(2, 2), ["a", "b"], [""] * 2, [""] * 2, [""] * 2)
    frozen, trained = AQAModule(AXES, Network(), Means, freeze="all"), AQAModule(AXES, Network(), Means)
    assert not frozen(batch).embedding.requires_grad
    assert frozen(batch).scores.requires_grad
    assert trained(batch).embedding.requires_grad


def test_cached_features_are_read_instead_of_audio():
    class Silent(Level):
        def forward(self, waveform, num_samples, prompts=None):
            raise AssertionError("nobody asks the encoder")

    features = Features(torch.ones(1, 1, 3, 1), torch.ones(1, 3) > 0)
    batch = Batch(torch.zeros(1, 0), torch.zeros(1), torch.zeros(1, 2), ["a"], [""], [""], [""], features)
    assert AQAModule(AXES, Silent())(batch).scores.shape == (1, 2)


# The loss


def test_the_total_is_the_weighted_sum_and_terms_are_logged_unweighted(data, tmp_path):
    terms = _named(one=Regression(), two=Regression(weight=0.5, kind="mae"), off=Regression(weight=0.0, kind="huber"))
    trainer = _trainer(tmp_path, terms)
    trainer.fit(AQAModule(AXES, Level()), datamodule=data)
    for stage in ("train", "val"):
        logged = {name: trainer.callback_metrics[f"{stage}/{name}"].item() for name in ("one", "two", "off", "loss")}
        assert logged["loss"] == pytest.approx(logged["one"] + 0.5 * logged["two"], rel=1e-5)
        assert logged["off"] > 0


def test_the_validation_loss_is_that_of_the_whole_split(data, tmp_path):
    module, trainer = AQAModule(AXES, Level()), _trainer(tmp_path, _named(mse=Regression()))
    data.eval_batch_size = 3
    trainer.fit(module, datamodule=data)
    dev = module.predictions["dev"]
    wanted = np.mean([mse(dev.scores[:, a], dev.targets[:, a]) for a in range(2)])
    assert trainer.callback_metrics["val/mse"].item() == pytest.approx(wanted, rel=1e-6)


def test_terms_that_read_more_than_scores_are_left_out_of_the_validation_loss(data, tmp_path):
    terms = _named(mse=Regression(), frames=FrameScores(), near=Triplet())
    trainer = _trainer(tmp_path, terms)
    trainer.fit(AQAModule(AXES, Level(), AESANet), datamodule=data)
    assert {"train/frames", "train/near", "val/mse", "val/loss"} <= trainer.callback_metrics.keys()
    assert not {"val/frames", "val/near"} & trainer.callback_metrics.keys()
    assert trainer.callback_metrics["val/loss"] == trainer.callback_metrics["val/mse"]


def test_without_an_objective_the_mean_squared_error_is_trained_with_and_said(data, tmp_path, caplog):
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")  # which a run of the command line hides
    trainer = _trainer(tmp_path)
    trainer.fit(AQAModule(AXES, Level()), datamodule=data)
    assert {"train/mse", "val/mse"} <= trainer.callback_metrics.keys()
    assert caplog.text.count("L.Trainer(callbacks=[QAMRO()])") == 1


def test_two_objectives_of_one_name_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match=r"Objectives need names of their own, got regression, regression"):
        _trainer(tmp_path, [Regression(), Regression(kind="mae")]).fit(AQAModule(AXES, Level()), datamodule=data)


def test_any_callback_with_a_loss_is_an_objective(data, tmp_path):
    trainer = _trainer(tmp_path, [Spread(), Callback()])
    module = AQAModule(AXES, Level())
    trainer.fit(module, datamodule=data)
    assert [objective.name for objective in module.objectives] == ["spread"]
    assert torch.isfinite(trainer.callback_metrics["train/spread"])


def test_batches_of_one_clip_train(table, tmp_path):
    rows = ["2,3,train", "4,1,train", "3,3,train", "5,2,dev"]
    terms = [Regression(), QAMRO(), Triplet(), FrameScores()]
    module, trainer = AQAModule(AXES, Network(), AESANet), _trainer(tmp_path, terms, max_epochs=2)
    trainer.fit(module, datamodule=table(*rows, batch_size=1))
    assert all(torch.isfinite(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/"))
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())


def test_an_axis_that_no_training_clip_is_rated_on_neither_breaks_nor_moves(table, tmp_path):
    rows = ["2,,train", "4,,train", "3,,train", "5,2,dev", "1,4,dev"]
    module = AQAModule(AXES, Level(), Means)
    before = module.head.last.weight.detach().clone()
    trainer = _trainer(tmp_path, [Regression(), QAMRO()], max_epochs=3)
    module.optimizer = torch.optim.SGD
    module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.01)
    trainer.fit(module, datamodule=table(*rows))
    after = module.head.last.weight.detach()
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[0], before[0])
    assert (module.head.location_A[0].item(), module.head.location_A[1].item()) == (3.0, 3.0)
    assert module.head.scale_A.tolist() == pytest.approx([np.sqrt(2 / 3), 1.0])


def test_accumulated_gradients_are_those_of_the_joined_batch(table, tmp_path):
    rows = [*(f"{1 + i % 5},{5 - i % 4},train" for i in range(8)), "3,3,dev"]
    weights = {}
    for name, options, batch_size in [("whole", {}, 8), ("parts", {"accumulate_grad_batches": 4}, 2)]:
        torch.manual_seed(0)
        module = AQAModule(AXES, Level(), Means)
        module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
        trainer = _trainer(tmp_path, [Regression()], **options)
        trainer.fit(module, datamodule=table(*rows, batch_size=batch_size))
        assert trainer.global_step == 1
        weights[name] = module.head.last.weight.detach()
    assert torch.allclose(weights["whole"], weights["parts"], atol=1e-6)


@pytest.mark.parametrize("head", [MLP, AESANet])
@pytest.mark.parametrize("freeze", ["none", "all"])
def test_bfloat16_keeps_scores_and_constants_in_float32(data, tmp_path, head, freeze):
    module = AQAModule(AXES, Network(), head, freeze=freeze)
    trainer = _trainer(tmp_path, [Regression(), QAMRO(), Triplet()], precision="bf16-mixed")
    trainer.fit(module, datamodule=data)
    assert trainer.callback_metrics["train/loss"].dtype == torch.float32
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}
    scores = module.predictions["dev"].scores
    assert not np.array_equal(scores, torch.from_numpy(scores).bfloat16().double().numpy())


# The constants of the head


def test_a_fresh_head_takes_mean_and_deviation_of_the_training_clips(table, tmp_path):
    rows = ["2,3,train", "4,1,train", "3,,train", "5,5,dev"]
    module = AQAModule(AXES, Level())
    _trainer(tmp_path, [Regression()]).fit(module, datamodule=table(*rows))
    assert module.head.location_A.tolist() == [3.0, 2.0]
    assert module.head.scale_A.tolist() == pytest.approx([np.sqrt(2 / 3), 1.0])


def test_the_constants_of_a_trained_head_stand(table, tmp_path):
    module = AQAModule(AXES, Level())
    _trainer(tmp_path, [Regression()]).fit(module, datamodule=table("2,3,train", "4,1,train", "1,1,dev"))
    constants = module.head.location_A.tolist(), module.head.scale_A.tolist()
    _trainer(tmp_path, [Regression()]).fit(module, datamodule=table("5,5,train", "4,4,train", "1,1,dev"))
    assert (module.head.location_A.tolist(), module.head.scale_A.tolist()) == constants


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")  # Lightning's own call
def test_a_loaded_head_keeps_its_constants(table, tmp_path):
    module, trainer = AQAModule(AXES, Level()), _trainer(tmp_path, [Regression()])
    trainer.fit(module, datamodule=table("2,3,train", "4,1,train", "1,1,dev"))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    loaded = AQAModule.load_from_checkpoint(tmp_path / "x.ckpt", axes=AXES, encoder=Level(), weights_only=True)
    _trainer(tmp_path, [Regression()]).fit(loaded, datamodule=table("5,5,train", "4,4,train", "1,1,dev"))
    assert loaded.head.location_A.tolist() == [3.0, 2.0]


# The optimiser


def test_a_scheduler_is_stepped_once_an_epoch(data, tmp_path):
    def halve(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)

    module = AQAModule(AXES, Level(), scheduler=halve)
    _trainer(tmp_path, [Regression()], max_epochs=3).fit(module, datamodule=data)
    assert module.optimizers().optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 8)


def test_a_plateau_is_looked_for_in_the_metric_it_names(data, tmp_path):
    def plateau(optimizer):
        return ReduceLROnPlateau(optimizer, monitor="val/loss", patience=0, threshold=1e9, factor=0.5)

    module = AQAModule(AXES, Level(), scheduler=plateau)
    _trainer(tmp_path, [Regression()], max_epochs=4).fit(module, datamodule=data)
    assert module.optimizers().optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 16)


# The tables


def test_every_rated_split_is_tested_and_every_clip_predicted(data, tmp_path):
    module, trainer = AQAModule(AXES, Level()), _trainer(tmp_path, [Regression()])
    trainer.test(module, datamodule=data, verbose=False)
    assert list(module.results) == ["train", "dev", "test"]
    assert sum(len(table.ids) for table in module.predictions.values()) == 30
    trainer.predict(module, datamodule=data, return_predictions=False)
    predicted = module.predictions["predict"]
    assert predicted.ids == sorted(clip.id for clip in data.manifest)
    by_id = dict(zip(predicted.ids, predicted.scores.tolist(), strict=True))
    for split in ("train", "dev", "test"):
        for id_, score in zip(module.predictions[split].ids, module.predictions[split].scores.tolist(), strict=True):
            assert by_id[id_] == pytest.approx(score, abs=1e-5)


def test_a_long_clip_s_score_is_the_weighted_mean_over_its_windows(data, tmp_path):
    data.window_seconds = 0.2
    module, trainer = AQAModule(AXES, Level(), Means), _trainer(tmp_path, [Regression()])
    trainer.validate(module, datamodule=data, verbose=False)
    table = module.predictions["dev"]
    rows = {id_: [] for id_ in table.ids}
    with torch.no_grad():
        for batch in data.split_dataloader("dev"):
            for row in zip(batch.ids, batch.weights.tolist(), module(batch).scores.tolist(), strict=True):
                rows[row[0]].append(row[1:])
    assert max(len(windows) for windows in rows.values()) > 2
    for id_, score in zip(table.ids, table.scores, strict=True):
        wanted = sum(weight * np.array(scores) for weight, scores in rows[id_])
        assert score == pytest.approx(wanted, abs=1e-5)


def test_targets_are_matched_by_the_name_of_the_axis(table, tmp_path):
    module = AQAModule(AXES, Level())
    for axes in (("MI", "TA"), ("TA", "MI")):
        data = table("2,3,dev", "4,1,dev", "1,5,train", axes=axes)
        _trainer(tmp_path).validate(module, datamodule=data, verbose=False)
        assert module.predictions["dev"].targets.tolist() == [[2.0, 3.0], [4.0, 1.0]]


def test_data_of_other_axes_is_refused(table, tmp_path):
    rows = ["2,3,train", "4,1,train", "1,5,dev"]
    with pytest.raises(ValueError, match=r"The model predicts MI, TA; the data rates TA, MI\."):
        _trainer(tmp_path, [Regression()]).fit(AQAModule(AXES, Level()), datamodule=table(*rows, axes=("TA", "MI")))
    other = AQAModule([Axis("PQ", "Quality", 0, 10)], Level())
    with pytest.raises(ValueError, match=r"The model predicts PQ; the data rates MI, TA\."):
        _trainer(tmp_path).test(other, datamodule=table(*rows), verbose=False)
    _trainer(tmp_path).predict(other, datamodule=table(*rows), return_predictions=False)
    assert np.isnan(other.predictions["predict"].targets).all()


def test_validating_without_a_validation_split_says_which_splits_there_are(table, tmp_path):
    data = table("2,3,train", "4,1,test")
    with pytest.raises(ValueError, match="no rated clip in split 'dev'; splits with ratings: train, test"):
        _trainer(tmp_path).validate(AQAModule(AXES, Level()), datamodule=data, verbose=False)


def test_an_encoder_of_nothing_finite_is_seen_in_the_numbers(data, tmp_path):
    class Broken(Level):
        def forward(self, waveform, num_samples, prompts=None):
            features = super().forward(waveform, num_samples, prompts)
            return features._replace(layers=features.layers * torch.nan)

    module = AQAModule(AXES, Broken(), Means)
    _trainer(tmp_path).validate(module, datamodule=data, verbose=False)
    assert "predictions are not finite" in json.dumps(module.results["dev"])
