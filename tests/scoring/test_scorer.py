"""The scorer in Python: paths and tensors of any shape and rate, batch mates, the gradient."""

import numpy as np
import pytest
import soundfile
import torch

import lightning_aqa
from lightning_aqa.batch import Axis, Features, Output
from lightning_aqa.data.audio import AudioError
from lightning_aqa.encoders import cpu
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.heads.base import Head
from lightning_aqa.module import AQAModule
from lightning_aqa.scoring.load import _reading
from lightning_aqa.scoring.scorer import Scorer

AXES = [("MI", "Musical impression", 1.0, 5.0), ("TA", "Textual alignment", 1.0, 5.0)]


class Means(Encoder):
    """The mean of the samples is the only feature."""

    sample_rate, width, num_layers, window_seconds, min_tail_seconds = 100, 1, 1, 1.0, 0.25

    def forward(self, waveform, num_samples, prompts=None):
        rows = [clip[:size].mean() for clip, size in zip(waveform, num_samples.tolist(), strict=True)]
        return Features(torch.stack(rows)[:, None, None, None], torch.ones(len(rows), 1, dtype=torch.bool))


class Same(Head):
    """The score is the feature."""

    def forward(self, features):
        return Output(features.layers[:, 0, 0], features.layers[:, 0, 0])


@pytest.fixture
def means():
    return Scorer(AQAModule([AXES[0]], Means(), Same), device="cpu")


@pytest.fixture
def scorer(checkpoint):
    return lightning_aqa.load(checkpoint, device="cpu")


def test_a_clip_is_the_mean_of_its_windows_by_their_length(means, tmp_path):
    samples = np.repeat([1.0, 0.5, 0.25], [100, 100, 50]).astype(np.float32)
    wanted = (1.0 + 0.5 + 0.5 * 0.25) / 2.5
    assert means(torch.from_numpy(samples), 100)["MI"].item() == pytest.approx(wanted)
    soundfile.write(tmp_path / "a.wav", samples, 100, subtype="FLOAT")
    assert means(tmp_path / "a.wav") == {"MI": pytest.approx(wanted)}
    assert means(torch.from_numpy(samples[:220]), 100)["MI"].item() == pytest.approx(0.75)  # the tail is too short


def test_the_shapes_of_torchaudio(means):
    clip = torch.linspace(0, 1, 80)
    wanted = clip.mean().item()
    assert means(clip, 100)["MI"].shape == ()
    stereo = torch.stack([clip + 0.1, clip - 0.1])
    assert means(stereo, 100)["MI"].item() == pytest.approx(wanted)
    batch = means(torch.stack([stereo, 2 * stereo, 3 * stereo]), 100)["MI"]
    assert batch.tolist() == pytest.approx([wanted, 2 * wanted, 3 * wanted])
    ragged = means([clip, clip[:30], stereo], 100)
    assert [row["MI"].item() for row in ragged] == pytest.approx([wanted, clip[:30].mean().item(), wanted])


def test_paths_and_lists_of_paths(scorer, clips):
    paths = [clips / "a.wav", str(clips / "d.mp3"), clips / "g.wav"]
    together = scorer(paths)
    assert [list(row) for row in together] == 3 * [["MI", "TA"]]
    for path, row in zip(paths, together, strict=True):
        assert scorer(path) == pytest.approx(row, abs=1e-5)


def test_a_tensor_scores_as_its_file_does(checkpoint, clips):
    scorer = lightning_aqa.load(checkpoint, device="cpu", resampler="sinc")
    for name in ("a.wav", "b.flac", "h.wav"):  # 16, 22.05 and 22.05 kHz
        samples, rate = soundfile.read(clips / name, dtype="float32", always_2d=True)
        found = {axis: score.item() for axis, score in scorer(torch.from_numpy(samples.T), rate).items()}
        assert found == pytest.approx(scorer(clips / name), abs=1e-5)


def test_batch_mates_and_their_order_move_no_score(scorer):
    random = torch.Generator().manual_seed(0)
    batch = [0.1 * torch.randn(size, generator=random) for size in (9000, 40000, 22050, 16000)]
    alone = torch.stack([scorer.score_waveforms([clip], 22050)[0] for clip in batch])
    assert torch.allclose(scorer.score_waveforms(batch, 22050), alone, atol=1e-5)
    assert torch.allclose(scorer.score_waveforms(batch[::-1], 22050), alone.flip(0), atol=1e-5)


def test_a_sample_s_gradient_is_its_share(means):
    waveform = torch.zeros(2, 250, requires_grad=True)
    means(waveform, 100)["MI"].backward()
    assert torch.allclose(waveform.grad, torch.full((2, 250), 0.5 / 250))


def test_the_gradient_goes_through_windows_and_resampling():
    torch.manual_seed(0)
    module = AQAModule(AXES, MelSpectrogram(width=8, depth=1, num_heads=1, window_seconds=0.2))
    for parameter in module.head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    scorer = Scorer(module, device="cpu", dtype="float64")
    waveform = (0.1 * torch.randn(2, 2, 4000, dtype=torch.float64)).requires_grad_()
    scores = scorer(waveform, 8000)
    scores["TA"].sum().backward()
    assert waveform.grad.shape == waveform.shape
    assert (waveform.grad.abs().sum(dim=2) > 0).all()
    direction = torch.randn_like(waveform)
    step = 3e-3  # the encoder gives its features in float32
    ahead, behind = (waveform.detach() + sign * step * direction for sign in (1, -1))
    slope = (scorer(ahead, 8000)["TA"].sum() - scorer(behind, 8000)["TA"].sum()) / (2 * step)
    assert (waveform.grad * direction).sum().item() == pytest.approx(slope.item(), rel=0.03)
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_without_a_gradient_wanted_none_is_kept(scorer):
    assert not scorer(torch.randn(8000), 16000)["MI"].requires_grad
    with torch.no_grad():
        assert not scorer(torch.randn(8000, requires_grad=True), 16000)["MI"].requires_grad


def test_bfloat16_stays_near_and_float64_nearer(checkpoint, clips):
    exact, wide, narrow = (
        lightning_aqa.load(checkpoint, device="cpu", dtype=dtype)(clips / "a.wav")
        for dtype in ("float32", "float64", "bfloat16")
    )
    assert wide == pytest.approx(exact, abs=1e-5)
    assert narrow == pytest.approx(exact, abs=0.05)
    assert narrow != exact


def test_axes_have_their_names_and_scales(scorer):
    assert [axis.name for axis in scorer.axes] == ["MI", "TA"]
    assert isinstance(scorer.axes[0], Axis)
    assert scorer.sample_rate == 16000


def test_what_cannot_be_scored_says_why(scorer, clips, tmp_path):
    with pytest.raises(ValueError, match=r"Tensors need their sample_rate"):
        scorer(torch.zeros(16000))
    with pytest.raises(ValueError, match=r"shape \(T,\) or \(C, T\), got \(1, 1, 1, 9\)"):
        scorer(torch.zeros(1, 1, 1, 9), 16000)
    with pytest.raises(ValueError, match=r"Samples of torch.int64 have no full scale; give floating point"):
        scorer(torch.zeros(9, dtype=torch.int64), 16000)
    with pytest.raises(ValueError, match=r"not finite"):
        scorer(torch.full((9000,), torch.nan), 16000)
    assert scorer([]) == [] == scorer([], sample_rate=16000)
    with pytest.raises(ValueError, match=r"A clip is 0.000 s long"):
        scorer(torch.zeros(0), 16000)
    with pytest.raises(ValueError, match=r"2 clips and 1 prompts"):
        scorer(torch.zeros(2, 1, 9000), 16000, prompts=["one"])
    with pytest.raises(AudioError, match=r"gone.wav: no such file"):
        scorer([clips / "a.wav", tmp_path / "gone.wav"])
    with pytest.raises(ValueError, match=r"Descriptors has no gradient to the waveform"):
        Scorer(AQAModule(AXES, Descriptors()), device="cpu")(torch.randn(8000, requires_grad=True), 16000)
    with pytest.raises(ValueError, match=r"dtype must be one of float32, bfloat16, float64, got int8"):
        Scorer(AQAModule(AXES), dtype="int8")


@pytest.mark.skipif(not cpu.is_available(torch.float32), reason="this torch has no packed products")
def test_scoring_packs_weights_and_a_plain_call_of_the_encoder_does_not(scorer, monkeypatch):
    used, kept, clip = [], cpu.product, torch.randn(1, scorer.sample_rate)
    monkeypatch.setattr(cpu, "product", lambda *given: used.append(1) or kept(*given))
    scorer.module.encoder(clip, torch.tensor([clip.shape[1]]))
    assert used == []
    scorer(clip, scorer.sample_rate)
    assert used


@pytest.mark.parametrize(
    "given",
    [{"resampler": "x"}, {"normalise": 1}, {"window_seconds": float("nan")}, {"window_seconds": True}, [1], "x"],
)
def test_a_damaged_config_beside_a_checkpoint_is_told(given):
    with pytest.raises(ValueError, match=r"of the run's config\.yaml is damaged"):
        _reading({"data": {"init_args": given}})
    assert _reading({"data": {"init_args": None}}) == {}
