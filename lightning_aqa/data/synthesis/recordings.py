"""Simulated recordings: what is heard, what was done to it, and where its file goes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lightning_aqa.data.synthesis.degradations import damage, degrade, draw_mix, replace_end
from lightning_aqa.data.synthesis.listeners import true_scores
from lightning_aqa.data.synthesis.signals import Waveform, set_level
from lightning_aqa.data.synthesis.textures import Scene


@dataclass(frozen=True)
class Settings:
    """What a simulated corpus is made from; two corpora with the same settings are the same bytes.

    Args:
        num_clips: Clips in all splits together.
        num_systems: Made-up systems that produce them.
        seconds: Shortest and longest clip.
        sample_rate: In Hz, of the files that do not stand for a natural corpus with a rate of its own.
        seed: Of everything random.
    """

    num_clips: int
    num_systems: int
    seconds: tuple[float, float]
    sample_rate: int
    seed: int

    def draw_seconds(self, rng: np.random.Generator) -> float:
        """Draw the length of a clip, in whole hundredths of a second."""
        return round(float(rng.uniform(*self.seconds)), 2)


class System(NamedTuple):
    """A made-up generator: the same faults in every clip, more or less.

    Args:
        mix: Usual strength of each of its degradations.
        wrong: Usual fraction of a clip that is not what the prompt asked for.
    """

    mix: Mapping[str, float]
    wrong: float

    def strengths(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw the strengths of one clip around the usual ones."""
        factors = np.exp(rng.normal(0, 0.35, len(self.mix)))
        return {name: float(min(1.0, usual * f)) for (name, usual), f in zip(self.mix.items(), factors, strict=True)}

    def wrong_fraction(self, rng: np.random.Generator) -> float:
        """Draw how much of one clip is wrong content."""
        return float(np.clip(self.wrong + rng.normal(0, 0.2), 0, 1))


def draw_systems(num_systems: int, rng: np.random.Generator) -> list[System]:
    """Draw systems with a damage spaced evenly from 5 % to 85 %, in random order; bad ones stray more from prompts."""
    targets = rng.permutation(np.linspace(0.05, 0.85, num_systems))
    return [System(draw_mix(target, rng), float(0.6 * target + rng.uniform(-0.1, 0.3))) for target in targets]


@dataclass(frozen=True)
class Recording:
    """One clip of a simulated corpus, before it is rendered.

    Args:
        path: Where its file goes, below the root of the corpus; it also seeds all that is random in the clip.
        domain: ``speech``, ``music`` or ``sound``.
        scene: What is heard.
        strengths: Strength per degradation.
        seconds: Length.
        sample_rate: In Hz.
        stereo: Whether the file has two channels.
        other: The wrong content, where there is some.
        wrong: Fraction of the clip that is wrong content.
        system: What made it; empty for natural clips.
        split: Split it belongs to.
    """

    path: str
    domain: str
    scene: Scene
    strengths: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 3.0
    sample_rate: int = 16000
    stereo: bool = False
    other: Scene | None = None
    wrong: float = 0.0
    system: str = ""
    split: str = ""

    def render(self, seed: int) -> Waveform:
        """Make the audio: shape ``(T,)``, or ``(T, 2)`` where it is stereo, within full scale."""
        rng = rng_for(seed, "audio", self.path)
        clean_T = set_level(self.scene.render(rng, self.seconds, self.sample_rate), -23)
        if self.other is not None and self.wrong > 0:
            other_T = set_level(self.other.render(rng, self.seconds, self.sample_rate), -23)
            clean_T = replace_end(clean_T, other_T, self.wrong)
        # A quiet room under everything: no recording is digital silence, and what a fault does to it can be heard.
        clean_T = clean_T + 10 ** (-68 / 20) * rng.normal(size=len(clean_T))
        level = rng.uniform(-26, -20)
        mono_T = set_level(degrade(clean_T, self.strengths, self.sample_rate, rng) * _edges(len(clean_T)), level)
        return _widen(mono_T, self.sample_rate) if self.stereo else mono_T

    def truth(self) -> dict[str, float]:
        """Give the true score of each axis of both corpora, see ``true_scores``."""
        return true_scores(self.domain, len(self.scene.layers), damage(self.strengths), self.wrong)


class Plan(NamedTuple):
    """All of a corpus before it is written.

    Args:
        recordings: Its clips.
        texts: Contents of its lists, by path below the root.
    """

    recordings: list[Recording]
    texts: dict[str, str]


def rng_for(seed: int, *names: str) -> np.random.Generator:
    """Make the generator of one thing, by its name: the same in any process and in whatever order things are made.

    Example:
        >>> int(rng_for(0, "audio", "a.wav").integers(1000)) == int(rng_for(0, "audio", "a.wav").integers(1000))
        True
    """
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, "<u4").tolist()])


def _edges(num_samples: int) -> Waveform:
    """Make a gain that fades in and out over 0.5 % of a clip, so that cutting it makes no click."""
    place_T = np.linspace(0, 1, num_samples)
    return np.minimum(1, np.minimum(place_T, 1 - place_T) / 0.005)


def _widen(mono: Waveform, sample_rate: int) -> Waveform:
    """Make two channels that differ by an echo, and whose mean is the mono waveform: shape ``(T, 2)``."""
    side_T = 0.3 * np.roll(mono, round(0.011 * sample_rate))
    return set_level(np.stack([mono + side_T, mono - side_T], axis=1), -23)
