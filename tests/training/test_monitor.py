"""Which metrics a run logs, and which way each is better; held against what a run really logs."""

import lightning as L
import pytest
import torch

from lightning_aqa.batch import Axis, Features
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.objectives.triplet import Triplet
from lightning_aqa.training.monitor import direction_of, logged_names


class Given(AQADataModule):
    def __init__(self, clips, system_scores=None):
        super().__init__()
        self.given = Manifest(clips, [Axis("PQ", "Quality", 0, 10)], (), system_scores)

    def read(self):
        return self.given


def _clip(id_, split, **fields):
    return Clip(id_, id_, split=split, scores={"PQ": 1.0}, **fields)


class Level(Encoder):
    sample_rate, width, num_layers = 16000, 1, 1

    def forward(self, waveform, num_samples, prompts=None):
        level_B = waveform.square().sum(1) / num_samples
        return Features(level_B[:, None, None, None], torch.ones(len(level_B), 1, dtype=torch.bool))


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
def test_the_names_are_exactly_those_that_a_run_logs(corpora, tmp_path):
    data, objectives = MusicEval(root=str(corpora["musiceval"])), [Regression(), Triplet()]
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, callbacks=list(objectives), default_root_dir=tmp_path,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(AQAModule(data.axes, Level()), datamodule=data)
    assert set(logged_names(data, objectives)) == set(trainer.callback_metrics)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val/utterance/MSE/PQ", "min"),
        ("val/utterance/SRCC/mean", "max"),
        ("val/system/KTAU/PQ", "max"),
        ("val/system_mos/LCC/PQ", "max"),
        ("val/system@music/MSE/mean", "min"),
        ("val/loss", "min"),
        ("val/regression", "min"),
        ("train/loss", "min"),
        ("train/triplet", "min"),
    ],
)
def test_the_direction_follows_from_the_metric(name, direction):
    clips = [_clip("a", "dev", system="S", domain="music")]
    assert direction_of(name, Given(clips, {"S": {"PQ": 1.0}}), [Regression(), Triplet()]) == direction


def test_names_of_axes_and_domains_may_hold_slashes():
    data = Given([_clip("a", "dev", domain="speech/en")])
    assert direction_of("val/utterance@speech/en/SRCC/mean", data, [Regression()]) == "max"
    assert direction_of("val/utterance@speech/en/MSE/mean", data, [Regression()]) == "min"


def test_a_loss_may_have_the_name_of_a_metric():
    objective = Regression()
    objective.name = "SRCC"
    assert direction_of("val/SRCC", Given([_clip("a", "dev")]), [objective]) == "min"


def test_levels_and_domains_are_those_of_the_validation_split():
    clips = [_clip("a", "dev"), _clip("b", "train", system="S", domain="music")]
    names = logged_names(Given(clips, {"S": {"PQ": 1.0}}), [Regression()])
    assert {name.split("/")[1] for name in names if name.count("/") == 3} == {"utterance"}


def test_a_term_that_reads_more_than_scores_has_no_validation_loss():
    data = Given([_clip("a", "dev")])
    assert "val/triplet" not in logged_names(data, [Regression(), Triplet()])
    assert "val/loss" not in logged_names(data, [Triplet()])
    with pytest.raises(ValueError, match="--monitor=val/triplet is not a logged metric"):
        direction_of("val/triplet", data, [Regression(), Triplet()])


def test_without_a_validation_split_the_message_says_what_to_do():
    data = Given([_clip("a", "train"), Clip("b", "b", split="dev")])
    assert logged_names(data, [Regression()]) == ["train/regression", "train/loss"]
    with pytest.raises(ValueError, match="no split 'dev' to validate on; --monitor=null keeps the last epoch"):
        direction_of("val/utterance/SRCC/mean", data, [Regression()])


def test_a_misspelt_metric_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"The nearest is val/utterance/SRCC/PQ\.$"):
        direction_of("val/utterance/SRC/PQ", Given([_clip("a", "dev")]), [Regression()])
