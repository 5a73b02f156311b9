"""Quality of clips recovered from single ratings of listeners, each with a bias and an inconsistency of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.utils.variances import shrunken_variances

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
_STEPS = 500


class Listener(NamedTuple):
    """A listener on one axis.

    Args:
        name: Id of the listener.
        n: Ratings.
        bias: Rates this much higher than those who rated the same clips, in score points; NaN where ratings cannot say.
        inconsistency: Standard deviation of what is left, in score points.
        correlation: LCC of the ratings and the mean of the other listeners; NaN with fewer than three shared clips.
        is_outlier: Whether the screening singles the listener out.
    """

    name: str
    n: int
    bias: float
    inconsistency: float
    correlation: float
    is_outlier: bool


class Recovered(NamedTuple):
    """Quality of N clips on one axis.

    Args:
        quality: In score points, shape ``(N,)``; NaN without a rating.
        half_width: Of the 95 % interval, shape ``(N,)``; NaN where ratings cannot say.
        mean: Plain mean of the ratings, shape ``(N,)``.
        listeners: By name.
        components: Groups of clips that no listener links; biases are comparable inside each alone.
        bias_deviation: Standard deviation of the biases, 0 where listeners, or ids that mean nothing, do not differ.
    """

    quality: Array
    half_width: Array
    mean: Array
    listeners: list[Listener]
    components: int
    bias_deviation: float


class _Design(NamedTuple):
    """Ratings ``y`` of clips ``c`` by listeners ``i``, those with two ratings or more first.

    ``M`` holds how many ratings each of these has, in the column of its component.
    """

    c: Rows
    i: Rows
    y: Array
    clips: int
    listeners: int
    estimated: int
    M: Array


class _Fit(NamedTuple):
    q: Array
    b: Array
    q_variance: Array
    b_variance: Array
    fit_variance: Array


def recover(rows: Sequence[tuple[str, str, float]], ids: Sequence[str], *, shrink: bool = True) -> Recovered:
    r"""Recover the quality :math:`q_c` of clips from single ratings, :math:`y_{ci} = q_c + b_i + v_i \varepsilon`.

    Each listener has a bias :math:`b_i` and an inconsistency :math:`v_i`; the maximum likelihood weighs ratings by
    :math:`1 / v_i^2`. Inside each group of clips that listeners link, biases weighted by ratings add up to zero, so
    that the recovered scale is that of the mean. Any sparse or unequal design will do.

    Args:
        rows: (clip id, listener, rating) each; clips that are not asked for are passed over.
        ids: Names of N clips.
        shrink: Take biases as drawn from a normal distribution, and each inconsistency together with the panel's, by
            restricted maximum likelihood: what few ratings say counts for little, and listeners who do not differ give
            the mean. False is the plain maximum likelihood of P.910, which needs many ratings per listener.

    Returns:
        Quality with intervals, and the listeners. Where no listener rated two clips, or nothing is left to tell biases
        from quality, the quality is the mean.

    Example:
        >>> rows = [(c, i, q + b) for c, q in zip("abcd", [1.0, 2.0, 3.0, 4.0]) for i, b in (("x", 0.5), ("y", -0.5))]
        >>> np.diff(recover(rows[:-1], list("abcd")).quality).round(2)  # the last clip has the kinder listener alone
        array([1., 1., 1.])

    Reference:
        ITU-T P.910 (10/2023), annex E; Li, Bampis, Janowski, Katsavounidis, "A simple model for subject behavior in
        subjective experiments", Electronic Imaging 2020.

    Differs:
        P.910 alternates between the parts of the same likelihood and takes all of an inconsistency from the listener's
        own residuals, which is zero, with endless weight, for a listener with one rating. With ``shrink=False`` the
        numbers are those of P.910 but for the zero of the scale, where the likelihood has one maximum.
    """
    known = {id_: n for n, id_ in enumerate(ids)}
    rows = [row for row in rows if row[0] in known and math.isfinite(row[2])]
    names, design = _design(rows, known)
    count = np.bincount(design.c, minlength=len(ids))
    total = np.bincount(design.c, design.y, len(ids))
    mean = np.divide(total, count, out=np.full(len(ids), math.nan), where=count > 0)
    freedom = len(design.y) - int((count > 0).sum()) - max(design.estimated - design.M.shape[1], 0)
    nothing = np.full(len(ids), math.nan)
    components = _count_components(design)
    if freedom <= 0 or not len(design.y):
        told = _listeners(names, design, *np.full((2, design.listeners), math.nan))
        return Recovered(mean.copy(), nothing, mean, told, components, math.nan)
    fit, variance_I, tau2 = _estimate(design, shrink)
    from scipy.special import stdtrit

    half_width = np.where(count > 0, stdtrit(freedom, 0.975) * np.sqrt(fit.q_variance), math.nan)
    bias_I = np.full(design.listeners, math.nan)
    bias_I[: design.estimated] = fit.b
    told = _listeners(names, design, bias_I, np.sqrt(variance_I))
    return Recovered(np.where(count > 0, fit.q, math.nan), half_width, mean, told, components, math.sqrt(tau2))


def _design(rows: Sequence[tuple[str, str, float]], known: dict[str, int]) -> tuple[list[str], _Design]:
    """Number clips and listeners, those with one rating last, and find what listeners link."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    counts: dict[str, int] = {}
    for _, name, _ in rows:
        counts[name] = counts.get(name, 0) + 1
    names = sorted(counts, key=lambda name: (counts[name] == 1, name))
    numbers = {name: n for n, name in enumerate(names)}
    c = np.array([known[id_] for id_, _, _ in rows], dtype=np.intp)
    i = np.array([numbers[name] for _, name, _ in rows], dtype=np.intp)
    y = np.array([rating for _, _, rating in rows], dtype=np.float64)
    estimated = sum(count > 1 for count in counts.values())
    size = len(known) + estimated
    inside = i < estimated
    links = coo_array((np.ones(inside.sum()), (c[inside], len(known) + i[inside])), shape=(size, size))
    labels = connected_components(links, directed=False)[1][len(known) :] if estimated else np.zeros(0, np.intp)
    groups, group_I = np.unique(labels, return_inverse=True)
    M = np.zeros((estimated, len(groups)))
    M[np.arange(estimated), group_I] = [counts[name] for name in names[:estimated]]
    return names, _Design(c, i, y, len(known), len(names), estimated, M)


def _count_components(of: _Design) -> int:
    """Count the groups of clips that listeners with two ratings or more link, lone clips included."""
    linked = np.unique(of.c[of.i < of.estimated])
    return int(of.M.shape[1]) + len(np.setdiff1d(of.c, linked))


def _estimate(of: _Design, shrink: bool) -> tuple[_Fit, Array, float]:
    """Alternate between quality and biases given variances, and variances given these, until nothing moves."""
    n_I = np.bincount(of.i, minlength=of.listeners)
    clip_mean = np.bincount(of.c, of.y, of.clips) / np.maximum(np.bincount(of.c, minlength=of.clips), 1)
    start = max(float(np.mean((of.y - clip_mean[of.c]) ** 2)), 1e-9)
    variance_I, tau2, before = np.full(of.listeners, start), start, np.full(of.clips, math.inf)
    tolerance = (1e-5 if shrink else 1e-9) * math.sqrt(start)
    for _ in range(_STEPS):
        fit = _solve(of, variance_I, tau2, shrink)
        if np.abs(fit.q - before).max() < tolerance:
            break
        before = fit.q
        residual = of.y - fit.q[of.c]
        own = of.i < of.estimated
        residual[own] -= fit.b[of.i[own]]
        sums: Array = np.bincount(of.i, residual**2, of.listeners).astype(np.float64)
        if not shrink:
            variance_I = np.maximum(sums / n_I, 1e-8)
            continue
        free_R = np.where(own, np.clip(1 - fit.fit_variance / variance_I[of.i], 0, 1), 0.0)
        variance_I = shrunken_variances(
            np.where(n_I > 1, sums, 0.0), np.asarray(np.bincount(of.i, free_R, of.listeners), np.float64), 1e-3 * start
        )
        below = of.estimated - of.M.shape[1] - fit.b_variance.sum() / max(tau2, 1e-12 * start)
        tau2 = float(fit.b @ fit.b / below) if below > 1e-6 else 0.0
    return fit, variance_I, tau2 if tau2 > 1e-6 * start else 0.0


def _solve(of: _Design, variance_I: Array, tau2: float, shrink: bool) -> _Fit:
    """Solve for quality and biases by weighted least squares: biases sum to zero per component."""
    from scipy.sparse import csr_array

    lone = of.i >= of.estimated
    w = 1 / (variance_I[of.i] + np.where(lone & shrink, tau2, 0.0))
    W_C = np.bincount(of.c, w, of.clips)
    W_C[W_C == 0] = 1.0
    y_C = np.bincount(of.c, w * of.y, of.clips) / W_C
    own = ~lone
    A = csr_array((w[own], (of.c[own], of.i[own])), shape=(of.clips, of.estimated))
    share = csr_array((w[own] / W_C[of.c[own]], (of.c[own], of.i[own])), shape=A.shape)
    held = np.bincount(of.i[own], w[own], of.estimated)
    K = np.diag(held) - (A.T @ share).toarray() + of.M @ of.M.T * (held.mean() / (of.M**2).mean() if of.M.size else 1)
    if shrink:
        K += np.eye(of.estimated) / max(tau2, 1e-12)
    inverse = np.linalg.pinv(K, hermitian=True) if not shrink else np.linalg.inv(K)
    along = inverse @ of.M
    inverse -= along @ np.linalg.pinv(of.M.T @ along) @ along.T
    b = inverse @ (np.bincount(of.i[own], w[own] * of.y[own], of.estimated) - A.T @ y_C)
    G = share @ inverse
    spread_C = np.bincount(of.c[own], w[own] / W_C[of.c[own]] * G[of.c[own], of.i[own]], of.clips)
    q_variance = 1 / W_C + spread_C
    fit_variance = q_variance[of.c]
    fit_variance[own] += np.diag(inverse)[of.i[own]] - 2 * G[of.c[own], of.i[own]]
    return _Fit(y_C - share @ b, b, q_variance, np.diag(inverse).copy(), fit_variance)


def _listeners(names: Sequence[str], of: _Design, bias_I: Array, inconsistency_I: Array) -> list[Listener]:
    """Describe each listener, and screen them."""
    n_I = np.bincount(of.i, minlength=of.listeners)
    total, count = np.bincount(of.c, of.y, of.clips), np.bincount(of.c, minlength=of.clips)
    others = np.divide(total[of.c] - of.y, count[of.c] - 1, out=np.full(len(of.y), math.nan), where=count[of.c] > 1)
    order = np.argsort(of.i, kind="stable")
    correlation_I = np.full(of.listeners, math.nan)
    for i, rows in enumerate(np.split(order, np.cumsum(n_I)[:-1]) if of.listeners else []):
        rows = rows[np.isfinite(others[rows])]
        if len(rows) >= 3 and min(np.ptp(of.y[rows]), np.ptp(others[rows])) > 1e-9:
            correlation_I[i] = np.corrcoef(of.y[rows], others[rows])[0, 1]
    is_outlier_I = outliers(correlation_I, inconsistency_I)
    found = zip(names, n_I, bias_I, inconsistency_I, correlation_I, is_outlier_I, strict=True)
    told = [Listener(name, int(n), float(b), float(v), float(r), bool(o)) for name, n, b, v, r, o in found]
    return sorted(told, key=lambda listener: listener.name)


def outliers(
    correlations: Array, inconsistencies: Array, *, min_correlation: float | None = None, deviations: float = 3.0
) -> NDArray[np.bool_]:
    """Screen listeners by agreement with the others and by inconsistency, after all ratings are in.

    Args:
        correlations: LCC of each of L listeners with the mean of the others, shape ``(L,)``.
        inconsistencies: In score points, shape ``(L,)``.
        min_correlation: Lowest correlation that passes, .75 in P.913 for trained panels of one lab; None judges by the
            panel: ``deviations`` robust standard deviations below its median on Fisher's z.
        deviations: How many of them, for the logarithm of the inconsistency too.

    Returns:
        Whether each is an outlier, shape ``(L,)``; False where a number is undefined.

    Example:
        >>> outliers(np.array([0.8, 0.9, 0.1]), np.ones(3), min_correlation=0.75)
        array([False, False,  True])

    Reference:
        ITU-T P.913 (06/2021), 11.4 (post-experiment screening by Pearson's correlation); Rousseeuw and Croux, JASA 1993
        (the median absolute deviation).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        low = _far_below(np.arctanh(np.clip(correlations, -0.999999, 0.999999)), deviations)
        if min_correlation is not None:
            low = correlations < min_correlation
        return np.asarray(low | _far_below(-np.log(inconsistencies), deviations))


def _far_below(values: Array, deviations: float) -> NDArray[np.bool_]:
    there = values[np.isfinite(values)]
    if len(there) < 4:
        return np.zeros(len(values), dtype=bool)
    middle = np.median(there)
    spread = 1.4826 * np.median(np.abs(there - middle))
    return np.asarray(values < middle - deviations * max(spread, 0.1))
