"""Made-up everyday sounds, and the one door to all three domains: music is in ``tunes.py``, speech in ``voices.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lightning_aqa.data.synthesis.signals import Waveform, add_at, band_pass, set_level
from lightning_aqa.data.synthesis.tunes import Tune
from lightning_aqa.data.synthesis.voices import Voice


class Scene(Protocol):
    """What can be heard in a clip: it can be put in words, and rendered."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Name what sounds at the same time."""

    @property
    def prompt(self) -> str:
        """Say in a sentence what is heard."""

    def render(self, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
        """Make the waveform, shape ``(T,)``."""


@dataclass(frozen=True)
class Ambience:
    """Everyday sounds, one to three at a time.

    Args:
        layers: Names of the sounds, keys of ``SOUNDS``.
    """

    layers: tuple[str, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Ambience:
        """Draw one to three sounds."""
        return cls(tuple(rng.permutation(list(SOUNDS))[: rng.integers(1, 4)].tolist()))

    @property
    def prompt(self) -> str:
        """Name the sounds."""
        return f"The sound of {' and '.join(self.layers)}."

    def render(self, rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
        """Sum the layers, each at a level of its own."""
        mix_T = np.zeros(round(seconds * sample_rate))
        for name in self.layers:
            mix_T += set_level(SOUNDS[name](rng, seconds, sample_rate), rng.uniform(-28, -22))
        return mix_T


def draw_scene(domain: str, rng: np.random.Generator) -> Scene:
    """Draw what is heard in a clip of ``music``, ``speech`` or ``sound``."""
    kinds: dict[str, type[Tune] | type[Voice] | type[Ambience]] = {"music": Tune, "speech": Voice, "sound": Ambience}
    return kinds[domain].draw(rng)


def _drift(rng: np.random.Generator, seconds: float, sample_rate: int, per_second: float) -> Waveform:
    """Make a curve that wanders between 0 and 1 with so many turns per second."""
    num_samples = round(seconds * sample_rate)
    turns = rng.uniform(0, 1, int(seconds * per_second) + 3)
    return np.interp(np.linspace(0, len(turns) - 1, num_samples), np.arange(len(turns)), turns)


def _wind(rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Blow in gusts: low noise, and a whistle that comes with the gust."""
    noise_T, gust_T = rng.normal(size=round(seconds * sample_rate)), _drift(rng, seconds, sample_rate, 1.5)
    whistle_T = band_pass(noise_T, 500, 700, sample_rate) * gust_T**2
    whistle_T += 2 * band_pass(noise_T, 60, 350, sample_rate) * (0.3 + gust_T)
    return whistle_T


def _rain(rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Fall steadily: bright noise, and some drops that stand out of it."""
    rain_T = band_pass(rng.normal(size=round(seconds * sample_rate)), 1500, 6500, sample_rate)
    drops_T = np.zeros(len(rain_T))
    drops_T[rng.integers(0, len(rain_T), int(40 * seconds))] = rng.uniform(5, 40, int(40 * seconds))
    rain_T += 3 * band_pass(drops_T, 900, 3500, sample_rate)
    return rain_T


def _engine(rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Hum: harmonics of a slowly varying speed, each cycle with a cough of noise."""
    speed_T = rng.uniform(35, 80) * (0.85 + 0.3 * _drift(rng, seconds, sample_rate, 0.7))
    phase_T = 2 * np.pi * np.cumsum(speed_T) / sample_rate
    mix_T = band_pass(rng.normal(size=len(phase_T)), 200, 1500, sample_rate)
    mix_T *= np.maximum(0, np.sin(phase_T)) ** 4
    for k in range(1, 13):
        mix_T += np.sin(k * phase_T + k * k) / k**0.8
    return mix_T


def _birds(rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Sing: calls of a few quick sweeps between 2 and 6 kHz."""
    mix_T, time = np.zeros(round(seconds * sample_rate)), rng.uniform(0, 0.3)
    while time < seconds:
        low, sweep, length = rng.uniform(2000, 4500), rng.uniform(-900, 1500), rng.uniform(0.05, 0.14)
        for call in range(int(rng.integers(2, 6))):
            fade_T = np.linspace(0, 1, round(length * sample_rate))
            phase_T = 2 * np.pi * np.cumsum(low + sweep * np.sin(np.pi * fade_T)) / sample_rate
            add_at(mix_T, np.sin(phase_T) * np.hanning(len(fade_T)), round((time + 1.3 * call * length) * sample_rate))
        time += rng.uniform(0.5, 1.1)
    return mix_T


def _knocks(rng: np.random.Generator, seconds: float, sample_rate: int) -> Waveform:
    """Knock on one object: a few resonances of it, struck again and again."""
    mix_T, time_T = np.zeros(round(seconds * sample_rate)), np.arange(round(0.4 * sample_rate)) / sample_rate
    modes, decays = rng.uniform(150, 3000, 6), rng.uniform(0.02, 0.12, 6)
    ring_MT = np.sin(2 * np.pi * np.outer(modes, time_T)) * np.exp(-np.outer(1 / decays, time_T))
    time = rng.uniform(0, 0.3)
    while time < seconds:
        add_at(mix_T, rng.uniform(0.4, 1) * ring_MT.sum(0), round(time * sample_rate))
        time += rng.uniform(0.15, 0.7)
    return mix_T


SOUNDS = {"wind": _wind, "rain": _rain, "an engine": _engine, "birds": _birds, "knocking": _knocks}
