"""Made-up speech: babble from glottal pulses, formants and hiss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightning_aqa.data.synthesis.signals import Waveform, add_at, band_pass, set_level

# First four formants, in Hz, of six vowels of an adult; a higher voice scales them up.
VOWELS = (
    (730, 1090, 2440, 3400),
    (530, 1840, 2480, 3500),
    (270, 2290, 3010, 3700),
    (570, 840, 2410, 3300),
    (300, 870, 2240, 3300),
    (490, 1350, 1690, 3300),
)
BANDWIDTHS = (70, 100, 150, 220)


@dataclass(frozen=True)
class Voice:
    """A person who talks.

    Args:
        pitch: Mean fundamental frequency, in Hz.
        pace: ``calm`` or ``quick``.
    """

    pitch: float
    pace: str

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Voice:
        """Draw a low or a high voice."""
        return cls(float(rng.choice((105.0, 200.0)) * rng.uniform(0.85, 1.2)), str(rng.choice(("calm", "quick"))))

    @property
    def layers(self) -> tuple[str, ...]:
        """Name the one layer of speech."""
        return ("speech",)

    @property
    def prompt(self) -> str:
        """Say who talks, and how fast."""
        return f"A {'low' if self.pitch < 150 else 'high'} voice speaking at a {self.pace} pace."

    def render(self, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
        """Talk, see ``speech``."""
        return speech(self, rng, seconds, sample_rate)


def speech(voice: Voice, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Babble: syllables of a fricative and a gliding vowel, in phrases that fall in pitch, with pauses between them.

    Args:
        voice: Who talks.
        rng: Decides the syllables.
        seconds: Length.
        sample_rate: In Hz.

    Returns:
        Waveform of shape ``(T,)``, level not set.
    """
    mix_T = np.zeros(round(seconds * sample_rate))
    time, step = rng.uniform(0.02, 0.12), {"calm": 0.24, "quick": 0.16}[voice.pace]
    while time < seconds:
        syllables = int(rng.integers(4, 9))
        for index in range(syllables):
            length = step * rng.uniform(0.7, 1.35)
            pitch = voice.pitch * (1.15 - 0.3 * index / syllables) * rng.uniform(0.95, 1.08)
            if rng.random() < 0.6:
                hiss_T = _fricative(rng, 0.35 * length, sample_rate)
                add_at(mix_T, hiss_T, round((time - 0.2 * length) * sample_rate))
            add_at(mix_T, _vowel(voice, pitch, rng, length, sample_rate), round(time * sample_rate))
            time += 0.95 * length
        time += rng.uniform(0.15, 0.4)
    return mix_T


def _vowel(voice: Voice, pitch: float, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Filter glottal pulses by two vowels and fade from one to the other, so that the formants glide."""
    fade_T = np.linspace(0, 1, round(seconds * sample_rate))
    pitch_T = pitch * (1 + 0.08 * np.sin(np.pi * fade_T)) * (1 + 0.01 * rng.normal())
    cycle_T = np.cumsum(pitch_T) / sample_rate % 1
    # Airflow rises until 0.4 of the cycle, falls until 0.6, and is shut for the rest; its slope excites the formants.
    flow_T = np.where(cycle_T < 0.4, 0.5 - 0.5 * np.cos(np.pi * cycle_T / 0.4), np.cos(np.pi * (cycle_T - 0.4) / 0.4))
    source_T = np.diff(np.where(cycle_T < 0.6, flow_T, 0.0), prepend=0.0) + 0.002 * rng.normal(size=len(fade_T))
    tract = 1.0 if voice.pitch < 150 else 1.15
    first, second = rng.choice(len(VOWELS), 2)
    glide_T = (1 - fade_T) * _formants(source_T, VOWELS[first], tract, sample_rate)
    glide_T += fade_T * _formants(source_T, VOWELS[second], tract, sample_rate)
    return set_level(glide_T, rng.uniform(-16, -12)) * np.sin(np.pi * fade_T) ** 0.6


def _formants(source: Waveform, formants: tuple[int, ...], tract: float, sample_rate: int) -> Waveform:
    """Pass a source through one resonator per formant that lies below the Nyquist frequency."""
    from scipy.signal import sosfilt

    sections = []
    for formant, bandwidth in zip(formants, BANDWIDTHS, strict=True):
        radius, angle = np.exp(-np.pi * bandwidth / sample_rate), 2 * np.pi * tract * formant / sample_rate
        if angle < 0.9 * np.pi:
            poles = (-2 * radius * np.cos(angle), radius**2)
            sections.append([1 + sum(poles), 0, 0, 1, *poles])
    return np.asarray(sosfilt(np.array(sections), source))


def _fricative(rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Make a hiss whose colour varies from consonant to consonant."""
    noise_T = rng.normal(size=round(seconds * sample_rate))
    low = rng.uniform(1800, 4000)
    return set_level(band_pass(noise_T, low, 2.2 * low, sample_rate), rng.uniform(-30, -24)) * np.hanning(len(noise_T))
