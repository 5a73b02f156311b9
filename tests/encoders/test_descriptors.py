import numpy as np
import pytest
import torch

from lightning_aqa.encoders.descriptors import Descriptors, descriptors

SIZES = {"num_mels": 80, "num_mfcc": 20, "frame_length": 1024, "hop_length": 512}


def _tone(frequency_hz: float, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    time = np.arange(round(16000 * seconds)) / 16000
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def test_level_and_zero_crossings_of_a_tone_are_those_of_the_formula():
    # A sine of amplitude .5 has a mean square of 1/8, so -.903 bel, and crosses zero twice per period.
    frames = descriptors(_tone(1000.0), 16000, **SIZES)[4:-4]
    np.testing.assert_allclose(frames[:, -1], np.log10(1 / 8), atol=1e-3)
    np.testing.assert_allclose(frames[:, -2], 2 * 1000 / 16000, atol=2e-3)


def test_loudest_mel_band_is_that_of_the_tone():
    from librosa import mel_frequencies

    band = descriptors(_tone(2000.0), 16000, **SIZES)[16, :80].argmax()
    assert abs(mel_frequencies(82, fmax=8000.0)[1:-1] - 2000.0).argmin() == band


def test_ten_times_the_amplitude_adds_two_bel_and_leaves_the_shape():
    noise = np.random.default_rng(0).normal(0, 0.05, 16000).astype(np.float32)
    change = descriptors(10 * noise, 16000, **SIZES) - descriptors(noise, 16000, **SIZES)
    np.testing.assert_allclose(change[:, :80], 2.0, atol=1e-3)
    np.testing.assert_allclose(change[:, -1], 2.0, atol=1e-3)
    np.testing.assert_allclose(change[:, 81:-1], 0.0, atol=1e-3)


def test_flatness_tells_noise_from_a_tone():
    noise = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    assert descriptors(noise, 16000, **SIZES)[4:-4, -3].min() > -1
    assert descriptors(_tone(1000.0), 16000, **SIZES)[4:-4, -3].max() < -2


def test_mfcc_are_the_cosine_transform_of_the_log_mel_bands():
    from scipy.fft import dct

    frames = descriptors(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000, **SIZES)
    np.testing.assert_allclose(frames[:, 80:100], dct(frames[:, :80], norm="ortho")[:, :20], atol=1e-4)


def test_deltas_of_a_swelling_tone_are_its_slope():
    # 2 bel per second are .064 bel per hop of 32 ms in every band, sqrt(80) times that in the first coefficient.
    time = np.arange(2 * 16000) / 16000
    noise = np.random.default_rng(0).normal(0, 1, time.size)
    swelling = (1e-3 * 10**time * noise).astype(np.float32)
    deltas = descriptors(swelling, 16000, **SIZES)[8:-8, 100]
    np.testing.assert_allclose(deltas.mean(), 0.064 * np.sqrt(80), rtol=0.02)


@pytest.mark.parametrize("num_samples", [1, 511, 512, 800, 1024, 4 * 512])
def test_short_clips_give_one_frame_per_hop_begun(num_samples):
    frames = descriptors(0.1 * np.ones(num_samples, dtype=np.float32), 16000, **SIZES)
    assert frames.shape == (1 + num_samples // 512, 143)
    assert np.isfinite(frames).all()


def test_there_is_nothing_to_train_and_nothing_to_store():
    encoder = Descriptors()
    assert list(encoder.parameters()) == []
    assert encoder.state_dict() == {}
    assert encoder.window_seconds is None


def test_a_clip_is_encoded_bit_for_bit_alike_in_any_batch():
    waveform, num_samples = torch.randn(3, 8000), torch.tensor([8000, 300, 5000])
    together = Descriptors()(waveform, num_samples)
    alone = Descriptors()(waveform[2:, :5000], num_samples[2:])
    assert torch.equal(together.layers[2, :, :10], alone.layers[0])


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="num_mfcc must be between 1 and num_mels = 10, got 11"):
        Descriptors(num_mels=10, num_mfcc=11)
    with pytest.raises(ValueError, match="at least one sample"):
        Descriptors(hop_seconds=0.0)
