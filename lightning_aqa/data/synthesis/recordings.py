"""Simulated recordings: what is heard, what was done to it, and where its file goes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lightning_aqa.data.synthesis.degradations import damage, degrade, draw_mix, replace_end
from lightning_aqa.data.synthesis.listeners import true_scores
from lightning_aqa.data.synthesis.scenes import Scene, Waveform, set_level


@dataclass(frozen=True)
class Settings:
    """Settings of a simulated corpus, see ``write_corpus``; two with the same settings are the same bytes."""

    num_clips: int
    num_systems: int
    seconds: tuple[float, float]
    sample_rate: int
    seed: int

    def draw_seconds(self, rng: np.random.Generator) -> float:
        """Draw the length of a clip, in whole hundredths of a second."""
        return round(float(rng.uniform(*self.seconds)), 2)


class System(NamedTuple):
    """A made-up generator: usual strengths of its degradations, and usual fraction of a clip that is wrong content."""

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
    scene: Scene
    strengths: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 3.0
    sample_rate: int = 16000
    stereo: bool = False
    other: Scene | None = None
    wrong: float = 0.0
    system: str = ""
    split: str = ""

    @property
    def domain(self) -> str:
        """``speech``, ``music`` or ``sound``."""
        return self.scene.domain

    def render(self, seed: int) -> Waveform:
        """Make the audio: shape ``(T,)``, or ``(T, 2)`` where it is stereo, within full scale."""
        rng = rng_for(seed, "audio", self.path)
        clean_T = set_level(self.scene.render(rng, self.seconds, self.sample_rate), -23)
        if self.other is not None and self.wrong > 0:
            other_T = set_level(self.other.render(rng, self.seconds, self.sample_rate), -23)
            clean_T = replace_end(clean_T, other_T, self.wrong)
        # A quiet room under everything: no recording is digital silence, and what a fault does to it can be heard.
        clean_T = clean_T + 10 ** (-68 / 20) * rng.normal(size=len(clean_T))
        level, position_T = rng.uniform(-26, -20), np.linspace(0, 1, len(clean_T))
        edges_T = np.minimum(1, np.minimum(position_T, 1 - position_T) / 0.005)  # so that cutting makes no click
        mono_T = set_level(degrade(clean_T, self.strengths, self.sample_rate, rng) * edges_T, level)
        if not self.stereo:
            return mono_T
        side_T = 0.3 * np.roll(mono_T, round(0.011 * self.sample_rate))
        return set_level(np.stack([mono_T + side_T, mono_T - side_T], axis=1), -23)

    def truth(self) -> dict[str, float]:
        """Give the true score of each axis of both corpora, see ``true_scores``."""
        return true_scores(self.domain, len(self.scene.layers), damage(self.strengths), self.wrong)


class CorpusPlan(NamedTuple):
    """All of a corpus before it is written: its clips, and the contents of its lists by path below the root."""

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
