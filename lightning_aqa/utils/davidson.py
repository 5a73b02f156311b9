"""The model of Bradley, Terry and Davidson: probabilities of a pair from the scores of its clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LOWEST, HIGHEST = 0.1, 30.0
"""Slopes that are considered, per unit: below, pairs would say nothing to the scores; above, they are all certain."""
_STEPS = 50


class PairLink(NamedTuple):
    """From scores to probabilities, per axis.

    Args:
        slopes: Log-odds per score point.
        ties: Davidson's tie parameter: against a clip of the same score a tie is ``ties / 2`` times as likely as not.
    """

    slopes: tuple[float, ...]
    ties: tuple[float, ...]

    @classmethod
    def read(cls, callbacks: Any, num_axes: int) -> PairLink | None:
        """Read what an objective for pairs left in a checkpoint; None where there is none, or it is damaged."""
        for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
            link = state.get("link") if isinstance(state, Mapping) else None
            if isinstance(link, Mapping) and all(_are_numbers(link.get(name), num_axes) for name in cls._fields):
                return cls(tuple(link["slopes"]), tuple(link["ties"]))
        return None


def mean_link(links: Sequence[PairLink | None]) -> PairLink | None:
    """Return the mean of the links of several models, for the mean of their scores; None where one has none."""
    known = [link for link in links if link is not None]
    if not known or len(known) < len(links):
        return None
    return PairLink(*(tuple(np.mean(values, axis=0).tolist()) for values in zip(*known, strict=True)))


def _are_numbers(values: Any, size: int) -> bool:
    is_list = isinstance(values, list) and len(values) == size
    return is_list and all(isinstance(value, float) and 0 <= value < math.inf for value in values)


def probabilities(log_odds: Array, tie: Array | float) -> Array:
    r"""Return the probabilities that the first clip wins, that the second one does, and of a tie.

    .. math:: P_a : P_b : P_t = e^{d/2} : e^{-d/2} : \nu

    Args:
        log_odds: d, of the first clip against the second where there is no tie, shape ``(N,)``.
        tie: nu, at least 0; without ties it is 0, and the model that of Bradley and Terry.

    Returns:
        Shape ``(N, 3)``.

    Example:
        >>> probabilities(np.array([0.0]), 1.0).round(3)
        array([[0.333, 0.333, 0.333]])

    Reference:
        Bradley, Terry, "Rank analysis of incomplete block designs", Biometrika 39, 1952; Davidson, "On extending the
        Bradley-Terry model to accommodate ties in paired comparison experiments", JASA 65, 1970.
    """
    with np.errstate(divide="ignore"):
        nu = np.log(np.broadcast_to(np.asarray(tie, np.float64), np.shape(log_odds)))
    half = np.asarray(log_odds, np.float64) / 2
    logits = np.stack([half, -half, nu], axis=-1)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True))


def fit_link(
    differences: Array,
    outcomes: NDArray[np.intp],
    weights: Array,
    *,
    unit: float = 1.0,
    slope: float | None = None,
    tie: float | None = None,
) -> tuple[float, float]:
    """Find the slope and the tie parameter under which some outcomes are the likeliest.

    So that few pairs cannot make it certain, two pairs are added to them that lie a unit apart and go as a slope of 1
    per unit would have it, and, where there are ties, one pair of equal clips, of which half is a tie. Without a tie
    its parameter is 0.

    Args:
        differences: Score of the first clip less that of the second, shape ``(N,)``, in score points.
        outcomes: 0 where the first one won, 1 where the second one did, 2 for a tie, shape ``(N,)``.
        weights: Shape ``(N,)``.
        unit: Usual difference between clips, in score points.
        slope: Log-odds per score point, where it is given.
        tie: The tie parameter, where it is given.

    Returns:
        The slope, in log-odds per score point, and the tie parameter.

    Example:
        >>> fit_link(np.ones(400), np.repeat([0, 1], [300, 100]), np.ones(400))[0]  # log 3 is 1.0986
        1.0981097...
    """
    has_ties = bool((outcomes == 2).any()) if tie is None else tie > 0
    d = np.concatenate([differences / unit, [1.0, 0.0]])
    counts = np.zeros((len(d), 3))
    counts[np.arange(len(outcomes)), outcomes] = weights
    sure = 1 / (1 + math.exp(-1.0))
    counts[-2, :2] = [2 * sure, 2 * (1 - sure)]
    counts[-1] = [0.25, 0.25, 0.5] if has_ties else 0.0
    free = np.array([slope is None, tie is None and has_ties])
    given_tie = (2.0 if has_ties else 0.0) if tie is None else tie
    x = np.array([1.0 if slope is None else slope * unit, math.log(given_tie) if given_tie > 0 else -math.inf])
    if free.any():
        x = _newton(d, counts, x, free)
    return float(np.clip(x[0], LOWEST, HIGHEST)) / unit if slope is None else slope, float(np.exp(x[1]))


def _newton(d: Array, counts: Array, x: Array, free: NDArray[np.bool_]) -> Array:
    """Minimise the negative log-likelihood, which is convex in the slope and the logarithm of the tie parameter."""
    total = counts.sum(1)
    best = _loss(d, counts, x)
    for _ in range(_STEPS):
        p = probabilities(x[0] * d, math.exp(x[1]))
        lead = p[:, 0] - p[:, 1]
        gradient = np.array([(d / 2 * (total * lead - counts[:, 0] + counts[:, 1])).sum(),
                             (total * p[:, 2] - counts[:, 2]).sum()])  # fmt: skip
        cross = (total * -d / 2 * lead * p[:, 2]).sum()
        hessian = np.array([[(total * d**2 / 4 * (p[:, 0] + p[:, 1] - lead**2)).sum(), cross],
                            [cross, (total * p[:, 2] * (1 - p[:, 2])).sum()]])  # fmt: skip
        step, moves = np.zeros(2), free.copy()
        moves[0] &= not (x[0] <= LOWEST and gradient[0] > 0) and not (x[0] >= HIGHEST and gradient[0] < 0)
        step[moves] = np.linalg.solve(hessian[np.ix_(moves, moves)] + 1e-12 * np.eye(moves.sum()), gradient[moves])
        while np.abs(step).max() > 1e-9 and not _loss(d, counts, x - step) <= best:
            step /= 2
        if np.abs(step).max() <= 1e-9:
            break
        x = x - step
        x[0] = min(max(x[0], LOWEST), HIGHEST) if free[0] else x[0]
        best = _loss(d, counts, x)
    return x


def _loss(d: Array, counts: Array, x: Array) -> float:
    p = probabilities(x[0] * d, math.exp(x[1]))
    with np.errstate(divide="ignore"):
        return float(-(np.where(counts > 0, counts * np.log(np.where(counts > 0, p, 1.0)), 0.0)).sum())
