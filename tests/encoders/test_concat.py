import csv

import pytest
import torch
import yaml

from lightning_aqa.batch import Features
from lightning_aqa.cli.main import main
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.concat import Concat, nearest_layers, resample_clips
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.fingerprint import fingerprint
from lightning_aqa.encoders.melspectrogram import MelSpectrogram

NUM_SAMPLES = torch.tensor([1600, 700, 33, 1100])


class Means(Encoder):
    """The mean of each piece of the clip, plus 100 for each layer; with ``piece=None`` that of the whole clip."""

    def __init__(self, sample_rate=16000, width=1, num_layers=1, piece=400, text_width=None):
        super().__init__()
        self.sample_rate, self.width, self.num_layers, self.text_width = sample_rate, width, num_layers, text_width
        self.piece = piece

    def forward(self, waveform, num_samples, prompts=None):
        clips = [clip[:size] for clip, size in zip(waveform, num_samples.tolist(), strict=True)]
        frames = [torch.stack([piece.mean() for piece in clip.split(self.piece or len(clip))]) for clip in clips]
        frame_mask = torch.arange(max(map(len, frames))) < torch.tensor([len(row) for row in frames])[:, None]
        layers = torch.zeros(len(clips), self.num_layers, frame_mask.shape[1], self.width)
        for row, values in enumerate(frames):
            offsets = 100.0 * torch.arange(self.num_layers)
            layers[row, :, : len(values)] = (values + offsets[:, None])[..., None]
        if self.text_width is None or prompts is None:
            return Features(layers, frame_mask)
        text = torch.tensor([float(len(prompt)) for prompt in prompts])[:, None, None].expand(-1, 2, self.text_width)
        return Features(layers, frame_mask, text, torch.ones(len(prompts), 2, dtype=torch.bool))


def _clips(seed=0):
    waveform = 0.1 * torch.randn(4, 1600, generator=torch.Generator().manual_seed(seed))
    return waveform.masked_fill(torch.arange(1600) >= NUM_SAMPLES[:, None], 0.0), NUM_SAMPLES


def test_frames_layers_and_widths_are_worked_by_hand():
    fine, coarse = Means(piece=200, num_layers=5), Means(piece=400, num_layers=3, width=2)
    encoder = Concat([coarse, fine, Means(piece=None)])
    waveform = torch.arange(1000.0)[None]
    layers, mask, *_ = encoder(waveform, torch.tensor([1000]))
    assert layers.shape == (1, 5, 5, 4)
    assert mask.all()
    fine_frames = torch.tensor([99.5, 299.5, 499.5, 699.5, 899.5])
    coarse_frames = torch.tensor([199.5, 199.5, 599.5, 899.5, 899.5])  # of 3, nearest to the middle of each fifth
    depths = torch.tensor([0.0, 100.0, 100.0, 200.0, 200.0])  # of 3 layers, nearest to each quarter, halves up
    for column in (0, 1):
        assert torch.equal(layers[0, :, :, column], depths[:, None] + coarse_frames)
    assert torch.equal(layers[0, :, :, 2], 100.0 * torch.arange(5)[:, None] + fine_frames)
    assert torch.equal(layers[0, :, :, 3], torch.full((5, 5), 499.5))


def test_each_clip_has_the_frames_of_the_encoder_that_gives_it_most():
    class Constant(Means):
        """Always three frames, however short the clip is."""

        def forward(self, waveform, num_samples, prompts=None):
            return Features(torch.ones(len(waveform), 1, 3, 1), torch.ones(len(waveform), 3, dtype=torch.bool))

    layers, mask, *_ = Concat([Means(), Constant()])(*_clips())
    assert mask.sum(dim=1).tolist() == [4, 3, 3, 3]
    assert torch.equal(layers[:, 0, :, 1], mask.float())


def test_of_an_encoder_with_fewer_layers_every_layer_is_there_and_in_order():
    for many in range(1, 30):
        for few in range(1, many + 1):
            found = nearest_layers(few, many)
            assert found == sorted(found)
            assert set(found) == set(range(few))
        assert found == list(range(many))


def test_each_encoder_hears_a_tone_as_sampled_at_its_own_rate():
    heard = {}

    class Listener(Means):
        def forward(self, waveform, num_samples, prompts=None):
            heard[self.sample_rate] = waveform[0, : int(num_samples)]
            return super().forward(waveform, num_samples, prompts)

    def tone(rate):
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate // 2) / rate)

    Concat([Listener(rate) for rate in (16000, 24000, 44100)])(tone(44100)[None], torch.tensor([22050]))
    for rate in (16000, 24000, 44100):
        assert len(heard[rate]) == rate // 2
        inside = slice(rate // 100, -rate // 100)  # the filter reaches beyond both ends, where there is silence
        torch.testing.assert_close(heard[rate][inside], tone(rate)[inside], atol=2e-3, rtol=0)
    assert torch.equal(heard[44100], tone(44100))


def test_padding_does_not_reach_the_resampled_clip():
    waveform, num_samples = _clips()
    padding = torch.arange(1600) >= num_samples[:, None]
    together, sizes = resample_clips(waveform.masked_fill(padding, torch.nan), num_samples, 16000, 11025)
    for row, length in enumerate(num_samples.tolist()):
        alone, size = resample_clips(waveform[row : row + 1, :length], num_samples[row : row + 1], 16000, 11025)
        assert size.item() == sizes[row] == alone.shape[1] == -(-length * 11025 // 16000)
        torch.testing.assert_close(together[row, : int(size)], alone[0], atol=1e-6, rtol=0)


def test_one_encoder_alone_is_as_without_concat():
    encoder = MelSpectrogram(width=16, depth=2).eval()
    clips = torch.randn(2, 16000), torch.tensor([16000, 5000])
    expected, found = encoder(*clips), Concat([encoder])(*clips)
    assert torch.equal(found.frame_mask, expected.frame_mask)
    assert torch.equal(found.layers, expected.layers)


def test_sizes_and_needs_are_those_of_the_most_demanding():
    one, other = Means(8000, width=3, num_layers=2), Means(24000, width=4, num_layers=5)
    one.window_seconds, one.min_seconds = 10.0, 0.2
    other.min_seconds, other.min_tail_seconds = 0.1, 3.0
    third = Means(16000)
    third.window_seconds = 5.0
    encoder = Concat([one, other, third])
    assert (encoder.sample_rate, encoder.width, encoder.num_layers, encoder.text_width) == (24000, 8, 5, None)
    assert (encoder.window_seconds, encoder.min_seconds, encoder.min_tail_seconds) == (5.0, 0.2, 3.0)
    assert Concat([other]).window_seconds is None


def test_the_one_text_side_is_passed_on():
    encoder = Concat([Means(), Means(8000, width=0, text_width=3)])
    assert (encoder.width, encoder.text_width) == (1, 3)
    text, text_mask = encoder(*_clips(), ["", "a", "ab", "abc"])[2:]
    assert text[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert text_mask.shape == (4, 2)
    assert encoder(*_clips()).text is None


def test_two_text_sides_are_refused():
    with pytest.raises(ValueError, match="from one encoder, and Means and Means have a text side; leave one out"):
        Concat([Means(text_width=3), Means(), Means(text_width=3)])


def test_no_encoder_is_refused():
    with pytest.raises(ValueError, match="at least one encoder, got none"):
        Concat([])


def test_gradients_reach_each_encoder_and_the_waveform():
    encoder = Concat([MelSpectrogram(16000, width=16, depth=1), MelSpectrogram(8000, width=8, depth=2)])
    waveform = torch.randn(2, 8000, requires_grad=True)
    layers = encoder(waveform, torch.tensor([8000, 4000])).layers
    (layers * torch.randn_like(layers)).sum().backward()
    assert all(parameter.grad.any() for parameter in encoder.parameters())
    assert waveform.grad[1, :4000].any()
    assert not waveform.grad[1, 4000:].any()


def test_the_key_of_cached_features_knows_what_is_inside():
    def key(*encoders):
        return fingerprint(Concat(encoders))

    assert key(Descriptors(8000), Descriptors()) == key(Descriptors(8000), Descriptors())
    others = [key(Descriptors(), Descriptors(8000)), key(Descriptors(8000)), key(Descriptors(8000), Descriptors(22050))]
    assert len({key(Descriptors(8000), Descriptors()), *others}) == 4


def test_the_key_of_cached_features_knows_the_version_of_each_encoder(monkeypatch):
    before = fingerprint(Concat([Descriptors(), Means()]))
    monkeypatch.setattr(Descriptors, "features_version", 2)
    assert fingerprint(Concat([Descriptors(), Means()])) != before
    assert fingerprint(Means()) == fingerprint(Means())


CONFIG = """
model:
  encoder:
    class_path: Concat
    init_args:
      encoders:
        - class_path: MelSpectrogram
          init_args: {sample_rate: 8000, width: 8, depth: 1}
        - class_path: lightning_aqa.encoders.descriptors.Descriptors
          init_args: {num_mels: 20, num_mfcc: 8}
        - class_path: Descriptors
"""


def _rows(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def words(corpora, tmp_path):
    (tmp_path / "concat.yaml").write_text(CONFIG)
    data = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.batch_size=8"]
    return [*data, "--config", str(tmp_path / "concat.yaml")]


def test_a_config_names_the_encoders_by_short_names_and_the_run_is_evaluated_again(fit, words, tmp_path):
    folder = fit(*words, "--model.head=AESANet", "--model.head.lstm_width=8")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    parts = config["model"]["encoder"]["init_args"]["encoders"]
    assert [part["class_path"].rsplit(".", 1)[-1] for part in parts] == ["MelSpectrogram", "Descriptors", "Descriptors"]
    assert parts[0]["init_args"]["sample_rate"] == 8000
    again = [*words[:3], f"--ckpt_path={folder / 'checkpoints' / 'best.ckpt'}"]
    assert main(["test", *again, f"--trainer.default_root_dir={tmp_path}", "--name=again"]) == 0
    assert _rows(tmp_path / "again") == _rows(folder)


def test_the_command_line_takes_the_encoders_as_a_list(fit, words):
    encoders = "[{class_path: Descriptors, init_args: {sample_rate: 8000}}, {class_path: Descriptors}]"
    folder = fit(*words[:3], "--model.encoder=Concat", f"--model.encoder.encoders={encoders}")
    rows = _rows(folder)
    assert len(rows) == 60
    assert all(row["score"] for row in rows)


def test_a_misspelt_encoder_in_the_list_is_told_the_nearest(fails, words):
    said = fails("fit", *words[:3], "--model.encoder=Concat", "--model.encoder.encoders=[{class_path: Descriptor}]")
    assert "Did you mean 'Descriptors'?" in said


@pytest.mark.slow
def test_a_frozen_concat_trains_the_same_head_from_the_cache(fit, words, tmp_path):
    frozen = [*words, "--model.freeze=all"]
    live = fit(*frozen, name="live")
    cached = fit(*frozen, f"--data.cache={tmp_path / 'cache'}", name="cached")
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 30
    assert [row["id"] for row in _rows(live)] == [row["id"] for row in _rows(cached)]
    scores = ([float(row["score"]) for row in _rows(folder)] for folder in (live, cached))
    torch.testing.assert_close(*map(torch.tensor, scores), atol=1e-4, rtol=0)
