"""Objectives in standardised units: the scale that clips were rated on changes nothing that is trained."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch import LightningModule

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.concordance import CCC
from lightning_aqa.objectives.contrastive import Contrastive
from lightning_aqa.objectives.frame_scores import FrameScores
from lightning_aqa.objectives.gaussian_nll import GaussianNLL
from lightning_aqa.objectives.listwise import ListMLE, ListNet
from lightning_aqa.objectives.margin_ranking import MarginRanking
from lightning_aqa.objectives.ordinal import Coral, SoftOrdinal
from lightning_aqa.objectives.qamro import QAMRO
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.objectives.soft_spearman import SoftSpearman
from lightning_aqa.objectives.triplet import Triplet

SCALES = [(1.0, 5.0), (0.0, 100.0), (-3.0, 3.0)]
MAKERS = {
    "Regression": lambda space: Regression(kind="huber", space=space),
    "FrameScores": lambda space: FrameScores(space=space),
    "QAMRO": lambda space: QAMRO(space=space, tolerance=0.3),
    "QAMRO, fixed margin": lambda space: QAMRO(space=space, margin=0.1, quality="none", memory_size=8),
    "MarginRanking": lambda space: MarginRanking(space=space, tolerance=0.3),
    "Contrastive": lambda space: Contrastive(space=space),
    "ListNet": lambda space: ListNet(space=space),
    "ListMLE": lambda space: ListMLE(space=space, tolerance=0.3),
    "SoftSpearman": lambda space: SoftSpearman(space=space),
    "GaussianNLL": lambda space: GaussianNLL(space=space, beta=0.5),
    "SoftOrdinal": lambda space: SoftOrdinal(space=space),
    "Triplet": lambda space: Triplet(space=space, epsilon=0.4),
}
FREE = {"CCC": lambda space: CCC(), "Coral": lambda space: Coral()}
"""What knows no unit, and has no such option."""


class _Fitted(LightningModule):
    """A module whose head has seen the training scores."""

    def __init__(self, scales, deviation_A):
        super().__init__()
        self.axes = [Axis(f"a{i}", f"Axis {i}", *scale) for i, scale in enumerate(scales)]
        self.head = torch.nn.Module()
        self.head.register_buffer("scale_A", torch.as_tensor(deviation_A, dtype=torch.float32))


def _mapped(unit, scales):
    """Put numbers from 0 to 1 on the scale of each axis, along the last dimension."""
    low, high = torch.tensor(scales).T
    return (low.double() + (high - low).double() * torch.as_tensor(unit)).float()


def _losses(make, make_step, scales, seed, space="standardised"):
    """Return the loss of two steps with the same ratings and predictions, as they are on some scales."""
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    rated = torch.randint(0, 21, (2, 7, 2), generator=generator) / 20.0
    guessed, frames, deviation, logits, embedding = (
        rand(2, 7, 2), rand(2, 7, 3, 2), 0.1 + rand(2, 7, 2), rand(2, 7, 2, 5), rand(2, 7, 3)
    )  # fmt: skip
    low, high = torch.tensor(scales).T
    objective = make(space)
    objective.on_fit_start(None, _Fitted(scales, 0.25 * (high - low)))
    found = []
    for k in range(2):
        targets = _mapped(rated[k], scales)
        targets[0, 1] = torch.nan
        output, batch = make_step(
            _mapped(guessed[k], scales), targets, embedding[k], _mapped(frames[k], scales),
            torch.ones(7, 3, dtype=torch.bool), logits[k].float(), (deviation[k] * (high - low)).float(),
        )  # fmt: skip
        found.append(objective.loss(output, batch).item())
        objective.on_train_batch_end(None, None, None, batch, k)
    return found


@pytest.mark.parametrize("make", (MAKERS | FREE).values(), ids=MAKERS | FREE)
def test_standardised_losses_are_the_same_on_every_scale_and_mix_of_scales(make, make_step):
    for seed in range(3):
        expected = _losses(make, make_step, [SCALES[0]] * 2, seed)
        assert any(expected)
        for scales in ([SCALES[1]] * 2, [SCALES[2], SCALES[1]]):
            assert _losses(make, make_step, scales, seed) == pytest.approx(expected, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_standardised_by_one_is_in_points(make, make_step):
    unit = [(1.0, 5.0)] * 2  # a quarter of which is 1
    assert _losses(make, make_step, unit, 0) == pytest.approx(_losses(make, make_step, unit, 0, "points"), rel=1e-6)


def test_intervals_weigh_by_points_and_compare_in_standard_deviations(make_step):
    objective = QAMRO(quality="interval", space="standardised")
    module = _Fitted([(0.0, 10.0)], [2.0])
    module.axes = [Axis("PQ", "Production quality", 0, 10)]
    objective.on_fit_start(None, module)
    # 6.5 has quality 1 and weighs 7, wherever 3.25 would lie; the gaps are halved: (5 - 1) / 2 + 0.2 * 5 / 2.
    assert objective.loss(*make_step([[5.0], [1.0]], [[1.5], [6.5]])).item() == pytest.approx(7 * 2.5)


def test_the_memory_is_kept_in_points_so_that_it_goes_with_any_scale(make_step):
    first, resumed = QAMRO(memory_size=4, space="standardised"), QAMRO(memory_size=4, space="standardised")
    first.on_fit_start(None, _Fitted([(0.0, 100.0)], [20.0]))
    first.loss(*make_step([[10.0], [50.0]], [[30.0], [20.0]]))
    first.past.commit()
    assert first.past.embedding.flatten().tolist() == [10.0, 50.0]
    resumed.load_state_dict(first.state_dict())
    resumed.on_fit_start(None, _Fitted([(0.0, 100.0)], [20.0]))
    step = make_step([[20.0]], [[10.0]])
    # As by points over 20: against 30 the pair weighs 7, (20 - 10 + 0.2 * 20) / 20; against 20 it is in order.
    assert resumed.loss(*step).item() == first.loss(*step).item() == pytest.approx(7 * 14 / 20 / 2)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_standardised_without_a_trainer_is_refused_with_what_to_do(make):
    objective = make("standardised")
    with pytest.raises(ValueError, match=r"space='standardised' needs the head's scale.*use space='points'"):
        objective.in_space(torch.zeros(1, 1))


def test_an_unknown_space_is_refused():
    with pytest.raises(ValueError, match="space must be 'points' or 'standardised', got 'z'"):
        QAMRO(space="z")


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Eighteen short noises with ratings of two axes, between 0 and 1."""
    folder, generator = tmp_path_factory.mktemp("rated"), np.random.default_rng(0)
    for i in range(18):
        noise = generator.normal(size=4000) * 0.02 * (i + 1)
        soundfile.write(folder / f"{i}.wav", np.clip(noise, -1, 1), 16000)
    return folder, np.round(generator.uniform(size=(18, 2)) / 2 + np.linspace(0, 0.5, 18)[:, None], 2)


def test_a_fit_of_one_s_own_data_is_the_same_on_every_scale(rated, fit, tmp_path):
    clips, unit = rated
    losses, scores = {}, {}
    for low, high in SCALES[1:]:
        name = f"{low:g}to{high:g}"
        rows = "".join(f"{i}.wav,{low + (high - low) * a!r},{2 * b!r}\n" for i, (a, b) in enumerate(unit.tolist()))
        (tmp_path / f"{name}.csv").write_text("file,q,b\n" + rows)
        folder = fit("--config=experiments/own_data.yaml", f"--data.path={tmp_path}/{name}.csv", "--data.axes=null",
                     f"--data.axes={{q: [{low:g}, {high:g}], b: [0, 2]}}", f"--data.audio_root={clips}",
                     "--data.fold=0", "--data.cache=null", "--data.batch_size=5", "--trainer.logger=false",
                     "--objectives.qamro.memory_size=8", epochs=6, name=name)  # fmt: skip
        last = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))[-1]
        losses[name] = [float(last[key]) for key in ("train/mse", "train/qamro")]
        rows = csv.DictReader((folder / "predictions.csv").read_text().splitlines())
        found = {(row["axis"], row["id"]): float(row["score"]) for row in rows}
        scores[name] = {key: (score - low) / (high - low) if key[0] == "q" else score for key, score in found.items()}
    one, other = losses
    assert losses[other] == pytest.approx(losses[one], rel=1e-3)
    assert scores[other] == pytest.approx(scores[one], abs=1e-3)
    for axis in "qb":
        of = [key for key in scores[one] if key[0] == axis]
        assert sorted(of, key=scores[other].get) == sorted(of, key=scores[one].get)
