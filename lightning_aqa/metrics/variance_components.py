"""Variance components of ratings: how far listeners differ in level, in their view of a system, and otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

RESIDUAL = "residual"
_LEAST_EIGENVALUE = 0.01
"""Of the moment equations, scaled to a diagonal of ones: below it two effects cannot be told apart."""


def variance_components(ratings: Array, clips: Codes, effects: Mapping[str, Codes]) -> dict[str, float]:
    r"""Estimate the variances of random effects from what differs within clips.

    With M the projection that takes the mean of its clip off each rating and :math:`Z_a` the incidence of effect a, the
    moments :math:`|Z_a^T M y|^2` have the expectations :math:`\sum_b \sigma_b^2 |Z_a^T M Z_b|_F^2`, for any pattern of
    who rated what. An effect that the pattern does not tell apart from those before it is left to them, and one whose
    variance would be negative is none.

    Args:
        ratings: Shape ``(R,)``, in score points.
        clips: Clip of each rating.
        effects: Level of each rating per effect, in the order in which they enter.

    Returns:
        Variance per effect that can be told, and ``residual``; empty where no clip has two ratings.

    Reference:
        Searle, Casella, McCulloch, Variance Components, Wiley, 1992: MINQUE(0), here with the clips as fixed effects.

    Example:
        >>> clips, listeners = np.repeat(np.arange(3), 2), np.tile([0, 1], 3)
        >>> variance_components(np.array([1.0, 3.0, 2.0, 4.0, 5.0, 7.0]), clips, {"listener": listeners})
        {'residual': 0.0, 'listener': 2.0}
    """
    _, clips, counts = np.unique(clips, return_inverse=True, return_counts=True)
    kept = counts[clips] >= 2
    if not kept.any():
        return {}
    moments = _Moments(ratings[kept], clips[kept], {name: codes[kept] for name, codes in effects.items()})
    names = [RESIDUAL]
    for name in effects:
        if _is_told(moments.expected([*names, name])):
            names.append(name)
    return _solve(moments, names)


def _solve(moments: _Moments, names: list[str]) -> dict[str, float]:
    """Solve the moment equations; drop the effect with the most negative variance until none is left."""
    expected, observed = moments.expected(names), np.array([moments.observed(name) for name in names])
    active = list(range(len(names)))
    found = np.zeros(len(names))
    while active:
        variances = np.linalg.solve(expected[np.ix_(active, active)], observed[active])
        if variances.min() >= -1e-12 * max(1.0, float(np.abs(variances).max())):
            found[active] = np.maximum(variances, 0.0)
            break
        del active[int(np.argmin(variances))]
    return {name: round(float(variance), 12) for name, variance in zip(names, found, strict=True)}


def _is_told(expected: Array) -> bool:
    scale = np.sqrt(np.diag(expected))
    if (scale == 0).any():
        return False
    return bool(np.linalg.eigvalsh(expected / np.outer(scale, scale))[0] > _LEAST_EIGENVALUE)


class _Moments:
    """Moments of effects within clips, and what they are expected to be."""

    def __init__(self, ratings: Array, clips: Codes, effects: Mapping[str, Codes]) -> None:
        _, self.clips, self.counts = np.unique(clips, return_inverse=True, return_counts=True)
        self.within = ratings - (np.bincount(self.clips, ratings) / self.counts)[self.clips]
        levels = {name: np.unique(codes, return_inverse=True)[1] for name, codes in effects.items()}
        self.levels = {RESIDUAL: np.arange(len(ratings)), **levels}
        self._overlaps: dict[tuple[str, str], float] = {}

    def observed(self, name: str) -> float:
        return float((np.bincount(self.levels[name], self.within) ** 2).sum())

    def expected(self, names: Sequence[str]) -> Array:
        found = np.zeros((len(names), len(names)))
        for a, b in combinations_with_replacement(range(len(names)), 2):
            found[a, b] = found[b, a] = self._overlap(names[a], names[b])
        return found

    def _overlap(self, one: str, other: str) -> float:
        """Return the squared norm of one's incidence, centred in clips, times the other's, the residual first."""
        if (one, other) not in self._overlaps:
            found = self._with_residual(other) if one == RESIDUAL else self._between(one, other)
            self._overlaps[one, other] = found
        return self._overlaps[one, other]

    def _with_residual(self, name: str) -> float:
        """Return it of the residual, whose matrix is never made."""
        num = len(self.clips)
        if name == RESIDUAL:
            return float(num - len(self.counts))
        per_clip = self._incidence(name)
        return float(num - (per_clip.multiply(per_clip).sum(1).A1 / self.counts).sum())

    def _between(self, one: str, other: str) -> float:
        first, second = self._incidence(one), self._incidence(other)
        together = _count(self.levels[one], self.levels[other], (first.shape[1], second.shape[1]))
        centred = together - first.T @ second.multiply((1.0 / self.counts)[:, None]).tocsr()
        return float(centred.multiply(centred).sum())

    def _incidence(self, name: str) -> Any:
        codes = self.levels[name]
        return _count(self.clips, codes, (len(self.counts), int(codes.max()) + 1))


def _count(rows: Codes, columns: Codes, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def noise_variance(
    components: Mapping[str, float], weights: Array, units: Codes, effects: Mapping[str, Codes]
) -> float:
    r"""Compute the expected variance that listeners put between the means of units.

    :math:`\frac{1}{U - 1} \sum_a \sigma_a^2\, |C G_a|_F^2`, where :math:`G_a` has the weight of each level of effect a
    in the mean of each unit and C takes off the mean over units: what all units share, such as the level of a panel
    that rated them all, is no noise.

    Args:
        components: Variance per effect, and ``residual``.
        weights: Of each rating in the mean of its unit, shape ``(R,)``.
        units: Clip or system of each rating.
        effects: Level of each rating per effect.
    """
    from scipy.sparse import csr_matrix

    num_units = int(units.max()) + 1
    total = 0.0
    for name, variance in components.items():
        codes = np.arange(len(units)) if name == RESIDUAL else np.unique(effects[name], return_inverse=True)[1]
        share = csr_matrix((weights, (units, codes)), shape=(num_units, int(codes.max()) + 1))
        square = float(share.multiply(share).sum()) - float((np.bincount(codes, weights) ** 2).sum()) / num_units
        total += variance * square / (num_units - 1)
    return max(total, 0.0)
