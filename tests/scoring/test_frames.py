"""Scores of frames: at their times through windows, their mean the score, of one model and of several."""

import numpy as np
import pytest
import soundfile
import torch

from lightning_aqa.data.audio import AudioError
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.heads.aesa_net import AESANet
from lightning_aqa.module import AQAModule
from lightning_aqa.scoring.ensemble import EnsembleScorer
from lightning_aqa.scoring.frames import ScoredFrames
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.training.ensemble import average

RATE = 16_000
AXES = [("PQ", "Production quality", 0.0, 10.0), ("CE", "Content enjoyment", 1.0, 5.0)]


def _module(seed=0):
    torch.manual_seed(0)
    encoder = MelSpectrogram(width=8, depth=1, num_heads=1, window_seconds=0.5)
    torch.manual_seed(seed)
    module = AQAModule(AXES, encoder, lambda *sizes: AESANet(*sizes, adapter_width=8, lstm_width=8, shared_width=8))
    with torch.no_grad():
        for parameter in module.head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def _scorer(module, **settings):
    return Scorer(module, device="cpu", num_workers=0, interval=0, **settings)


@pytest.fixture
def clip(tmp_path):
    noise = np.random.default_rng(0).uniform(-1, 1, round(1.3 * RATE)) * np.linspace(0, 0.9, round(1.3 * RATE))
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    return tmp_path / "a.wav"


@pytest.mark.parametrize(("window", "end"), [(None, 1.3), (0.7, 1.3), (2.0, 1.3)])
def test_the_mean_over_time_is_the_score_and_windows_come_one_after_the_other(clip, window, end):
    scorer = _scorer(_module(), window_seconds=window)
    found = scorer.frame_scores(clip)
    assert found.starts[0] == 0
    assert found.ends[-1] == pytest.approx(end)
    np.testing.assert_allclose(found.starts[1:], found.ends[:-1])
    mean = np.average(found.scores, axis=0, weights=found.ends - found.starts)
    (row,) = scorer.rows([clip])
    np.testing.assert_allclose(mean, [row["PQ"], row["CE"]], atol=1e-5)
    assert np.ptp(found.scores[:, 0]) > 1e-3


def test_a_window_has_the_frames_of_that_part_alone_and_an_end_cuts(clip, tmp_path):
    scorer = _scorer(_module())
    samples, _ = soundfile.read(clip, dtype="float32")
    soundfile.write(tmp_path / "part.wav", samples[RATE // 2 : RATE], RATE, subtype="FLOAT")
    whole, part = scorer.frame_scores(clip), scorer.frame_scores(tmp_path / "part.wav")
    inside = (whole.starts > 0.499) & (whole.ends < 1.001)
    np.testing.assert_allclose(whole.scores[inside], part.scores, atol=1e-5)
    np.testing.assert_allclose(whole.starts[inside] - 0.5, part.starts, atol=1e-9)
    assert scorer.frame_scores(clip, seconds=0.5).ends[-1] == 0.5
    ends = [scorer.rows([path], seconds=0.5)[0]["PQ"] for path in (clip, tmp_path / "part.wav")]
    assert ends[1] == scorer.rows([tmp_path / "part.wav"])[0]["PQ"]
    assert ends[0] != scorer.rows([clip])[0]["PQ"]
    with pytest.raises(AudioError, match="no such file"):
        scorer.frame_scores(tmp_path / "gone.wav")


def test_of_several_models_frames_are_the_weighted_mean(clip):
    members = [_module(seed) for seed in (1, 2)]
    weights = [[0.25, 1.0], [0.75, 0.0]]
    alone = [_scorer(member).frame_scores(clip).scores for member in members]
    together = _scorer(average(members, weights)).frame_scores(clip).scores
    np.testing.assert_allclose(together, sum(np.array(w) * of for w, of in zip(weights, alone, strict=True)), atol=1e-5)
    scorers = [_scorer(member) for member in members]
    assert EnsembleScorer(scorers, scorers[0].trust).frame_scores(clip) is None  # of different encoders


def test_heads_without_them_and_fewer_frames_of_the_same_mean(clip):
    module = AQAModule(AXES, MelSpectrogram(width=8, depth=1, num_heads=1))
    assert _scorer(module).frame_scores(clip) is None
    ends = np.cumsum(np.random.default_rng(1).uniform(0.1, 1, 50))
    frames = ScoredFrames(np.r_[0, ends[:-1]], ends, np.random.default_rng(2).normal(size=(50, 2)))
    fewer = frames.at_most(7)
    assert len(fewer.starts) == 7
    means = [np.average(of.scores, axis=0, weights=of.ends - of.starts) for of in (frames, fewer)]
    np.testing.assert_allclose(*means)
    assert frames.at_most(50) is frames
