import pytest
import torch

from lightning_aqa.encoders.melspectrogram import SCALE_DB, SHIFT_DB, MelSpectrogram, prefix_mask, sinusoids


def _encoder(**options: object) -> MelSpectrogram:
    torch.manual_seed(0)
    return MelSpectrogram(width=32, depth=2, **options).eval()


def test_frames_are_four_hops_long():
    # 1 s in hops of 10 ms has 101 spectra, halved twice and rounded up: 51, then 26.
    features = _encoder()(torch.zeros(1, 16000), torch.tensor([16000]))
    assert features.layers.shape == (1, 3, 26, 32)


def test_log_mel_matches_librosa_up_to_the_stated_constants():
    import librosa

    waveform = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    encoder = _encoder()
    found, _ = encoder.mel(waveform, torch.tensor([16000]))
    power = librosa.feature.melspectrogram(
        y=waveform[0].numpy(), sr=16000, n_fft=512, hop_length=160, n_mels=80, norm=None, pad_mode="constant"
    )
    expected = torch.from_numpy(librosa.power_to_db(power, amin=1e-6, top_db=None))
    torch.testing.assert_close(found[0] * SCALE_DB + SHIFT_DB, expected, atol=1e-2, rtol=0)


def test_sinusoids_of_two_distances_depend_on_their_difference_alone():
    positions = sinusoids(50, 16)
    products = positions @ positions.T
    torch.testing.assert_close(products[:-5, :-5], products[5:, 5:], atol=1e-4, rtol=0)


def test_prefix_mask_counts_back_to_the_lengths():
    lengths = torch.tensor([0, 2, 5])
    assert torch.equal(prefix_mask(lengths, 5).sum(dim=1), lengths)


@pytest.mark.parametrize("kind", ["transformer", "conv"])
def test_layers_are_normalised_frame_by_frame(kind):
    features = _encoder(kind=kind)(torch.randn(2, 8000), torch.tensor([8000, 8000]))
    torch.testing.assert_close(features.layers.mean(dim=-1), torch.zeros(2, 3, 13), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.layers.std(dim=-1, correction=0), torch.ones(2, 3, 13), atol=1e-2, rtol=0)


def test_order_of_events_matters_to_the_transformer():
    waveform = torch.cat([torch.zeros(1, 8000), torch.randn(1, 8000)], dim=1)
    encoder, length = _encoder(), torch.tensor([16000])
    forward, backward = (encoder(audio, length).layers[:, -1].mean(dim=1) for audio in (waveform, waveform.flip(1)))
    assert (forward - backward).abs().max() > 1e-3


def test_dropout_is_off_in_evaluation_alone():
    encoder, clip = _encoder(), (torch.randn(1, 8000), torch.tensor([8000]))
    assert torch.equal(encoder(*clip).layers, encoder(*clip).layers)
    encoder.train()
    assert not torch.equal(encoder(*clip).layers, encoder(*clip).layers)


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="multiple of num_heads = 4, got 30"):
        MelSpectrogram(width=30)
    with pytest.raises(ValueError, match="kernel_size must be odd, got 8"):
        MelSpectrogram(kernel_size=8)
