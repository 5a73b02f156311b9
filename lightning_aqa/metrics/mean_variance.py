"""Parts of the variance of a system's mean: clips, the ratings of a clip, and listeners whom clips share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.moderation import moderated

Array = NDArray[np.float64]
Codes = NDArray[np.intp]
Target = Literal["systems", "clips"]

CLIP, LISTENER, VIEW = "clip", "listener", "listener and system"
"""Effects in a rating, beside its residual."""


class WeightedResiduals:
    """Weighted residuals of clips by system."""

    def __init__(self, w_C: Array, r_C: Array, system_C: Codes, num_systems: int) -> None:
        self.w, self.r, self.system, self.num = w_C, r_C, system_C, num_systems
        squares = np.bincount(system_C, w_C**2, num_systems)
        self.effective = 1 / np.where(squares > 0, squares, np.nan)

    def spread(self, means: Array) -> Array:
        """Return the variance of residuals per system, from their weighted squares; NaN below two clips."""
        squares = self.w**2 * (self.r - means[self.system]) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.bincount(self.system, squares / (1 - self.w), self.num)
        return np.where(np.bincount(self.system, minlength=self.num) > 1, found * self.effective, np.nan)


class RatingNoise(NamedTuple):
    """Noise that is no difference between clips: variance of a rating of each system, its freedom, and listeners'."""

    rating: Array
    freedom: Array
    listeners: Array


def relative_noise(values: Array, clips: Codes, systems: Codes, num_systems: int) -> tuple[Array, Array]:
    """Return how much the ratings of a clip of each system differ, over how much on average, and its freedom.

    Args:
        values: Shape ``(R,)``.
        clips: Clip of each rating.
        systems: System of each clip, shape ``(N,)``.
        num_systems: How many there are.
    """
    counts_N = np.maximum(np.bincount(clips, minlength=len(systems)), 1)
    within = values - (np.bincount(clips, values, len(systems)) / counts_N)[clips]
    freedom = np.bincount(systems, np.where(counts_N > 1, counts_N - 1.0, 0.0), num_systems)
    squares = np.bincount(systems[clips], within**2, num_systems)
    if not squares.any():
        return np.ones(num_systems), np.ones(num_systems)
    with np.errstate(divide="ignore", invalid="ignore"):
        found, known = moderated(np.where(freedom > 0, squares / freedom, np.nan), freedom.astype(np.float64))
    relative = np.nan_to_num(found * freedom.sum() / squares.sum(), nan=1.0)
    return np.asarray(relative), np.nan_to_num(known, nan=float(freedom.sum()))


def of_finite_set(
    own: Array,
    freedom: Array,
    noise: RatingNoise,
    parts: WeightedResiduals,
    counts_C: Array,
    systems: Codes,
    target: Target,
    full: float,
) -> tuple[Array, Array]:
    """Return the variance less what is not there since the target is about these clips, or these ratings.

    Args:
        own: Variance over clips, shape ``(S,)``.
        freedom: Its degrees of freedom.
        noise: What is in it of ratings, and of listeners since clips have different ones.
        parts: Weights of the clips.
        counts_C: Ratings of each of them.
        systems: System of all clips.
        target: What the mean is over.
        full: Ratings per clip of the full set.

    Returns:
        The variance and its degrees of freedom, by Satterthwaite: where most clips are rated, it is that of ratings.
    """
    sizes = np.bincount(systems, minlength=parts.num)
    share = np.minimum(parts.effective / sizes, 1.0) if target == "clips" else np.zeros(parts.num)
    of_ratings = noise.rating * np.bincount(parts.system, parts.w**2 / counts_C, parts.num)
    left = of_ratings + noise.listeners
    share = np.where(own > left, share, np.where(target == "clips", 1.0, 0.0))
    known = np.maximum(share * left - noise.rating / (sizes * full), 0.0)
    total = (1 - share) * own + known
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = ((1 - share) * own) ** 2 / freedom + known**2 / noise.freedom
        return total, np.where(squares > 0, total**2 / squares, freedom)


def of_listeners(
    share_R: Array, system_R: Codes, listener_R: Codes, components: Mapping[str, float], effective: Array
) -> tuple[Array, Array]:
    """Return the covariance that listeners add to clips in common, and the variance that they add from clip to clip.

    Args:
        share_R: Weight of each rating in the mean of its system.
        system_R: System of each.
        listener_R: Listener of each.
        components: Variances of a rating.
        effective: How many clips of equal weight each system has.

    Returns:
        Shapes ``(S, S)`` and ``(S,)``; the second is part of the variance of residuals over clips.
    """
    from scipy.sparse import csr_matrix

    num_systems = len(effective)
    _, listeners = np.unique(listener_R, return_inverse=True)
    weight_SL = csr_matrix((share_R, (system_R, listeners)), shape=(num_systems, int(listeners.max()) + 1))
    common_SS = np.asarray((weight_SL @ weight_SL.T).todense())
    same = np.bincount(system_R, share_R**2, num_systems)
    whole = np.diag(common_SS)
    with np.errstate(invalid="ignore"):
        counted = np.where(effective > 1.5, (whole - same) * effective / (effective - 1), whole)
        between = np.maximum(same - counted / effective, 0.0)
    variance, view = components.get(LISTENER, 0.0), components.get(VIEW, 0.0)
    found = variance * common_SS
    np.fill_diagonal(found, (variance + view) * counted)
    return np.nan_to_num(found), np.nan_to_num((variance + view) * between)
