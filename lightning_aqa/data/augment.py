"""Change training audio at random, and say which ratings still hold for what comes out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_aqa.data.windows import Window

Range = tuple[float, float]


def gain(samples: Tensor, decibel: float) -> Tensor:
    """Change the level; nothing is clipped.

    Example:
        >>> gain(torch.tensor([0.1, -0.2]), 20.0)
        tensor([ 1., -2.])
    """
    return samples * 10 ** (decibel / 20)


def add_noise(samples: Tensor, noise: Tensor, decibel: float) -> Tensor:
    """Add noise at a signal-to-noise ratio in decibel: mean power over mean power, exactly; silence stays silence."""
    signal_power, noise_power = samples.double().square().mean(), noise.double().square().mean()
    factor = (signal_power / noise_power * 10 ** (-decibel / 10)).sqrt()
    return samples + factor.float() * noise


def band_limit(samples: Tensor, sample_rate: int, hertz: float) -> Tensor:
    """Remove what lies above a frequency, as resampling to twice that and back does; the passband ends at 0.9 of it."""
    if hertz >= sample_rate / 2:
        return samples
    limited = _resample(_resample(samples, sample_rate, 2 * hertz), 2 * hertz, sample_rate)[: len(samples)]
    return torch.nn.functional.pad(limited, (0, len(samples) - len(limited)))


def change_speed(samples: Tensor, sample_rate: int, factor: float) -> Tensor:
    """Play faster by a factor, as a tape would: ``T / factor`` samples, the pitch higher by the factor."""
    return _resample(samples, sample_rate * factor, sample_rate)


def _resample(samples: Tensor, rate: float, new_rate: float) -> Tensor:
    import soxr

    return torch.from_numpy(soxr.resample(samples.numpy(), rate, new_rate))


class Augmentation(ABC):
    """A random change of training audio.

    Args:
        probability: Share of the clips to change, between 0 and 1.
        valid_axes: Axes whose ratings still hold for a changed clip; its other ratings count as missing. Null takes
            what the class states.
    """

    valid_axes: Collection[str] | None = None
    """Names of axes whose ratings still hold; None is all."""

    def __init__(self, probability: float = 0.5, valid_axes: list[str] | None = None) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"{self.name}: probability must be above 0 and at most 1, got {probability:g}.")
        self.probability, self.names_axes = probability, valid_axes is not None
        if valid_axes is not None:
            self.valid_axes = tuple(valid_axes)

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @abstractmethod
    def change(self, samples: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Return changed samples, shape ``(T,)``; of another length where time is changed."""

    def leaves(self, axes: Sequence[str]) -> list[str]:
        """Return those of some axes whose ratings still hold."""
        return [axis for axis in axes if self.valid_axes is None or axis in self.valid_axes]

    def _range(self, what: str, given: Range, above: float = -math.inf) -> Range:
        low, high = given
        if not above < low <= high < math.inf:
            bound = "" if math.isinf(above) else f", above {above:g}"
            raise ValueError(f"{self.name}: {what} must be [lowest, highest]{bound}, got [{low:g}, {high:g}].")
        return low, high


class Gain(Augmentation):
    """Change the level, by a gain drawn evenly from a range; all ratings hold.

    Args:
        decibels: Lowest and highest gain, in dB.
        probability: Share of the clips to change, between 0 and 1.
        valid_axes: Axes whose ratings still hold for a changed clip; null is all of them.
    """

    def __init__(
        self, decibels: Range = (-6.0, 6.0), probability: float = 0.5, valid_axes: list[str] | None = None
    ) -> None:
        super().__init__(probability, valid_axes)
        self.decibels = self._range("decibels", decibels)

    def change(self, samples: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Change the level."""
        return gain(samples, random.uniform(*self.decibels))


class Noise(Augmentation):
    """Add white noise at a signal-to-noise ratio drawn evenly from a range; ratings of content hold.

    Args:
        snr: Lowest and highest ratio of the power of the clip to that of the noise, in dB.
        probability: Share of the clips to change, between 0 and 1.
        valid_axes: Axes whose ratings still hold for a changed clip; null is PC and TA.
    """

    valid_axes = ("PC", "TA")

    def __init__(
        self, snr: Range = (10.0, 30.0), probability: float = 0.5, valid_axes: list[str] | None = None
    ) -> None:
        super().__init__(probability, valid_axes)
        self.snr = self._range("snr", snr)

    def change(self, samples: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Add noise."""
        ratio = random.uniform(*self.snr)
        return add_noise(samples, torch.from_numpy(random.standard_normal(len(samples), dtype=np.float32)), ratio)


class BandLimit(Augmentation):
    """Remove what lies above a frequency, drawn evenly in octaves from a range; ratings of content hold.

    Args:
        hertz: Lowest and highest frequency, in Hz; one above what the sample rate carries removes nothing.
        probability: Share of the clips to change, between 0 and 1.
        valid_axes: Axes whose ratings still hold for a changed clip; null is PC and TA.
    """

    valid_axes = ("PC", "TA")

    def __init__(
        self, hertz: Range = (2000.0, 7000.0), probability: float = 0.5, valid_axes: list[str] | None = None
    ) -> None:
        super().__init__(probability, valid_axes)
        self.hertz = self._range("hertz", hertz, above=0.0)

    def change(self, samples: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Remove high frequencies."""
        return band_limit(samples, sample_rate, math.exp(random.uniform(*np.log(self.hertz))))


class Speed(Augmentation):
    """Play faster or slower, by a factor drawn evenly from a range; the pitch follows, ratings of production hold.

    Args:
        factors: Lowest and highest factor.
        probability: Share of the clips to change, between 0 and 1.
        valid_axes: Axes whose ratings still hold for a changed clip; null is PQ and PC.
    """

    valid_axes = ("PQ", "PC")

    def __init__(
        self, factors: Range = (0.95, 1.05), probability: float = 0.5, valid_axes: list[str] | None = None
    ) -> None:
        super().__init__(probability, valid_axes)
        self.factors = self._range("factors", factors, above=0.0)

    def change(self, samples: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Change the speed."""
        return change_speed(samples, sample_rate, random.uniform(*self.factors))


@dataclass(frozen=True)
class Augmenter:
    """Apply augmentations to training windows, each drawn by (seed, epoch, clip, position in the list).

    Args:
        augmentations: What to apply, in this order.
        axes: Names of the axes.
        sample_rate: Rate of the audio, in Hz.
        min_samples: Shortest audio that the encoder takes; a clip that became shorter is padded with zeros.
        seed: Seed of all draws.
    """

    augmentations: Sequence[Augmentation]
    axes: Sequence[str]
    sample_rate: int
    min_samples: int
    seed: int

    def __call__(self, samples: Tensor, scores: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """Return a window's audio changed, no longer than it was, and its scores with NaN where they hold no more."""
        length, left = len(samples), list(self.axes)
        for index, augmentation in enumerate(self.augmentations):
            random = np.random.Generator(np.random.PCG64([self.seed, window.epoch or 0, window.clip, index]))
            if random.random() < augmentation.probability:
                samples = augmentation.change(samples, self.sample_rate, random)
                left = augmentation.leaves(left)
        samples = samples[:length]
        padded = torch.nn.functional.pad(samples, (0, max(0, self.min_samples - len(samples))))
        holds_A = torch.tensor([axis in left for axis in self.axes])
        return padded, torch.where(holds_A, scores, math.nan)


def check_augmentations(augmentations: Sequence[Augmentation], axes: Sequence[str], rated: Sequence[str]) -> None:
    """Refuse augmentations that would leave nothing to train on.

    Args:
        augmentations: What will be applied.
        axes: Names of all axes.
        rated: Names of those that training clips are rated on.

    Raises:
        ValueError: If one of them, or those that change every clip together, leave no rating, or if the user names
            an axis that there is not.
    """
    left = list(rated)
    for each in augmentations:
        unknown = [axis for axis in each.valid_axes or () if each.names_axes and axis not in axes]
        if unknown:
            raise ValueError(f"{each.name}: valid_axes names {', '.join(unknown)}; the data rates {', '.join(axes)}.")
        left = each.leaves(left) if each.probability == 1 else left
        if not each.leaves(rated) or not left:
            together = "" if not each.leaves(rated) else " together with those before it"
            raise ValueError(
                f"--data.augment: {each.name}{together} leaves no rating of {', '.join(rated)} valid, so that nothing "
                "would be left to train on; name the axes whose ratings still hold in its valid_axes, or drop it."
            )
