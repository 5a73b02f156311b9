"""The probe: windows, order, precision, odd clips, and from the command line to a report."""

import json
import math

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_aqa.batch import Axis, Batch, Features, Part
from lightning_aqa.cli.main import main
from lightning_aqa.heads import probe as probe_module
from lightning_aqa.heads.probe import Probe
from lightning_aqa.metrics.correlation import srcc
from lightning_aqa.module import AQAModule
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.training.loading import load_module
from tests.test_python_api import rows

AXES = [Axis("mos", "MOS", 1, 5), Axis("noise", "Noise", 0, 100)]


def features_of(layers):
    """Features of vectors ``(N, L, D)``, each for four frames about it, so that there is a deviation too."""
    steps = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None] * (1 + layers[:, :, None].abs()) / 4
    return Features(layers[:, :, None] + steps, torch.ones(len(layers), 4, dtype=torch.bool))


def clips(count=40, num_layers=2, width=6, seed=0):
    """Vectors ``(N, L, D)`` whose last layer knows the scores ``(N, 2)``."""
    generator = torch.Generator().manual_seed(seed)
    layers = torch.randn(count, num_layers, width, generator=generator)
    noisy = layers[:, -1, :2] + 0.2 * torch.randn(count, 2, generator=generator)
    return layers, torch.tensor([3.0, 50.0]) + torch.tensor([0.6, 15.0]) * noisy


def batch_of(layers, scores, ids=None, weights=None):
    size = len(layers)
    ids = [f"{n:04d}" for n in range(size)] if ids is None else ids
    about = {"systems": [""] * size, "domains": [""] * size, "prompts": [""] * size}
    empty = torch.zeros(size, 0), torch.ones(size, dtype=torch.long)
    return features_of(layers), Batch(*empty, scores, ids, **about, weights=weights)


def fitted(layers, scores, group_of=str, dtype=torch.float32, **more):
    head = Probe(layers.shape[2], layers.shape[1], AXES[: scores.shape[1]]).to(dtype)
    head.fit_clips([batch_of(layers.to(dtype), scores, **more)], group_of)
    return head.eval()


def predicted(head, layers):
    return head(features_of(layers.to(head.location_A.dtype))).scores.detach().double()


def test_it_finds_the_layer_that_knows_and_says_so():
    layers, scores = clips(60)
    head = fitted(layers, scores)
    (share,) = head.shares
    assert share.weight == pytest.approx(1.0)
    assert share.layers[1] > 0.8
    new, rated = clips(60, seed=1)
    assert all(srcc(p, y) > 0.85 for p, y in zip(predicted(head, new).T, rated.double().T, strict=True))


def test_of_several_encoders_each_is_judged_alone():
    layers, scores = clips(40, num_layers=1, width=8)
    head = Probe(8, 1, AXES)
    head.take_parts([Part("knows", 0, 4, (0,)), Part("guesses", 4, 4, (0,))])
    head.fit_clips([batch_of(layers, scores)])
    knows, guesses = head.shares
    assert (knows.name, guesses.name) == ("knows", "guesses")
    assert knows.weight + guesses.weight == pytest.approx(1.0)
    assert knows.weight > 0.8
    assert srcc(knows.left_out[:, 0], knows.targets[:, 0]) > 0.7 > srcc(guesses.left_out[:, 0], guesses.targets[:, 0])


def test_order_of_clips_and_batches_changes_nothing():
    layers, scores = clips(30)
    ids = [f"{n:02d}" for n in range(30)]
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3)).tolist()
    one, again = fitted(layers, scores, ids=ids), fitted(layers, scores, ids=ids)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), again.state_dict().values(), strict=True))
    other = Probe(6, 2, AXES)
    halves = order[:11], order[11:]
    other.fit_clips([batch_of(layers[half], scores[half], [ids[i] for i in half]) for half in halves])
    torch.testing.assert_close(predicted(one, layers), predicted(other.eval(), layers), atol=1e-4, rtol=1e-6)


def test_a_score_does_not_depend_on_its_batch_mates():
    layers, scores = clips(40)
    head = fitted(layers, scores)
    together = predicted(head, layers)
    alone = torch.cat([predicted(head, layers[[row]]) for row in range(40)])
    assert ((alone - together).abs() / head.scale_A < 5e-4).all()


def test_a_clip_in_windows_counts_as_a_whole_and_by_each_window():
    layers, scores = clips(12)
    ids = [f"{n:02d}" for n in range(12)]
    features, batch = batch_of(torch.cat([layers, layers[:1] - 1]), torch.cat([scores, scores[:1]]), [*ids, ids[0]])
    head = Probe(6, 2, AXES)
    head.fit_clips([(features, batch._replace(weights=torch.tensor([3.0] + [1.0] * 12)))])
    assert len(head.centres_NE) == 12 + 2
    raw = head.centres_NE * head.standardise.feature_std + head.standardise.feature_mean
    both, weights = head.pool(features)[[0, 12]].double(), torch.tensor([0.75, 0.25]).double()
    mean = (weights[:, None] * both[:, :6]).sum(0)  # the first layer's means, then its deviations
    square = (weights[:, None] * (both[:, 6:12].square() + both[:, :6].square())).sum(0)
    torch.testing.assert_close(raw[0, :6].double(), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(raw[0, 6:12].double(), (square - mean.square()).sqrt(), atol=1e-4, rtol=1e-4)
    once, twice = fitted(layers, scores, ids=ids), Probe(6, 2, AXES)
    twice.fit_clips([batch_of(torch.cat([layers, layers]), torch.cat([scores, scores]), [*ids, *ids])])
    assert torch.equal(predicted(once, layers), predicted(twice.eval(), layers))  # as where each process reads all


def test_precision_of_head_and_autocast():
    layers, scores = clips(30)
    single, double = fitted(layers, scores), fitted(layers, scores, dtype=torch.float64)
    torch.testing.assert_close(predicted(single, layers), predicted(double, layers), atol=1e-3, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(predicted(single, layers), predicted(single, layers).float().double())
        cast = single(features_of(layers).astype(torch.bfloat16))
    assert cast.scores.dtype == torch.float32
    torch.testing.assert_close(cast.scores.double(), predicted(single, layers), atol=1.0, rtol=0.05)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_few_clips_give_finite_scores_and_deviations(count):
    head = fitted(*clips(count))
    output = head(features_of(clips(9, seed=1)[0]))
    assert output.scores.isfinite().all()
    assert (output.deviation > 0).all()
    assert output.deviation.isfinite().all()


def test_constant_scores_and_features_are_no_error():
    layers, scores = clips(12)
    flat = fitted(layers, torch.full_like(scores, 4.0))
    torch.testing.assert_close(predicted(flat, layers), torch.full((12, 2), 4.0, dtype=torch.float64))
    same = fitted(torch.ones_like(layers), scores)
    assert ((predicted(same, torch.ones_like(layers)) - scores.mean(0)).abs() / same.scale_A < 0.01).all()
    for head in (flat, same):
        deviation = head(features_of(layers)).deviation
        assert deviation.isfinite().all()
        assert (deviation > 0.1 * head.scale_A).all()  # nothing is known for sure


def test_a_clip_unlike_the_training_clips_gets_the_mean_and_a_wide_deviation():
    layers, scores = clips(40)
    head = fitted(layers, scores)
    near, far = (head(features_of(x)) for x in (layers, layers + 1000.0))
    torch.testing.assert_close(far.scores, head.location_A.expand(40, 2), atol=1e-3, rtol=1e-4)
    assert (far.deviation.min(dim=0).values > near.deviation.max(dim=0).values).all()
    assert (far.deviation < 4 * head.scale_A).all()


def test_permuted_labels_are_not_predicted(monkeypatch):
    monkeypatch.setattr(probe_module, "WIDTHS", (0.1, 1.0))
    found, sizes = [], []
    for seed in range(3):
        layers, scores = clips(50, num_layers=1, seed=seed)
        shuffled = scores[torch.randperm(50, generator=torch.Generator().manual_seed(seed))]
        out = torch.zeros(50, 2, dtype=torch.float64)
        for fold in range(5):
            test = torch.arange(50) % 5 == fold
            out[test] = predicted(fitted(layers[~test], shuffled[~test]), layers[test])
        found += [srcc(p, y) for p, y in zip(out.T, shuffled.double().T, strict=True)]
        sizes.append(float(((out - shuffled.mean(0)) / shuffled.std(0)).square().mean()))
    assert abs(sum(found) / len(found)) < 0.2
    assert sum(sizes) / len(sizes) < 0.2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers_are_refused_with_the_clip(value):
    layers, scores = clips(12)
    layers[7, 1, 2] = value
    with pytest.raises(ValueError, match=r"^The features of 1 of 12 clips are not finite: 0007\. .*leave"):
        fitted(layers, scores)


def test_of_many_clips_an_even_draw_is_kept_and_that_is_said(monkeypatch):
    monkeypatch.setattr(probe_module, "MOST_CENTRES", 10)
    with pytest.warns(UserWarning, match=r"keeps 10 of the 40 clips"):
        head = fitted(*clips(40))
    assert len(head.centres_NE) == 10


def _own(count, head=None, **options):
    module = AQAModule({"mos": [1, 5], "noise": [0, 100]}, head=Probe, freeze="all") if head is None else head
    trainer = L.Trainer(
        max_epochs=0, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(module, DataLoader(rows(count), 4))
    return module.eval()


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*isinstance.treespec, LeafSpec")
@pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`", "ignore:.*in eval mode at the start of training")
def test_loaders_of_ones_own_fit_it_without_an_epoch(tmp_path):
    module = _own(20, default_root_dir=tmp_path)
    assert len(module.head.centres_NE) == 20
    found = torch.cat([module({"waveform": row["waveform"][None]}).scores for row in rows(20)])
    assert module.trainer.global_step == 0
    assert srcc(found[:, 0].detach(), torch.stack([row["scores"][0] for row in rows(20)])) > 0.9


@pytest.fixture(scope="module")
def run(corpora, tmp_path_factory):
    """A run folder of a probe that is fitted alone; read-only."""
    root = tmp_path_factory.mktemp("probe")
    words = [f"--trainer.default_root_dir={root}", "--name=run", "--trainer.max_epochs=0"]
    assert main(["fit", *WORDS, f"--data.root={corpora['musiceval']}", *words]) == 0
    return root / "run"


WORDS = [
    "--data=MusicEval",
    "--model.freeze=all",
    "--model.head=Probe",
    "--objectives.mse=Regression",
    "--monitor=null",
]


def test_a_fit_without_an_epoch_tells_what_it_is(run, corpora, tmp_path, capsys):
    facts = json.loads((run / "run.json").read_text())
    (share,) = facts["probe"]
    assert share["encoder"] == "Descriptors"
    assert share["layers"] == {"0": pytest.approx(1.0)}
    assert -1 <= share["srcc"] <= 1
    assert facts["evaluated"]["epoch"] == 0
    assert "training_speed" not in facts
    assert not (run / "history.csv").exists()
    assert main(["report", str(run)]) == 0
    assert (
        main(
            [
                "test",
                f"--ckpt_path={run}",
                "--data=MusicEval",
                f"--data.root={corpora['musiceval']}",
                f"--trainer.default_root_dir={tmp_path}",
            ]
        )
        == 0
    )
    assert "fitted before the first step" in capsys.readouterr().out


def test_its_checkpoint_predicts_what_the_run_wrote(run):
    module = load_module(str(run / "checkpoints" / "last.ckpt"))
    assert len(module.head.centres_NE) == len(dict(read_predictions(run / "predictions.csv")[0])["train"].ids)
    assert module.epoch == 0


def test_training_starts_from_the_fitted_prediction_and_resumes(run, corpora, tmp_path, capsys):
    words = ["fit", *WORDS, f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--model.optimizer=AdamW", "--model.optimizer.lr=0.0"]
    for name, more in {"on": [f"--init_from={run}"], "new": []}.items():
        assert main([*words, f"--name={name}", "--trainer.max_epochs=1", *more]) == 0
        tables, _ = read_predictions(tmp_path / name / "predictions.csv")
        for split, table in read_predictions(run / "predictions.csv")[0]:
            torch.testing.assert_close(torch.tensor(dict(tables)[split].scores), torch.tensor(table.scores))
    assert "fitted to" in capsys.readouterr().out
    assert "probe" in json.loads((tmp_path / "new" / "run.json").read_text())
    assert "probe" not in json.loads((tmp_path / "on" / "run.json").read_text())


def test_a_trained_encoder_is_refused(corpora, fails, tmp_path):
    words = [word for word in WORDS if "freeze" not in word]
    small = ["--model.encoder=MelSpectrogram", "--model.encoder.width=8", "--model.encoder.depth=1"]
    more = [f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=0"]
    said = fails("fit", *words, *small, "--model.encoder.num_heads=1", *more)
    assert "Probe is fitted once to the features of an encoder that does not change" in said.splitlines()[-1]


def test_an_objective_of_the_embedding_alone_is_refused(corpora, fails, tmp_path):
    words = [word for word in WORDS if "objectives" not in word] + [
        "--objectives.mse=null",
        "--objectives.triplet=Triplet",
    ]
    words.append("--trainer.max_epochs=1")
    said = fails("fit", *words, f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={tmp_path}")
    assert "No objective reaches a parameter that is trained: Probe" in said.splitlines()[-1]


def test_in_training_a_clip_is_predicted_by_the_others():
    layers, scores = clips(40)
    head = fitted(layers, torch.randn(scores.shape, generator=torch.Generator().manual_seed(0)) + scores)
    memorised = head.eval()(features_of(layers)).scores.detach()
    left_out = head.train()(features_of(layers)).scores.detach()
    share = head.shares[0]
    expected = head.location_A + head.scale_A * share.left_out.to(head.location_A)
    torch.testing.assert_close(left_out, expected, atol=1e-4, rtol=1e-5)
    error = [((one - head.location_A) / head.scale_A - share.targets).square().mean() for one in (memorised, left_out)]
    assert error[1] > 1.2 * error[0]
    new, _ = clips(5, seed=9)
    torch.testing.assert_close(head(features_of(new)).scores, head.eval()(features_of(new)).scores)
