"""The clip or the pair that tells most, if a listener is asked about it next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.mean_variance import CLIP, LISTENER, VIEW
from lightning_aqa.metrics.prediction_powered import GivenRatings, system_means
from lightning_aqa.metrics.variance_components import RESIDUAL

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

Z = 1.959964
VAGUE = 4.0
"""Standard deviations of clips by which systems differ before anything is known of them; and log-odds of pairs."""
MOST_COMPARED = 100
"""Pairs of systems whose gain is computed, those that tell most of themselves; all where there are few systems."""


class AskedNext(NamedTuple):
    """A clip or a pair to ask about.

    Args:
        clips: The clip, or both of a pair, by number.
        gain: By how much the interval of its system becomes narrower (of a pair: those of all differences of two
            systems, added up), expected before the answer is known.
    """

    clips: tuple[int, ...]
    gain: float


def next_clips(
    given: GivenRatings,
    count: int,
    *,
    widths: Array | None = None,
    listener: int | None = None,
    most: float = math.inf,
    once: bool = True,
    seed: int = 0,
) -> list[AskedNext]:
    r"""Choose clips, each with all before it as if they were rated, whose rating narrows an interval most.

    The interval is that of the mean of a system over its N clips, of quality :math:`q_c = \mu + \lambda f_c + u_c`:

    .. math:: V = \frac1{N^2}\Big[\sum_c \tau_c^2 (1 - b_c) + \frac{(\sum_c 1 - b_c)^2}{\sum_c 1 / v_c}\Big]
              + (\sigma_L^2 + \sigma_V^2) \sum_l p_l^2

    with :math:`v_c = \tau_c^2 + \sigma^2 / n_c`, :math:`b_c = \tau_c^2 / v_c` and the share :math:`p_l` of each
    listener. It does not depend on what was answered but by the variances, so that means of what was chosen are
    unbiased. Clips of which the predictor is less sure have the larger :math:`\tau_c`.

    Args:
        given: The ratings so far, which may be none, and the predictions.
        count: How many clips.
        widths: Width of the predictor's interval of each clip, shape ``(N,)``; None or NaN is the same for all.
        listener: Who is asked: clips that this listener has rated are left out; None is a new listener each time.
        most: Most ratings per clip.
        once: Choose no clip twice.
        seed: Of the order of clips that tell the same.

    Returns:
        At most as many as there are clips left.
    """
    state = _RatingState(given, widths, listener, seed)
    free = state.counts < most
    if listener is not None:
        free[given.clips[given.listeners == listener]] = False
    gains = state.gains(np.arange(len(free)))
    chosen = []
    for _ in range(count):
        clip = int(state.order[np.argmax(np.where(free, gains, -np.inf)[state.order])])
        if not free[clip]:
            break
        chosen.append(AskedNext((clip,), float(gains[clip])))
        state.add(clip)
        free[clip] = not once and listener is None and state.counts[clip] < most
        rows = np.flatnonzero(given.systems == given.systems[clip])
        gains[rows] = state.gains(rows)
    return chosen


class _RatingState:
    """Parts of the intervals of all systems, and of what one more rating would make of them."""

    def __init__(self, given: GivenRatings, widths: Array | None, listener: int | None, seed: int) -> None:
        num_clips, self.num = len(given.systems), int(given.systems.max()) + 1
        self.systems, self.sizes = given.systems, np.bincount(given.systems).astype(np.float64)
        self.counts = np.bincount(given.clips, minlength=num_clips).astype(np.float64)
        self.order = np.random.default_rng(seed).permutation(num_clips)
        clip, self.noise, self.listeners = _variances(given)
        self.tau = clip * _relative(widths, num_clips)
        self.vague = 1 / (VAGUE**2 * (clip + self.noise))
        system_R = given.systems[given.clips]
        self.total = np.bincount(system_R, minlength=self.num).astype(np.float64)
        pairs, times = np.unique(np.stack([system_R, given.listeners]), axis=1, return_counts=True)
        self.squares = np.bincount(pairs[0], times.astype(np.float64) ** 2, self.num).astype(np.float64)
        own = given.listeners == listener if listener is not None else np.zeros(len(system_R), np.bool_)
        self.own = np.bincount(system_R[own], minlength=self.num).astype(np.float64)
        self.is_same = listener is not None
        terms = self._terms(self.counts, self.tau)
        self.sums = np.stack([np.bincount(self.systems, part, self.num) for part in terms]).astype(np.float64)

    def _terms(self, counts: Array, tau: Array) -> tuple[Array, Array, Array]:
        """Return the terms of a clip: variance left, share left to the common mean, and what is known of that."""
        precision = np.where(counts > 0, 1 / (tau + self.noise / np.maximum(counts, 1)), 0.0)
        left = 1 - tau * precision
        return tau * left, left, precision

    def _width(self, sums: Array, squares: Array, total: Array, sizes: Array) -> Array:
        variance = (sums[0] + sums[1] ** 2 / (sums[2] + self.vague)) / sizes**2
        shares = np.where(total > 0, squares, 1.0) / np.maximum(total, 1.0) ** 2
        return np.asarray(2 * Z * np.sqrt(variance + self.listeners * shares))

    def gains(self, rows: Codes) -> Array:
        """Return by how much one more rating of each of some clips narrows the interval of its system."""
        s, tau, counts = self.systems[rows], self.tau[rows], self.counts[rows]
        change = np.stack(self._terms(counts + 1, tau)) - np.stack(self._terms(counts, tau))
        sums, squares, total, sizes = self.sums[:, s], self.squares[s], self.total[s], self.sizes[s]
        after = self._width(sums + change, squares + 2 * self.own[s] + 1, total + 1, sizes)
        return np.asarray(self._width(sums, squares, total, sizes) - after)

    def add(self, clip: int) -> None:
        """Take a clip as rated once more."""
        row, s = np.array([clip]), self.systems[clip]
        before = np.stack(self._terms(self.counts[row], self.tau[row]))
        self.counts[clip] += 1
        self.sums[:, s] += (np.stack(self._terms(self.counts[row], self.tau[row])) - before)[:, 0]
        self.squares[s] += 2 * self.own[s] + 1
        self.total[s] += 1
        self.own[s] += float(self.is_same)


def _variances(given: GivenRatings) -> tuple[float, float, float]:
    """Return the variances of clips around what is predicted, of a rating, and of listeners; alike where unknown."""
    if len(given.values) < 2:
        return 1.0, 1.0, 0.0
    found = system_means(given).components
    whole = max(sum(found.values()), float(np.var(given.values)) / 10, 1e-6)
    clip = found.get(CLIP, whole / 2)
    noise = found.get(RESIDUAL, whole / 2) if CLIP in found else whole / 2
    return max(clip, whole / 100), max(noise, whole / 100), found.get(LISTENER, 0.0) + found.get(VIEW, 0.0)


def _relative(widths: Array | None, num_clips: int) -> Array:
    """Return the squared widths of the predictor's intervals over their mean."""
    if widths is None or not np.isfinite(widths).any():
        return np.ones(num_clips)
    squares = np.where(np.isfinite(widths), widths, np.sqrt(np.nanmean(widths**2))) ** 2
    return np.asarray(squares / squares.mean()) if squares.any() else np.ones(num_clips)


def next_pairs(
    wins: Array,
    candidates: Sequence[tuple[int, int]],
    systems: Codes,
    count: int,
    *,
    scores: Array | None = None,
    seed: int = 0,
) -> list[AskedNext]:
    r"""Choose pairs of clips, each with all before it as if they were judged, that narrow intervals most.

    The intervals are those of all differences of two systems in log-odds, by the model of Bradley and Terry, whose
    prior is that of the predictions. One more judgment of systems s and t, who wins with probability p, adds
    :math:`p (1 - p)` to the information on their difference.

    Args:
        wins: How often system s won against t, ties half to each, shape ``(S, S)``.
        candidates: Pairs of clips that may be asked, by number.
        systems: System of each clip.
        count: How many pairs.
        scores: Predicted mean of each system, in log-odds; None knows nothing.
        seed: Of the order of pairs that tell the same.

    Returns:
        At most as many as there are candidates of two systems.
    """
    prior = np.zeros(len(wins)) if scores is None else scores - scores.mean()
    strengths, covariance = _bradley_terry(wins, prior)
    order = np.random.default_rng(seed).permutation(len(candidates))
    left: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i in order:
        key = tuple(sorted(int(systems[clip]) for clip in candidates[i]))
        if key[0] != key[1]:
            left.setdefault((key[0], key[1]), []).append(candidates[i])
    used, chosen = np.zeros(len(systems)), []
    for _ in range(count):
        likely = sorted(
            (key for key, pairs in left.items() if pairs), key=lambda key: -_told(key, strengths, covariance)
        )
        gains = {key: _pair_gain(key, strengths, covariance) for key in likely[:MOST_COMPARED]}
        if not gains:
            break
        best = max(gains, key=lambda key: gains[key])
        pair = min(left[best], key=lambda clips: used[list(clips)].sum())
        left[best].remove(pair)
        used[list(pair)] += 1
        chosen.append(AskedNext(pair, gains[best]))
        covariance = covariance - _taken(best, strengths, covariance)
    return chosen


def _bradley_terry(wins: Array, prior: Array) -> tuple[Array, Array]:
    """Return the strengths of systems, and their covariance, by Newton's method from the prior."""
    games, x = wins + wins.T, prior.copy()
    for _ in range(100):
        p = 1 / (1 + np.exp(np.clip(x[None] - x[:, None], -30, 30)))
        weights = games * p * (1 - p)
        hessian = np.diag(weights.sum(1)) - weights + np.eye(len(x)) / VAGUE**2
        step = np.linalg.solve(hessian, (wins - games * p).sum(1) - (x - prior) / VAGUE**2)
        x = x + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return x, np.asarray(np.linalg.inv(hessian), np.float64)


def _taken(key: tuple[int, int], strengths: Array, covariance: Array) -> Array:
    """Return what a judgment of two systems takes off the covariance."""
    s, t = key
    p = 1 / (1 + math.exp(strengths[t] - strengths[s]))
    column = covariance[:, s] - covariance[:, t]
    weight = p * (1 - p)
    return np.asarray(np.outer(column, column) * weight / (1 + weight * (column[s] - column[t])))


def _told(key: tuple[int, int], strengths: Array, covariance: Array) -> float:
    """Return how much a judgment tells of the difference of its own two systems."""
    s, t = key
    p = 1 / (1 + math.exp(strengths[t] - strengths[s]))
    return float(p * (1 - p) * (covariance[s, s] + covariance[t, t] - 2 * covariance[s, t]))


def _pair_gain(key: tuple[int, int], strengths: Array, covariance: Array) -> float:
    """Return by how much the intervals of all differences become narrower, added up."""
    after = covariance - _taken(key, strengths, covariance)
    return float(2 * Z * (_deviations(covariance) - _deviations(after)).sum() / 2)


def _deviations(covariance: Array) -> Array:
    diagonal = np.diag(covariance)
    return np.asarray(np.sqrt(np.maximum(diagonal[:, None] + diagonal - 2 * covariance, 0.0)))
