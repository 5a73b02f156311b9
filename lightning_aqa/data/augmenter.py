"""Apply augmentations to training windows, and refuse those that leave nothing to train on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_aqa.data.augment import Augmentation
from lightning_aqa.data.windows import Window


@dataclass(frozen=True)
class Augmenter:
    """Apply augmentations to training windows, each drawn by (seed, epoch, clip, place in the list).

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
        for place, augmentation in enumerate(self.augmentations):
            random = np.random.Generator(np.random.PCG64([self.seed, window.epoch or 0, window.clip, place]))
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
