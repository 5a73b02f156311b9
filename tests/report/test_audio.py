"""Sound and spectrogram in the page: what is lossless is, what is cut says so, a tone lies where it sounds."""

import base64
import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from lightning_aqa.data.audio import AudioError
from lightning_aqa.report.audio import encode, read_media, spectrogram


def _tone(rate, seconds, hz=440.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def _decoded(uri):
    return soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_a_short_clip_is_lossless(tmp_path):
    tone = _tone(8000, 0.5)
    soundfile.write(tmp_path / "a.wav", tone, 8000)
    media = read_media(tmp_path / "a.wav", 0.0, None, 10.0, 100_000)
    samples, rate = _decoded(media.sound)
    assert rate == 8000
    assert np.abs(samples - tone).max() <= 1 / 32768
    assert (media.is_lossless, media.is_cut, media.seconds, media.top_hz) == (True, False, 0.5, 4000)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_what_is_too_large_for_flac_is_an_mp3_of_about_the_same_sound(rate):
    tone = _tone(rate, 1.0, hz=1000)
    content, mime = encode(tone, rate, max_bytes=100)
    assert mime == "audio/mpeg"
    samples, new_rate = soundfile.read(io.BytesIO(content))
    assert new_rate == min(rate, 48000)
    peak = np.abs(np.fft.rfft(samples[: new_rate // 2])).argmax() * 2
    assert abs(peak - 1000) <= 2


def test_a_part_of_a_stereo_file_is_taken_and_cut(tmp_path):
    stereo = np.stack([_tone(8000, 3.0), np.zeros(24000, np.float32)], axis=1)
    soundfile.write(tmp_path / "a.flac", stereo, 8000)
    media = read_media(tmp_path / "a.flac", 1.0, 2.5, 1.0, 100_000)
    samples, _ = _decoded(media.sound)
    assert (len(samples), media.is_cut) == (8000, True)
    assert np.abs(samples - stereo[8000:16000].mean(1)).max() <= 2 / 32768


def test_the_spectrogram_is_dark_where_a_tone_is():
    content, top_hz = spectrogram(_tone(16000, 2.0, hz=1000), 16000)
    grey = np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(float)
    assert grey.shape == (96, 480)
    assert top_hz == 8000
    dark = grey[:, 100:380].mean(1).argmin()
    mel = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700))
    assert abs(dark - (1 - mel) * 96) < 8
    assert grey[dark].mean() < 60
    assert grey[:20].mean() > 200


@pytest.mark.parametrize("samples", [np.zeros(100, np.float32), np.zeros(8000, np.float32)])
def test_silence_and_very_short_clips_are_drawn(samples):
    content, _ = spectrogram(samples, 8000)
    assert Image.open(io.BytesIO(content)).size == (480, 96)


def test_a_file_that_is_gone_is_told(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        read_media(tmp_path / "gone.wav", 0.0, None, 1.0, 1)
