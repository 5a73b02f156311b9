"""The same recording in two files."""

import io

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.data.recordings import Recordings, fingerprint, matches

RATE = 16000


def sound(seed, seconds=2.5):
    """Make something like music: tones that begin and end, over noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    x = 0.002 * rng.standard_normal(len(t))
    for _ in range(14):
        start, length, pitch = rng.uniform(0, seconds), rng.uniform(0.1, 0.7), rng.uniform(200, 1900)
        x += 0.1 * np.sin(2 * np.pi * pitch * t) * (t > start) * np.exp(-np.maximum(t - start, 0) / length)
    return x.astype(np.float32)


def coded(x, format="MP3", subtype="MPEG_LAYER_III"):
    file = io.BytesIO()
    soundfile.write(file, x, RATE, format=format, subtype=subtype, compression_level=0.9)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


CHANGES = {
    "renamed": lambda x: x,
    "cut": lambda x: x[3200:],
    "longer": lambda x: np.concatenate([sound(99, 1.0), x, sound(98, 0.5)]),
    "resampled": lambda x: soxr.resample(soxr.resample(x, RATE, 22050), 22050, RATE),
    "quieter": lambda x: 0.3 * x,
    "mp3": coded,
    "vorbis": lambda x: coded(x, "OGG", "VORBIS"),
}


@pytest.fixture(scope="module")
def training():
    return [fingerprint(f"train/{seed}", sound(seed), RATE) for seed in range(40)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_planted_clip_is_found_ten_times_of_ten(training, change):
    planted = [fingerprint(f"test/{seed}", CHANGES[change](sound(seed)), RATE) for seed in range(10)]
    found = matches(planted, training)
    assert [(match.clip, match.other) for match in found] == [(f"test/{k}", f"train/{k}") for k in range(10)]
    assert {match.kind for match in found} == {"copy" if change == "renamed" else "version"}


def test_other_sounds_silence_and_short_clips_are_none(training):
    others = [fingerprint(str(seed), sound(seed), RATE) for seed in range(100, 160)]
    quiet = [fingerprint("silence", np.zeros(40000, np.float32), RATE), fingerprint("short", sound(3, 0.5), RATE)]
    assert matches([*others, *quiet], training) == []
    assert matches(others[:2], []) == []
    silent = Recordings([fingerprint("s", np.zeros(30000, np.float32), RATE)])
    assert silent.find(fingerprint("t", np.zeros(40000, np.float32), RATE)) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 12000), st.sampled_from([8000, 16000, 44100]), st.integers(0, 2**32 - 1))
def test_any_samples_have_a_fingerprint(length, rate, seed):
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    found = fingerprint("x", samples, rate)
    assert len(found.bits) == len(found.frames)
    assert Recordings([found]).find(found._replace(id="y")).kind == "copy"
