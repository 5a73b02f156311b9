"""A predictor as a reward: its bound, its gradient, the ascent along it, what is refused."""

import numpy as np
import pytest
import torch

import lightning_aqa
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.metrics.conformal import ConformalCalibration
from lightning_aqa.module import AQAModule
from lightning_aqa.scoring.reward import Reward, ascend
from lightning_aqa.scoring.scorer import Scorer

AXES = [("MI", "Musical impression", 1.0, 5.0), ("TA", "Textual alignment", 1.0, 5.0)]


def scorer(seed=0, **options):
    torch.manual_seed(seed)
    module = AQAModule(AXES, MelSpectrogram(width=8, depth=1))
    for parameter in module.head.parameters():  # an untrained head scores all clips alike
        torch.nn.init.normal_(parameter, std=0.3)
    return Scorer(module, device="cpu", **options)


@pytest.fixture
def clips():
    return torch.tensor(0.1 * np.random.default_rng(0).standard_normal((3, 8000)), dtype=torch.float32)


def test_the_reward_is_the_mean_of_the_axes_or_what_weights_say(clips):
    of = scorer()
    scores = of(clips[:, None], 16000)
    assert torch.allclose(Reward(of, bound="score")(clips, 16000), (scores["MI"] + scores["TA"]) / 2)
    weighted = Reward(of, {"TA": 2.0}, bound="score")
    assert torch.allclose(weighted(clips[:, None], 16000), 2 * scores["TA"])
    assert torch.allclose(weighted(list(clips), 16000), 2 * scores["TA"])


def test_the_bound_of_several_predictors_is_what_they_agree_on(clips):
    both = [scorer(0), scorer(1)]
    scores_SBA = torch.stack([torch.stack(list(one(clips[:, None], 16000).values()), -1) for one in both])
    expected = (scores_SBA.mean(0) - 2 * scores_SBA.std(0)).mean(-1)
    assert torch.allclose(Reward(both, spread=2.0)(clips, 16000), expected, atol=1e-4)


def test_the_bound_of_one_predictor_is_its_interval(clips):
    errors = np.stack([np.linspace(0, 1, 60), np.linspace(0, 0.5, 60)], axis=1)
    names = [str(n) for n in range(60)]
    calibration = ConformalCalibration("dev", ["MI", "TA"], False, False, [""] * 60, names, errors, names)
    of = scorer(calibration=calibration, interval=0.8)
    with pytest.raises(ValueError, match="bound=low: MI has no interval"):
        Reward(scorer(calibration=calibration._replace(errors=errors * np.nan)))
    widths = calibration.factors(share=0.8)
    bound, score = (Reward(of, bound=kind)(clips, 16000) for kind in ("low", "score"))
    assert (score - bound).numpy() == pytest.approx(np.full(3, widths.mean()), abs=1e-5)


def test_the_gradient_is_that_of_finite_differences(clips):
    reward = Reward([scorer(0, dtype="float64"), scorer(1, dtype="float64")])
    clip = clips[:1].double().requires_grad_(True)
    (slope,) = torch.autograd.grad(reward(clip, 16000).sum(), clip)
    step = 1e-4 * torch.randn(clip.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = (reward(clip + step, 16000) - reward(clip - step, 16000)).item() / 2
    assert change == pytest.approx((slope * step).sum().item(), rel=1e-3)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_ascent_stays_below_the_clip_and_raises_its_score(clips, channels):
    reward = Reward(scorer(), bound="score")
    clip = clips[0].repeat(channels, 1)
    found = ascend(reward, clip, 16000, decibel=-40, steps=8)
    assert found.shape == (8000,)
    level = 20 * torch.log10((found - clips[0]).norm() / clips[0].norm())
    assert level <= -39.9
    assert reward([found], 16000) > reward([clips[0]], 16000)
    assert torch.equal(ascend(reward, torch.zeros(8000), 16000, steps=3), torch.zeros(8000))


def test_what_is_no_reward_is_said_in_one_line(clips):
    of = scorer()
    with pytest.raises(ValueError, match="weights names quality; the axes are MI, TA"):
        Reward(of, {"quality": 1.0})
    with pytest.raises(ValueError, match="needs an interval of one width per axis, and this predictor has none"):
        Reward(of)
    with pytest.raises(ValueError, match="bound must be score or low, got 'high'"):
        Reward(of, bound="high")
    with pytest.raises(ValueError, match="needs a scorer, and none is given"):
        Reward([])
    other = Scorer(AQAModule(AXES[:1], Descriptors()), device="cpu")
    with pytest.raises(ValueError, match="scorers must have the same axes"):
        Reward([of, other])
    with pytest.raises(ValueError, match=r"A reward takes a batch: shape \(B, T\)"):
        Reward(of, bound="score")(torch.zeros(()).expand(3), 16000)
    with pytest.raises(ValueError, match="Descriptors has no gradient to the waveform"):
        ascend(Reward(other, bound="score"), clips[0], 16000)


def test_a_checkpoint_is_a_reward(checkpoint, clips):
    reward = Reward(lightning_aqa.load(checkpoint, device="cpu"), bound="score")
    assert reward(clips, 16000).shape == (3,)
