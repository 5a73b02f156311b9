import numpy as np
import pytest
import soundfile
import torch

from lightning_aqa.data.audio import AudioError, read_audio
from lightning_aqa.data.folder import Folder


@pytest.fixture
def noise(tmp_path):
    def write(rate, seconds=1.0, num_channels=1):
        samples = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), num_channels)).astype(np.float32)
        soundfile.write(tmp_path / "noise.wav", samples, rate, subtype="FLOAT")
        return tmp_path / "noise.wav", samples

    return write


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_sinc_is_the_resampler_of_torchaudio_on_the_mean_of_the_channels(noise, rate):
    from torchaudio.functional import resample

    path, samples = noise(rate, num_channels=2)
    expected = resample(torch.from_numpy(samples.mean(axis=1)), rate, 16000)
    torch.testing.assert_close(torch.from_numpy(read_audio(path, 16000, resampler="sinc")), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_parts_read_by_sinc_are_pieces_of_the_resampled_file(noise, rate):
    path, _ = noise(rate, seconds=1.01)
    whole = read_audio(path, 16000, resampler="sinc")
    parts = [read_audio(path, 16000, start, start + 0.4, "sinc") for start in (0.0, 0.4, 0.8)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_soxr_is_the_default_and_sees_the_part_alone(noise):
    import soxr

    path, samples = noise(8000)
    expected = soxr.resample(samples[4000:, 0], 8000, 16000)
    np.testing.assert_array_equal(read_audio(path, 16000, 0.5), expected)


@pytest.mark.parametrize("resampler", ["soxr", "sinc"])
def test_a_file_at_the_rate_is_not_touched(noise, resampler):
    path, samples = noise(16000)
    np.testing.assert_array_equal(read_audio(path, 16000, 0.25, 0.5, resampler), samples[4000:8000, 0])


@pytest.mark.parametrize("resampler", ["soxr", "sinc"])
def test_a_part_after_the_end_is_refused(noise, resampler):
    path, _ = noise(8000)
    with pytest.raises(AudioError, match="no audio between 2 s and 3 s"):
        read_audio(path, 16000, 2.0, 3.0, resampler)


def test_a_datamodule_reads_by_the_resampler_it_is_told(noise):
    path, _ = noise(8000)
    for resampler in ("soxr", "sinc"):
        data = Folder(root=str(path.parent), resampler=resampler)
        data.prepare(16000)
        data.check_clips(data.manifest)
        batch = next(iter(data.predict_dataloader()))
        expected = read_audio(path, 16000, resampler=resampler)
        np.testing.assert_array_equal(batch.waveform[0].numpy(), expected)
