"""The rules of notes on signals as a file holds them, and what counts as training."""

import numpy as np
import pytest

from lightning_aqa.batch import Axis
from lightning_aqa.data.signal import Meter
from lightning_aqa.results.notes import Expected, Training, clipped_to_scale, note_of

RATE = 16000
TIME = np.arange(2 * RATE) / RATE
TONE = 0.2 * np.sin(2 * np.pi * 440 * TIME)
NOISE = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
AXES = [Axis("MI", "Musical impression", 1.0, 5.0), Axis("TA", "Textual alignment", 1.0, 5.0)]
TRAINING = Training(lowest=-30.0, highest=-15.0, shortest=1.5)


def _signal(*channels):
    meter = Meter(RATE)
    samples = np.stack(channels, axis=1).astype(np.float32)
    for first in range(0, len(samples), 5000):
        meter.add(samples[first : first + 5000])
    return meter.signal()


def _note(*channels, scores=(3.0, 3.0), **expected):
    return note_of(_signal(*channels), scores, Expected(AXES, **({"training": TRAINING} | expected)))


SAID = {
    "silence": ([np.zeros(RATE)], "silence"),
    "dither": ([np.random.default_rng(1).integers(-1, 2, RATE) / 2**15], "silence"),
    "constant": ([np.full(RATE, 0.3)], "constant"),
    "nearly constant": ([0.3 + 1e-4 * NOISE], "constant"),
    "out of phase": ([TONE, -TONE], "channels out of phase: they cancel each other in mono"),
    "nearly out of phase": ([NOISE, -0.9 * NOISE], "channels out of phase: they cancel each other in mono"),
    "clipped": ([np.clip(20 * TONE, -1, 1)], "clipped"),
    "clipped at half": ([np.clip(5 * NOISE, -0.3, 0.3)], "clipped"),
    "clipped in one channel": ([np.clip(5 * NOISE, -0.5, 0.5), NOISE], "clipped"),
    "loud": ([10 * TONE], "18 dB louder than in training"),
    "quiet": ([0.01 * TONE], "27 dB quieter than in training"),
    "mostly silent": ([np.concatenate([NOISE, np.zeros(4 * RATE)])], "67% of it is silence"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_likely_nonsense_is_said(name):
    channels, said = SAID[name]
    assert said in _note(*channels).split("; ")


@pytest.mark.parametrize(
    "channels",
    [[TONE], [NOISE], [TONE, np.roll(TONE, 9)], [NOISE, np.roll(NOISE, 99)], [5 * TONE * 0.99],
     [np.round(TONE * 127) / 128], [np.clip(3.5 * NOISE, -1, 1)], [np.concatenate([NOISE, np.zeros(RATE)])],
     [NOISE, np.zeros_like(NOISE)]],
)  # fmt: skip
def test_usual_signals_have_no_note(channels):
    assert _note(*channels) == ""


def test_what_is_not_known_is_not_said():
    assert _note(0.001 * TONE, training=None) == ""
    assert _note(10 * TONE, training=None) == ""
    assert _note(50 * TONE, training=None) == "peaks at 10 times full scale"
    assert _note(0.001 * TONE, is_level_kept=False) == ""
    assert note_of(None, [3.0, 0.5], Expected(AXES)) == "TA is outside of 1 to 5"


def test_lengths_are_compared_with_what_the_model_takes_and_had():
    assert _note(TONE[:RATE], min_seconds=3.0) == "shorter than 3 s"
    assert _note(TONE, min_seconds=3.0) == ""  # as long as the clips of training
    assert _note(TONE[:RATE], padded_seconds=10.0) == "90% of what the model hears is padding"
    assert _note(TONE, padded_seconds=10.0) == ""
    assert _note(TONE, padded_seconds=10.0, training=None) == "80% of what the model hears is padding"


def test_scores_outside_of_their_scale_are_said_and_clipped_when_asked():
    assert _note(TONE, scores=(5.01, 3.0)) == "MI is outside of 1 to 5"
    assert clipped_to_scale([5.01, 0.9], AXES) == (5.0, 1.0)


def test_training_is_the_range_of_what_sounds_without_its_extremes():
    signals = [_signal(10 ** (-level / 20) * NOISE) for level in range(100)]
    found = Training.of([*signals, _signal(np.zeros(RATE))])
    loudest = signals[0].level
    assert found == pytest.approx((loudest - 59, loudest, 2.0), abs=1.2)  # what is below -80 dB is silence
    assert Training.of([_signal(np.zeros(RATE))]) is None
    assert Training.read(found._asdict()) == found
    assert Training.read({}) is Training.read(None) is None
