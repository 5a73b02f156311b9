"""Ceilings of any predictor, from the ratings of single listeners: split halves, highest correlation, lowest error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import ktau, lcc, mse, rows_of_systems, sorted_rows, srcc

Array = NDArray[np.float64]


class Ceiling(NamedTuple):
    """Ceilings of one axis at one level.

    Args:
        n: Clips or systems with ratings of at least two listeners.
        listeners: Ratings per clip, mean.
        split_half_lcc: LCC of the means of two halves of the listeners, mean over random splits.
        split_half_srcc: The same, SRCC.
        reliability: LCC expected between this mean rating and that of as many other listeners: the split half stepped
            up to all listeners by Spearman and Brown's formula.
        lcc: The highest LCC that any predictor can be expected to reach, the root of ``reliability``.
        srcc: The same from the SRCC of the halves; for ranks the formula is an approximation.
        mse: The MSE of a predictor that knows what all listeners of the world would say on average.
    """

    n: int
    listeners: float
    split_half_lcc: float
    split_half_srcc: float
    reliability: float
    lcc: float
    srcc: float
    mse: float


def ratings_table(
    ids: Sequence[str], axes: Sequence[str], rows: Sequence[tuple[str, str, str, float]]
) -> NDArray[np.float64]:
    """Lay out tidy ratings, one row per rating, as one table; which listener is lost.

    Args:
        ids: Name of each of N clips.
        axes: Names of the axes.
        rows: (clip id, axis, listener, rating) each; clips and axes that are not asked for are passed over.

    Returns:
        Shape ``(N, A, K)`` for at most K ratings per clip and axis, NaN at the end of shorter ones.

    Example:
        >>> ratings_table(["a", "b"], ["PQ"], [("a", "PQ", "1", 4.0), ("a", "PQ", "2", 5.0)])
        array([[[ 4.,  5.]],
        <BLANKLINE>
               [[nan, nan]]])
    """
    found: dict[tuple[str, str], list[float]] = {(id_, axis): [] for id_ in ids for axis in axes}
    for id_, axis, _, rating in rows:
        if (id_, axis) in found:
            found[id_, axis].append(rating)
    most = max(map(len, found.values()), default=0)
    padded = [values + [math.nan] * (most - len(values)) for values in found.values()]
    return np.array(padded, dtype=np.float64).reshape(len(ids), len(axes), most)


def spearman_brown(reliability: float, factor: float) -> float:
    r"""Step the reliability of a mean up to ``factor`` times as many listeners, :math:`\frac{m r}{1 + (m - 1) r}`.

    Args:
        reliability: r, correlation of two means of as many listeners each.
        factor: m, dimensionless.

    Returns:
        The stepped-up reliability; NaN where r is so negative that the formula has no sense.

    Example:
        >>> spearman_brown(0.5, 2)
        0.6666666666666666
    """
    below = 1 + (factor - 1) * reliability
    return factor * reliability / below if below > 1e-9 else math.nan


def ceiling(ratings: Array, systems: Sequence[str] | None = None, *, num_splits: int = 50, seed: int = 0) -> Ceiling:
    r"""Compute what the listeners allow on one axis: at utterance level, or at system level where systems are given.

    Clip by clip the ratings are dealt at random into two halves; with an odd number one is left out. The halves'
    correlation r, averaged over the splits, is that of means of h listeners; for all k it is stepped up by
    Spearman and Brown's formula with m = k / h. A perfect predictor correlates with a mean of reliability R at
    :math:`\sqrt{R}`. Its MSE is the variance of the mean that listeners leave,
    :math:`\frac{1}{N} \sum_n s_n^2 / k_n` with :math:`s_n^2` the variance of the ratings of clip n (N - 1 in the
    denominator); at system level the same of the mean over the clips of a system.

    Args:
        ratings: Shape ``(N, K)``, in score points, NaN where fewer listeners rated.
        systems: System of each clip; None for the utterance level.
        num_splits: Random splits to average over.
        seed: Of the splits.

    Returns:
        NaN where a number is undefined, such as for one listener per clip.
    """
    kept = np.isfinite(ratings).sum(1) >= 2
    if systems is not None:
        kept &= np.array([bool(name) for name in systems], dtype=bool)
    ratings_NK = ratings[kept]
    k_N = np.isfinite(ratings_NK).sum(1)
    if not len(k_N):
        return Ceiling(0, math.nan, *[math.nan] * 6)
    halves = np.stack(
        [_halves(ratings_NK, np.random.default_rng([seed, split])) for split in range(num_splits)], axis=2
    )
    floor_N = np.nanvar(ratings_NK, axis=1, ddof=1) / k_N
    if systems is not None:
        rows = rows_of_systems([name for name, keep in zip(systems, kept, strict=True) if keep])
        halves = np.stack([halves[of].mean(0).round(12) for of in rows.values()])
        floor_N = np.array([floor_N[of].sum() / len(of) ** 2 for of in rows.values()])
    linear, rank = _correlation(halves), _correlation(_ranks(halves))
    factor = float(k_N.mean() / (k_N // 2).mean())
    whole = [spearman_brown(r, factor) for r in (linear, rank)]
    return Ceiling(
        n=len(halves),
        listeners=float(k_N.mean()),
        split_half_lcc=linear,
        split_half_srcc=rank,
        reliability=whole[0],
        lcc=_root(whole[0]),
        srcc=_root(whole[1]),
        mse=float(floor_N.mean()),
    )


def _halves(ratings_NK: Array, generator: np.random.Generator) -> Array:
    """Deal the ratings of each clip into two halves and average them, shape ``(N, 2)``."""
    position = np.where(np.isfinite(ratings_NK), generator.random(ratings_NK.shape), np.inf)
    dealt = np.take_along_axis(np.nan_to_num(ratings_NK), np.argsort(position, axis=1), axis=1)
    half_N1 = (np.isfinite(ratings_NK).sum(1) // 2)[:, None]
    column = np.arange(ratings_NK.shape[1])
    masks = column < half_N1, (column >= half_N1) & (column < 2 * half_N1)
    return np.stack([(dealt * mask).sum(1) / half_N1[:, 0] for mask in masks], axis=1)


def _ranks(halves_N2T: Array) -> Array:
    from scipy.stats import rankdata

    return np.asarray(rankdata(halves_N2T, axis=0), dtype=np.float64)


def _correlation(halves_N2T: Array) -> float:
    """Return Pearson's correlation of the two halves, mean over the splits; NaN where one is constant."""
    if len(halves_N2T) < 2 or (np.ptp(halves_N2T, axis=0) == 0).any():
        return math.nan
    centred = halves_N2T - halves_N2T.mean(0)
    return float(np.mean((centred[:, 0] * centred[:, 1]).sum(0) / np.sqrt((centred**2).sum(0).prod(0))))


def _root(reliability: float) -> float:
    return math.sqrt(reliability) if reliability >= 0 else math.nan


def system_only(systems: Sequence[str], targets: Array) -> dict[str, float]:
    """Compute the metrics of a predictor that knows only which system made a clip: the mean of its *other* clips.

    A clip's own rating is left out, or the predictor would know a part of the answer.

    Args:
        systems: System of each of N clips; empty where unknown.
        targets: Shape ``(N,)``, NaN where not rated.

    Returns:
        MSE, LCC, SRCC, KTAU at utterance level and ``n``, over clips whose system has another rated clip.

    Example:
        >>> system_only(["x", "x", "y", "y"], np.array([1.0, 2.0, 4.0, 5.0]))["MSE"]
        1.0
    """
    predicted_N = np.full(len(targets), math.nan)
    for rows in rows_of_systems(systems).values():
        rated = [row for row in rows if np.isfinite(targets[row])]
        if len(rated) > 1:
            values = targets[rated]
            predicted_N[rated] = (values.sum() - values) / (len(rated) - 1)
    known_N = np.isfinite(predicted_N)
    p_N, y_N = np.round(predicted_N[known_N], 12), targets[known_N]
    metrics = {"MSE": mse, "LCC": lcc, "SRCC": srcc, "KTAU": ktau}
    return {name: metric(p_N, y_N) for name, metric in metrics.items()} | {"n": len(p_N)}


def ceilings(
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    ratings: Array,
    axes: Sequence[str],
    *,
    num_splits: int = 50,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, Ceiling]]]:
    """Compute the ceilings per axis at both levels, overall and per domain.

    Args:
        ids: Name of each of N clips.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        ratings: Shape ``(N, A, K)``, see ``ratings_table``.
        axes: Names of the axes.
        num_splits: Random splits of the listeners to average over.
        seed: Of the splits.

    Returns:
        ``{domain: {level: {axis: Ceiling}}}``; the domain of all clips is ``""``.
    """
    order = sorted_rows(ids)
    ratings, names = ratings[order], [systems[i] for i in order]
    of_domain = np.array([domains[i] for i in order])
    found: dict[str, dict[str, dict[str, Ceiling]]] = {}
    for domain in ["", *sorted(set(domains) - {""})]:
        rows = np.flatnonzero((of_domain == domain) | (domain == ""))
        named = [names[i] for i in rows]
        levels: dict[str, Sequence[str] | None] = {"utterance": None} | ({"system": named} if any(named) else {})
        found[domain] = {
            level: {
                axis: ceiling(ratings[rows, a], of, num_splits=num_splits, seed=seed) for a, axis in enumerate(axes)
            }
            for level, of in levels.items()
        }
    return found
