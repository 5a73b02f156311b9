"""Lines through which listeners see the score of a clip: offset, scale and noise of each, beside predictions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.objectives.listener_ratings import Rows, SingleRatings
from lightning_aqa.utils.variances import shrunken_variances

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = NDArray[np.float64]
STEPS, TOLERANCE = 50, 1e-3


class Lines(NamedTuple):
    r"""Lines of I listeners on one axis, :math:`y = p + o_i + g_i (p - \mu) + v_i \varepsilon`.

    Args:
        offset: o, shape ``(I,)``, in score points; on average zero.
        gain: g, shape ``(I,)``, dimensionless; on average zero.
        noise: v squared, shape ``(I,)``, in squared score points.
        centre: mu, the mean of the predictions, in score points.
        clip_variance: Of what predictions miss of a clip, for all listeners alike, in squared score points.
        offset_variance: Of the offsets, in squared score points.
        gain_variance: Of the gains.
    """

    offset: Array
    gain: Array
    noise: Array
    centre: float
    clip_variance: float
    offset_variance: float
    gain_variance: float


def fit_lines(
    ratings: SingleRatings,
    predictions: Array,
    listeners: int,
    start: Lines | None = None,
    *,
    gains: bool = True,
    noises: bool = True,
) -> Lines | None:
    r"""Fit :math:`y_r - p_c = \beta_0 + \beta_1 x_c + u_c + o_i + g_i x_c + v_i \varepsilon`, with x = p - mean.

    u, o and g are drawn from normal distributions whose variances are estimated along with them, by restricted maximum
    likelihood; noises are shrunk towards each other. Predictions that fit link listeners who share no clip; where they
    do not, the variance of u is large, and what two listeners say of one clip decides. beta is what predictions have
    wrong for all listeners, and is dropped: the lines are those of the mean listener on average.

    Args:
        ratings: The ratings.
        predictions: p of each clip, shape ``(C,)``, in score points; clips whose prediction is NaN are passed over, and
            where all are, quality is taken from the ratings alone.
        listeners: I.
        start: Lines to begin with.
        gains: Whether listeners differ in scale; otherwise g is zero.
        noises: Whether they differ in noise.

    Returns:
        The lines; None where nothing is left to tell listeners from noise.

    Reference:
        Henderson, "Best linear unbiased estimation and prediction under a selection model", Biometrics 1975; listeners
        of LDNet (Huang et al., ICASSP 2022) and MBNet (Leng et al., ICASSP 2021), there learned by gradient.
    """
    design = _design(ratings, predictions, listeners, gains)
    freedom = len(design.y) - len(np.unique(design.i)) - (design.clips if design.fixed == 1 else 0)
    if freedom < 1 or np.ptp(design.y) == 0:
        return None
    spread = float(np.var(design.y))
    lines = start or Lines(
        np.zeros(listeners), np.zeros(listeners), np.full(listeners, spread), 0.0, spread, spread / 4, 0.05
    )
    lines = lines._replace(clip_variance=max(lines.clip_variance, 1e-6 * spread), centre=design.centre)
    for _ in range(STEPS):
        before, lines = lines, _step(design, lines, noises, 1e-3 * spread)
        if _moved(before, lines) < TOLERANCE:
            break
    return lines


class _MixedModel(NamedTuple):
    """Differences ``y`` from predictions; the columns of ``Z`` are the fixed effects, offsets, then gains."""

    c: Rows
    i: Rows
    y: Array
    clips: int
    listeners: int
    fixed: int
    Z: csr_array
    U: csr_array
    centre: float


def _design(ratings: SingleRatings, predictions: Array, listeners: int, gains: bool) -> _MixedModel:
    from scipy.sparse import coo_array

    kept = np.isfinite(predictions[ratings.clips])
    if kept.any():
        c, i, y = ratings.clips[kept], ratings.listeners[kept], ratings.values[kept]
        own, c = np.unique(c, return_inverse=True)
        p_C = predictions[own]
    else:
        own, c = np.unique(ratings.clips, return_inverse=True)
        i, y = ratings.listeners, ratings.values
        p_C = np.full(len(own), y.mean() if len(y) else 0.0)
    centre = float(p_C.mean()) if len(p_C) else 0.0
    x = (p_C - centre)[c] if len(p_C) else np.zeros(0)
    sloped = bool(len(x) and np.ptp(x) > 1e-6 * np.ptp(y))
    fixed, rows, ones = 1 + sloped, np.arange(len(y)), np.ones(len(y))
    values, at = [ones, ones], [0 * rows, fixed + i]
    if sloped:
        values, at = [*values, x], [*at, 0 * rows + 1]
    if sloped and gains:
        values, at = [*values, x], [*at, fixed + listeners + i]
    size = fixed + listeners * (1 + (sloped and gains))
    where = np.tile(rows, len(at)), np.concatenate(at)
    Z = coo_array((np.concatenate(values), where), shape=(len(y), size)).tocsr()
    U = coo_array((ones, (rows, c)), shape=(len(y), len(own))).tocsr()
    return _MixedModel(c, i, y - p_C[c] if len(y) else y, len(own), listeners, fixed, Z, U, centre)


def _step(of: _MixedModel, lines: Lines, noises: bool, least: float) -> Lines:
    """Solve Henderson's equations with the variances as they are, then find the variances that go with the solution."""
    from scipy.sparse import csr_array, diags_array

    n = of.listeners
    w = 1 / lines.noise[of.i]
    prior = np.zeros(of.Z.shape[1])
    prior[of.fixed : of.fixed + n] = 1 / max(lines.offset_variance, 1e-9 * least)
    prior[of.fixed + n :] = 1 / max(lines.gain_variance, 1e-9)
    d_C = 1 / (np.bincount(of.c, w, of.clips) + 1 / lines.clip_variance)
    W = diags_array(w)
    shared = csr_array(diags_array(d_C) @ (of.U.T @ W @ of.Z))  # of a clip's effect, per effect of a column
    A = (of.Z.T @ W @ of.Z).toarray() - (of.Z.T @ W @ of.U @ shared).toarray() + np.diag(prior)
    C = np.linalg.inv(A)
    mean_C = d_C * np.bincount(of.c, w * of.y, of.clips)
    effects = C @ (of.Z.T @ (w * (of.y - mean_C[of.c])))
    u = mean_C - shared @ effects
    u_variance = d_C + ((shared @ C) * shared.toarray()).sum(1) if of.clips * len(C) < 2e7 else d_C
    fit_variance = d_C[of.c] + _diagonal(csr_array(of.Z - of.U @ shared), C)
    residual = of.y - of.Z @ effects - u[of.c]
    diagonal = np.diag(C)
    offset, gain = effects[of.fixed : of.fixed + n], effects[of.fixed + n :]
    return Lines(
        offset=offset,
        gain=gain if len(gain) else np.zeros(n),
        noise=_noise(of, residual, np.clip(1 - fit_variance * w, 0, 1), noises, least),
        centre=lines.centre,
        clip_variance=max(_variance(u, u_variance, lines.clip_variance), least),
        offset_variance=_variance(offset, diagonal[of.fixed : of.fixed + n], lines.offset_variance),
        gain_variance=_variance(gain, diagonal[of.fixed + n :], lines.gain_variance) if len(gain) else 0.05,
    )


def _diagonal(M: csr_array, C: Array) -> Array:
    """Return the diagonal of M C M', some rows at a time."""
    chunks = [M[start : start + 4096] for start in range(0, M.shape[0], 4096)]
    return np.concatenate([chunk.multiply(chunk @ C).sum(1) for chunk in chunks])


def _variance(effects: Array, posterior: Array, prior: float) -> float:
    """Return the variance that effects are drawn from: their squares over what the data tells of them."""
    told = len(effects) - float(posterior.sum()) / max(prior, 1e-12)
    return float(effects @ effects) / told if told > 1e-6 else 0.0


def _noise(of: _MixedModel, residual: Array, freedom: Array, noises: bool, least: float) -> Array:
    sums = np.bincount(of.i, residual**2, of.listeners).astype(np.float64)
    free = np.bincount(of.i, freedom, of.listeners).astype(np.float64)
    if noises:
        return shrunken_variances(sums, free, least)
    return np.full(of.listeners, max(float(sums.sum() / max(free.sum(), 1e-9)), least))


def _moved(before: Lines, after: Lines) -> float:
    """Return by what share the variances have moved."""
    one, other = (
        np.sqrt([*lines.noise, lines.clip_variance, lines.offset_variance, lines.gain_variance * lines.noise.mean()])
        for lines in (before, after)
    )
    return float(np.abs(one - other).max() / math.sqrt(float(after.noise.mean())))
