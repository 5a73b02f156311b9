"""Small pieces of made-up music: chords, bass, melody and drums from a few additive instruments. Needs numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lightning_aqa.data.synthesis.signals import Waveform, add_at


class Instrument(NamedTuple):
    """An additive instrument: a set of partials under one envelope.

    Args:
        ratios: Frequency of each partial, in multiples of the note's.
        gains: Amplitude of each partial.
        attack: Time to full level, in seconds.
        decay: Time constant of the fall, in seconds; upper partials fall faster.
        vibrato: Peak deviation of the frequency, as a fraction.
        breath: Amplitude of the noise under the tone.
    """

    ratios: tuple[float, ...]
    gains: tuple[float, ...]
    attack: float
    decay: float
    vibrato: float = 0.0
    breath: float = 0.0


INSTRUMENTS = {
    "piano": Instrument((1, 2.001, 3.004, 4.01, 5.02, 6.03), (1, 0.6, 0.35, 0.22, 0.12, 0.08), 0.004, 0.7),
    "guitar": Instrument((1, 2, 3, 4, 5, 6, 7), (0.8, 1, 0.5, 0.6, 0.2, 0.3, 0.15), 0.002, 0.35),
    "organ": Instrument((0.5, 1, 2, 3, 4, 8), (0.4, 1, 0.6, 0.25, 0.4, 0.15), 0.02, 30.0),
    "strings": Instrument((1, 2, 3, 4, 5, 6, 7, 8), (1, 0.5, 0.33, 0.25, 0.2, 0.17, 0.14, 0.12), 0.09, 30.0, 0.004),
    "flute": Instrument((1, 2, 3), (1, 0.25, 0.08), 0.05, 30.0, 0.006, 0.05),
    "bells": Instrument((0.5, 1, 1.183, 1.506, 2, 2.514, 2.662), (0.3, 1, 0.5, 0.4, 0.5, 0.25, 0.2), 0.001, 1.2),
}
BASS = Instrument((1, 2, 3, 4), (1, 0.5, 0.2, 0.08), 0.006, 0.5)
VOICE = Instrument((1, 2, 3, 4, 5, 6, 8, 10), (0.6, 1, 0.8, 0.25, 0.15, 0.3, 0.2, 0.1), 0.06, 30.0, 0.012, 0.03)
TEMPOS = {"slow": 72.0, "mid-tempo": 104.0, "fast": 148.0}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Scale degrees of the chord on each half bar.
PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (0, 2, 5, 4))
LAYERS = ("drums", "bass", "chords", "melody")


@dataclass(frozen=True)
class Tune:
    """What is played: enough to write a prompt and, with a generator for the details, to play it.

    Args:
        layers: Parts that play, of ``drums``, ``bass``, ``chords``, ``melody`` and ``vocals``.
        lead: Instrument of chords and melody, a key of ``INSTRUMENTS``.
        tempo: ``slow``, ``mid-tempo`` or ``fast``.
        mode: ``major`` or ``minor``.
        root: MIDI number of the tonic.
    """

    layers: tuple[str, ...]
    lead: str
    tempo: str
    mode: str
    root: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tune:
        """Draw a tune: a melody and up to three more parts."""
        extra = rng.permutation(LAYERS[:-1])[: rng.integers(0, len(LAYERS))].tolist()
        return cls(
            layers=tuple(layer for layer in LAYERS if layer in extra or layer == "melody"),
            lead=str(rng.choice(list(INSTRUMENTS))),
            tempo=str(rng.choice(list(TEMPOS))),
            mode=str(rng.choice(list(SCALES))),
            root=int(rng.integers(53, 65)),
        )

    def draw_other(self, rng: np.random.Generator) -> Tune:
        """Draw a tune of another instrument and tempo, with the same number of parts."""
        return Tune(
            layers=self.layers,
            lead=str(rng.choice([lead for lead in INSTRUMENTS if lead != self.lead])),
            tempo=str(rng.choice([tempo for tempo in TEMPOS if tempo != self.tempo])),
            mode=str(rng.choice(list(SCALES))),
            root=int(rng.integers(53, 65)),
        )

    @property
    def prompt(self) -> str:
        """Say what is played.

        Example:
            >>> Tune(("drums", "melody"), "piano", "slow", "minor", 57).prompt
            'A slow piano piece in a minor key with drums and melody.'
        """
        *others, last = self.layers
        parts = f"with {', '.join(others)} and {last}" if others else f"for {last} alone"
        return f"A {self.tempo} {self.lead} piece in a {self.mode} key {parts}."

    def render(self, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
        """Play the tune, see ``play``."""
        return play(self, rng, seconds, sample_rate)


def play(tune: Tune, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Play every part of a tune and mix them.

    Args:
        tune: What to play.
        rng: Decides chords, melody and small deviations of time and loudness.
        seconds: Length.
        sample_rate: In Hz.

    Returns:
        Waveform of shape ``(T,)``, level not set.
    """
    mix_T = np.zeros(round(seconds * sample_rate))
    beat = 60.0 / TEMPOS[tune.tempo]
    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    for half_bar, start in enumerate(np.arange(0.0, seconds, 2 * beat)):
        degree = progression[half_bar % len(progression)]
        for layer in tune.layers:
            for offset, sound in _PARTS[layer](tune, degree, beat, rng, sample_rate):
                add_at(mix_T, sound, round((start + offset + rng.normal(0, 0.004)) * sample_rate))
    return mix_T


def note(
    frequency: float, seconds: float, sample_rate: int, instrument: Instrument, rng: np.random.Generator
) -> Waveform:
    """Play one note.

    Args:
        frequency: In Hz; partials above 45 % of the sample rate are left out.
        seconds: Length, release of 40 ms included.
        sample_rate: In Hz.
        instrument: What plays it.
        rng: Decides the phases and the breath.

    Returns:
        Waveform of shape ``(T,)``.
    """
    time_T = np.arange(round(seconds * sample_rate)) / sample_rate
    rate = 2 * np.pi * 5.5
    phase_T = 2 * np.pi * frequency * (time_T + instrument.vibrato / rate * np.sin(rate * time_T))
    fall_T, faster_T = np.exp(-time_T / instrument.decay), np.exp(-0.4 * time_T / instrument.decay)
    tone_T = instrument.breath * rng.normal(size=len(time_T))
    for ratio, gain in zip(instrument.ratios, instrument.gains, strict=True):
        if frequency * ratio < 0.45 * sample_rate:
            tone_T += gain * fall_T * np.sin(ratio * phase_T + rng.uniform(0, 2 * np.pi))
        fall_T = fall_T * faster_T
    tone_T *= np.minimum(1, time_T / instrument.attack) * np.minimum(1, (time_T[-1] - time_T) / 0.04)
    return tone_T


def _pitch(tune: Tune, step: int) -> float:
    """Give the frequency, in Hz, of a step of the scale; step 0 is the tonic, 7 its octave."""
    octave, degree = divmod(step, 7)
    return float(440.0 * 2 ** ((tune.root + 12 * octave + SCALES[tune.mode][degree] - 69) / 12))


Sounds = list[tuple[float, Waveform]]


def _chords(tune: Tune, degree: int, beat: float, rng: np.random.Generator, sample_rate: int) -> Sounds:
    """Play a triad for half a bar."""
    instrument, level = INSTRUMENTS[tune.lead], 0.25 * rng.uniform(0.8, 1)
    pitches = [_pitch(tune, degree + third) for third in (0, 2, 4)]
    return [(0.0, level * note(pitch, 2 * beat, sample_rate, instrument, rng)) for pitch in pitches]


def _bass(tune: Tune, degree: int, beat: float, rng: np.random.Generator, sample_rate: int) -> Sounds:
    """Play the root of the chord on both beats."""
    pitch = _pitch(tune, degree - 14 if degree else -7)
    return [(at * beat, 0.6 * note(pitch, beat, sample_rate, BASS, rng)) for at in (0, 1)]


def _melody(tune: Tune, degree: int, beat: float, rng: np.random.Generator, sample_rate: int) -> Sounds:
    """Play chord tones on the beats and neighbours between them."""
    return _line(tune, INSTRUMENTS[tune.lead], degree, beat, rng, sample_rate)


def _vocals(tune: Tune, degree: int, beat: float, rng: np.random.Generator, sample_rate: int) -> Sounds:
    """Sing the melody."""
    return _line(tune, VOICE, degree, beat, rng, sample_rate)


def _line(
    tune: Tune, instrument: Instrument, degree: int, beat: float, rng: np.random.Generator, sample_rate: int
) -> Sounds:
    sounds = []
    for at in (0.0, 1.0):
        step = 7 + degree + int(rng.choice((0, 2, 4)))
        parts = int(rng.integers(1, 3))
        for part in range(parts):
            pitch = _pitch(tune, step + part * int(rng.choice((-1, 1))))
            sound = rng.uniform(0.4, 0.6) * note(pitch, beat / parts, sample_rate, instrument, rng)
            sounds.append(((at + part / parts) * beat, sound))
    return sounds


def _drums(tune: Tune, degree: int, beat: float, rng: np.random.Generator, sample_rate: int) -> Sounds:
    """Play kick, snare, and a hi-hat on the eighths."""
    time_T = np.arange(round(0.25 * sample_rate)) / sample_rate
    kick_T = np.sin(2 * np.pi * (50 * time_T - 4.5 * np.exp(-time_T / 0.03))) * np.exp(-time_T / 0.08)
    noise_T = rng.normal(size=len(time_T))
    snare_T = (0.35 * noise_T + 0.5 * np.sin(2 * np.pi * 190 * time_T)) * np.exp(-time_T / 0.06)
    # The second difference of noise has little below a quarter of the sample rate: a hi-hat.
    hat_T = 0.12 * np.diff(noise_T, 2, prepend=[0.0, 0.0]) * np.exp(-time_T / 0.02)
    return [(0.0, 0.9 * kick_T), (beat, 0.7 * snare_T), *((at * beat, hat_T) for at in (0, 0.5, 1, 1.5))]


_PARTS = {"drums": _drums, "bass": _bass, "chords": _chords, "melody": _melody, "vocals": _vocals}
