"""Ranks of systems that are sure: all pairs are compared at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.power import SIGNIFICANCE
from lightning_aqa.metrics.prediction_powered import PoweredMeans
from lightning_aqa.metrics.significance import differs

Array = NDArray[np.float64]
NUM_DRAWS = 10_000


class SystemRanks(NamedTuple):
    """Ranks of S systems, the best 1.

    Args:
        rank: By the mean, shape ``(S,)``.
        best: The best rank that a system may have, shape ``(S,)``.
        worst: The worst one; all these ranges hold at once in 95 of 100 studies.
        p_adjusted: Of no difference, over all pairs, shape ``(S, S)``.
    """

    rank: NDArray[np.intp]
    best: NDArray[np.intp]
    worst: NDArray[np.intp]
    p_adjusted: Array

    def not_told_apart(self, s: int) -> list[int]:
        """Return the systems that do not differ from one, without itself."""
        return [t for t in range(len(self.rank)) if t != s and not differs(float(self.p_adjusted[s, t]))]


def rank_systems(found: PoweredMeans, *, num_draws: int = NUM_DRAWS) -> SystemRanks:
    """Rank systems, and say which ranks each may have.

    The p-value of a pair is Student's; adjusted it is the chance that the largest of all differences is as rare where
    none is true (max-T, from draws with the covariance of the means), so that the ranges of ranks hold at once: a
    system ranks below those that are surely better, and above those that are surely worse.

    Args:
        found: The means.
        num_draws: Draws of the largest difference.

    Reference:
        Mogstad, Romano, Shaikh, Wilhelm, "Inference for ranks with applications to mobility across neighbourhoods and
        academic achievement across countries", Review of Economic Studies 91, 2024.
    """
    num = len(found.means)
    p_SS = np.ones((num, num))
    largest = _largest(found, num_draws)
    for s in range(num):
        for t in range(s):
            p_SS[s, t] = p_SS[t, s] = _p_adjusted(found, s, t, largest)
    better_SS = (found.means[:, None] > found.means) & (p_SS < SIGNIFICANCE)
    known = np.isfinite(found.means)
    order = np.argsort(np.where(known, -found.means, np.inf), kind="stable")
    rank = np.empty(num, np.intp)
    rank[order] = np.arange(1, num + 1)
    return SystemRanks(rank, 1 + better_SS.sum(0), num - better_SS.sum(1), p_SS)


def _p_adjusted(found: PoweredMeans, s: int, t: int, largest: Array) -> float:
    from scipy.special import ndtri, stdtr

    value, error, freedom = found.difference(s, t)
    if not error > 0 or not freedom > 0:
        return 1.0
    p_value = 2 * float(stdtr(freedom, -abs(value) / error))
    reached = -float(ndtri(p_value / 2)) if p_value > 0 else np.inf
    drawn = float(1 + len(largest) - np.searchsorted(largest, reached)) / (1 + len(largest))
    return max(p_value, drawn)


def _largest(found: PoweredMeans, num_draws: int) -> Array:
    """Draw the largest absolute z value of all pairs where no two systems differ, sorted."""
    covariance = np.nan_to_num(found.covariance)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn_RS = np.random.default_rng(0).standard_normal((num_draws, len(covariance))) @ root.T
    variance = np.diag(covariance)
    largest = np.zeros(num_draws)
    for s in range(1, len(covariance)):
        error = np.sqrt(np.maximum(variance[s] + variance[:s] - 2 * covariance[s, :s], 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.abs(drawn_RS[:, s, None] - drawn_RS[:, :s]) / error
        np.maximum(largest, np.nan_to_num(z, posinf=0.0).max(1), out=largest)
    return np.asarray(np.sort(largest))
