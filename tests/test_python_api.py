"""AQAModule under a plain Trainer with loaders of the user's own: dicts, streams, several loaders, no ratings."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from lightning_aqa.batch import make_axes
from lightning_aqa.data.musiceval import MusicEval
from lightning_aqa.data.plain_batch import as_batch
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.qamro import QAMRO
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.scoring.load import load
from lightning_aqa.training.checkpoints import BestCheckpoint, LastCheckpoint
from lightning_aqa.training.exact_resume import ExactResume
from lightning_aqa.training.feature_cache import FeatureCache
from lightning_aqa.training.finite_check import FiniteCheck
from lightning_aqa.training.history import History
from lightning_aqa.training.levels import TrainingLevels
from lightning_aqa.training.observations import Observations
from lightning_aqa.training.run_writer import RunFolder
from lightning_aqa.training.speed import ScoringSpeed

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists"),
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training"),
]
AXES = {"mos": [1, 5], "noise": [0, 100]}
TWO = make_axes(AXES)


def rows(count, seed=0):
    """Tones, the louder the better; the last row of ``noise`` is not rated."""
    gains = torch.rand(count, generator=torch.Generator().manual_seed(seed)).tolist()
    tone = torch.sin(torch.arange(3200) * 0.2)
    noise = [100 * gain for gain in gains[:-1]] + [torch.nan]
    return [
        {"waveform": gain * tone, "scores": torch.tensor([1 + 4 * gain, other]), "systems": f"S{n % 3}"}
        for n, (gain, other) in enumerate(zip(gains, noise, strict=True))
    ]


def loader(count=10, batch_size=4, seed=0, kind=DataLoader, **changes):
    """A loader of rows, of which some fields are others, or dropped where they are None."""
    changed = [{k: v for k, v in (row | changes).items() if v is not None} for row in rows(count, seed)]
    return kind(changed, batch_size)


class Stream(IterableDataset):
    """Rows of which nobody knows the number."""

    def __init__(self, found):
        self.found = found

    def __iter__(self):
        return iter(self.found)


def trainer(tmp_path, *callbacks, **options):
    checkpoints = any(isinstance(callback, BestCheckpoint) for callback in callbacks)
    options = {"max_epochs": 1, "enable_checkpointing": checkpoints, "logger": False, **options}
    return L.Trainer(
        accelerator="cpu", callbacks=list(callbacks), default_root_dir=tmp_path, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """A module that was trained on a loader of dicts."""
    L.seed_everything(0, verbose=False)
    trained = AQAModule(AXES)
    trainer(tmp_path_factory.mktemp("module"), Regression()).fit(trained, loader(), loader(5, seed=1))
    return trained


# Batches


def test_a_fit_on_dicts_learns_from_all_of_the_loader(module):
    scores = torch.stack([row["scores"] for row in rows(10)]).double()
    assert module.head.location_A.tolist() == pytest.approx(scores.nanmean(0).tolist(), rel=1e-6)
    deviation = (scores - scores.nanmean(0)).square().nanmean(0).sqrt()
    assert module.head.scale_A.tolist() == pytest.approx(deviation.tolist(), rel=1e-6)
    fresh = dict(AQAModule(AXES).head.named_buffers())
    changed = {name for name, value in module.head.named_buffers() if not torch.equal(value, fresh[name])}
    assert changed == fresh.keys()
    assert list(module.results) == ["dev"]
    assert [row[0] for row in module.predictions["dev"].targets.tolist()] == [
        float(str(row["scores"][0].numpy())) for row in rows(5, seed=1)
    ]


def test_a_dict_and_a_batch_train_alike(tmp_path):
    batches = [as_batch({**batch, "ids": batch["systems"]}, TWO) for batch in loader(9)]
    weights = []
    for given in (loader(9), DataLoader(batches, batch_size=None)):
        L.seed_everything(0, verbose=False)
        one = AQAModule(AXES)
        trainer(tmp_path, QAMRO(), Regression()).fit(one, given)
        weights.append(torch.cat([parameter.flatten() for parameter in one.parameters()]))
    assert torch.equal(*weights)


WAVE = torch.zeros(2, 1600)
SCORES = torch.full((2, 2), 3.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((WAVE, SCORES), r"gave a tuple of Tensor, expected a Batch, or a dict .* collate_fn"),
        ({"wave": WAVE}, r"has the key 'wave', .* Did you mean 'waveform'\?"),
        ({"scores": SCORES}, r"has scores and no waveform"),
        ({"waveform": WAVE[:, None]}, r"shape \(2, 1, 1600\), expected \(B, T\).* waveform\.mean\(1\)"),
        ({"waveform": WAVE.short(), "scores": SCORES}, r"waveform is of torch.int16, expected floats .* 32768"),
        ({"waveform": WAVE, "scores": SCORES[:, :1]}, r"scores has shape \(2, 1\), expected \(2, 2\).*\(mos, noise\)"),
        ({"waveform": WAVE, "scores": {"mos": [1, 2]}}, r"scores has mos, expected mos, noise"),
        ({"waveform": WAVE, "scores": {"mos": [1], "noise": [2, 3]}}, r"mos \(1,\), noise \(2,\), expected \(2,\)"),
        ({"waveform": WAVE, "scores": 20 * SCORES}, r"scores of mos run from 60 to 60, expected 1 to 5"),
        ({"waveform": WAVE, "scores": [["good", "bad"]] * 2}, r"scores is a list of list, expected a tensor"),
        ({"waveform": WAVE, "num_samples": [0.1, 0.2]}, r"num_samples has shape \(2,\) and torch.float32"),
        ({"waveform": WAVE, "num_samples": [10, 4000]}, r"num_samples runs from 10 to 4000, expected 1 to 1600"),
        ({"waveform": WAVE, "ids": ["a"]}, r"ids is \['a'\], expected a list of 2 texts"),
        ({"waveform": WAVE, "systems": "ab"}, r"systems is 'ab', expected a list of 2 texts"),
        ({"waveform": WAVE, "weights": [1.0, 0.0]}, r"weights is \[1.0, 0.0\], expected 2 numbers above 0"),
    ],
)  # fmt: skip
def test_a_batch_that_is_wrong_gets_one_sentence(given, message):
    with pytest.raises(ValueError, match=message) as raised:
        as_batch(given, TWO)
    assert "\n" not in str(raised.value)


def test_arrays_lists_numbers_and_one_axis_are_taken():
    batch = as_batch(
        {"waveform": WAVE.double().numpy(), "scores": np.array([1, 5]), "ids": torch.tensor([7, 8])}, TWO[:1]
    )
    assert (batch.waveform.dtype, batch.scores.tolist(), batch.ids) == (torch.float32, [[1.0], [5.0]], ["7", "8"])
    assert torch.isnan(as_batch({"waveform": WAVE}, TWO).scores).all()


def test_a_training_batch_without_scores_is_refused(tmp_path):
    with pytest.raises(ValueError, match="A training batch has waveform, systems and no scores"):
        trainer(tmp_path).fit(AQAModule(AXES), loader(scores=None))


def test_a_loader_that_can_be_read_once_and_one_without_a_rating_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"can be read only once; expected one that starts anew in every epoch"):
        trainer(tmp_path).fit(AQAModule(AXES), iter(loader()))
    with pytest.raises(ValueError, match=r"No clip of the training loader is rated: all scores are NaN, expected"):
        trainer(tmp_path).fit(AQAModule(AXES), loader(scores=torch.full((2,), torch.nan)))


def test_an_id_of_two_clips_is_refused_and_windows_of_one_clip_are_averaged(module, tmp_path):
    with pytest.raises(ValueError, match=r"The id 'a' came twice in test, with scores .* expected an id per clip"):
        trainer(tmp_path).test(module, loader(5, ids="a"), verbose=False)
    same = {"ids": "a", "scores": torch.tensor([3.0, 50.0]), "systems": "S"}
    trainer(tmp_path).test(module, loader(5, batch_size=2, **same), verbose=False)
    scores = torch.cat([module(batch).scores for batch in loader(5, seed=0, batch_size=2)])
    assert module.predictions["test"].ids == ["a"]
    assert module.predictions["test"].scores[0] == pytest.approx(scores.mean(0).tolist(), rel=1e-5)


# What users of Lightning expect


def test_validate_test_and_predict_return_what_users_expect(module, tmp_path):
    plain = trainer(tmp_path)
    (logged,) = plain.validate(module, loader(5, seed=1), verbose=False)
    assert logged["val/utterance/SRCC/mos"] == pytest.approx(module.results["dev"]["utterance"]["mos"]["SRCC"])
    plain.test(module, loader(5, seed=1), verbose=False)
    assert module.results["test"]["utterance"]["mos"]["n"] == 5
    assert module.results["test"]["utterance"]["noise"]["unrated"] == 1
    scores = torch.cat(plain.predict(module, loader(5, seed=1, scores=None)))
    assert module.predictions["predict"].scores == pytest.approx(scores.double().numpy())
    assert module.predictions["predict"].scores == pytest.approx(module.predictions["test"].scores)


def test_several_loaders_are_splits_of_their_own(module, tmp_path):
    loaders = [loader(5, seed=1), loader(3, seed=2, batch_size=2)]
    plain = trainer(tmp_path, num_sanity_val_steps=0)
    plain.test(module, loaders, verbose=False)
    assert [len(module.predictions[name].ids) for name in ("test0", "test1")] == [5, 3]
    plain.fit(AQAModule(AXES), loader(4), loaders)
    assert {"val/dev0/utterance/MSE/mos", "val/dev1/loss"} <= plain.callback_metrics.keys()


def test_clips_without_ratings_leave_metrics_undefined(module, tmp_path):
    nothing = torch.full((2,), torch.nan)
    folder = RunFolder(tmp_path / "run", "")
    trainer(tmp_path, folder, Observations(tmp_path / "run")).test(module, loader(5, scores=nothing), verbose=False)
    entry = module.results["test"]["utterance"]["mos"]
    assert (entry["n"], entry["unrated"]) == (0, 5)
    assert np.isnan(entry["SRCC"])
    assert len(read_predictions(tmp_path / "run" / "predictions.csv")[0][0][1].ids) == 5


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"limit_train_batches": 2}, {"max_steps": 2}])
def test_a_loader_of_unknown_length_trains(tmp_path, options):
    module, stream = AQAModule(AXES), DataLoader(Stream(rows(9)), 2)
    last = LastCheckpoint(tmp_path, 1)
    trainer(tmp_path, ExactResume(), FiniteCheck(), last, max_epochs=2, **options).fit(module, stream, stream)
    assert module.predictions["dev"].scores.shape == ((4, 2) if "max_steps" in options else (9, 2))  # 4: sanity check
    assert torch.isfinite(module.step.total)


def test_a_loader_whose_workers_stay_trains_on_all_batches(tmp_path):
    stays = DataLoader(rows(9), 2, num_workers=1, persistent_workers=True, multiprocessing_context="fork")
    plain = trainer(tmp_path)
    plain.fit(AQAModule(AXES), stays)
    assert plain.global_step == 5


def test_the_pass_for_the_constants_changes_no_draw_of_the_training(tmp_path):
    orders = []
    for is_fresh in (True, False):
        seen, module = [], AQAModule(AXES)
        module.is_fresh = is_fresh
        module.head.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0].layers.mean().item()))
        L.seed_everything(3, verbose=False)
        trainer(tmp_path).fit(module, DataLoader(rows(8), 1, shuffle=True))
        orders.append(seen)
    assert orders[0] == orders[1]
    assert len(set(orders[0])) == 8


def test_a_datamodule_of_another_kind_and_loaders_after_it(tmp_path, corpora):
    class Foreign(L.LightningDataModule):
        def train_dataloader(self):
            return loader()

        def val_dataloader(self):
            return loader(5, seed=1)

    module, plain = AQAModule(AXES), trainer(tmp_path)
    plain.fit(module, datamodule=Foreign())
    assert module.results["dev"]["utterance"]["mos"]["n"] == 5
    corpus = MusicEval(root=str(corpora["musiceval"]))
    both, again = AQAModule(corpus.axes), trainer(tmp_path)
    again.fit(both, datamodule=corpus)
    again.test(both, [corpus.split_dataloader("test")], verbose=False)
    assert both.predictions["test"].ids == sorted(clip.id for clip in corpus.rated("test"))
    assert both.results["test"]["utterance"]["MI"]["n"] == len(both.predictions["test"].ids)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
def test_callbacks_leave_a_run_folder_under_a_plain_trainer(tmp_path):
    folder = tmp_path / "run"
    checkpoints = [BestCheckpoint(folder, "best", "val/utterance/SRCC/mos", "max"), LastCheckpoint(folder, None)]
    shown = [RunFolder(folder, ""), History(folder, "val/loss"), Observations(folder), ScoringSpeed(folder)]
    others = [FeatureCache(), TrainingLevels(), FiniteCheck(), ExactResume()]
    module, plain = AQAModule(AXES), trainer(tmp_path, QAMRO(), *shown, *others, *checkpoints, max_epochs=2)
    plain.fit(module, loader(), loader(5, seed=1))
    plain.test(module, loader(6, seed=2, batch_size=5), verbose=False)
    names = {path.name for path in folder.iterdir()}
    assert {
        "run.json",
        "predictions.csv",
        "results.json",
        "history.csv",
        "clips.csv",
        "best.ckpt",
        "last.ckpt",
    } <= names
    assert json.loads((folder / "results.json").read_text())["test"]["utterance"]["mos"]["n"] == 6
    assert len((folder / "history.csv").read_text().splitlines()) == 3
    resumed = trainer(tmp_path, QAMRO(), LastCheckpoint(folder, None), max_epochs=3)
    resumed.fit(AQAModule(AXES), loader(), loader(5, seed=1), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert resumed.global_step == 9


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"encoder": MelSpectrogram(width=8, depth=1, num_heads=1), "head": functools.partial(MLP, hidden=[4])},
        {"encoder": Descriptors(num_mels=40), "head": MLP, "freeze": "all"},
    ],
)
def test_a_checkpoint_of_parts_that_were_built_in_python_is_loaded(tmp_path, parts):
    module, plain = AQAModule(AXES, **parts), trainer(tmp_path, Regression())
    plain.fit(module, loader())
    plain.save_checkpoint(tmp_path / "own.ckpt")
    scorer = load(tmp_path / "own.ckpt", device="cpu")
    clip = rows(1)[0]["waveform"]
    found = torch.stack(list(scorer(clip, scorer.sample_rate).values()))
    assert torch.allclose(found, module.eval()({"waveform": clip[None]}).scores[0], atol=1e-4)


TWO_PROCESSES = """
import sys
import lightning as L, torch
from torch.utils.data import DataLoader
from lightning_aqa.module import AQAModule
from tests.test_python_api import AXES, rows

trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False, enable_progress_bar=False,
                    enable_checkpointing=False, enable_model_summary=False, default_root_dir=sys.argv[1])
module = AQAModule(AXES)
trainer.fit(module, DataLoader(rows(10), 2), DataLoader(rows(6, seed=1), 2))
state = module.head.state_dict()
torch.save([state, module.predictions["dev"].ids], f"{sys.argv[1]}/{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_constants_and_all_clips(tmp_path):
    (tmp_path / "own.py").write_text(TWO_PROCESSES)
    root = Path(__file__).parents[1]
    command = [sys.executable, str(tmp_path / "own.py"), str(tmp_path)]
    subprocess.run(command, check=True, cwd=root, timeout=240, env=os.environ | {"PYTHONPATH": str(root)})
    (first, ids), (second, others) = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    scores = torch.stack([row["scores"] for row in rows(10)]).double()
    assert first["location_A"].tolist() == pytest.approx(scores.nanmean(0).tolist(), rel=1e-6)
    assert ids == others == [f"dev-{number:06d}" for number in range(6)]


class Local(Descriptors):
    """An encoder that has an argument no config could have."""

    def __init__(self, function):
        super().__init__()
        self.function = function


def test_a_checkpoint_of_parts_that_no_config_could_name_says_so(tmp_path):
    module, plain = AQAModule(AXES, Local(lambda: 0)), trainer(tmp_path)
    plain.fit(module, loader(4))
    plain.save_checkpoint(tmp_path / "own.ckpt")
    with pytest.raises(ValueError, match="does not say what its model is made of"):
        load(tmp_path / "own.ckpt")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["mos"], r"axes holds 'mos', expected a name with .* score, such as axes={'mos': \[1, 5\]}"),
        ([("mos", 1, 5)], r"axes holds \('mos', 1, 5\), expected a name with its lowest and highest score"),
        ("mos", r"axes is 'mos', expected names with"),
        ({"mos": 5}, r"axes\.mos must be its lowest and highest score, such as \[1, 5\]; got 5\."),
        ({"mos": ["1", "5"]}, r"axes\.mos must be .* got \['1', '5'\]\."),
        ([("a", "A", 1, 5), ("a", "B", 1, 5)], r"axes names a, a, expected each name once"),
    ],
)  # fmt: skip
def test_a_module_says_what_an_axis_is(axes, message):
    with pytest.raises(ValueError, match=message):
        AQAModule(axes)


def test_axes_are_saved_as_lists_whatever_they_were_given_as():
    assert AQAModule({"mos": (1, 5)}).hparams["axes"] == [["mos", "Mos", 1.0, 5.0]]
    assert AQAModule([("mos", "Quality", 1, 5)]).hparams["axes"] == [["mos", "Quality", 1, 5]]
