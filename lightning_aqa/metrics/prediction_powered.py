"""Means of systems from ratings of some clips and predictions of all: prediction-powered inference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.few import FEWEST_FOR_INTERVAL
from lightning_aqa.metrics.moderation import moderated
from lightning_aqa.metrics.uncertainty import CONFIDENCE
from lightning_aqa.metrics.variance_components import RESIDUAL, variance_components

Array = NDArray[np.float64]
Codes = NDArray[np.intp]
Target = Literal["systems", "clips"]

CLIP, LISTENER, VIEW = "clip", "listener", "listener and system"


class GivenRatings(NamedTuple):
    """Ratings of some of N clips, by number.

    Args:
        values: Shape ``(R,)``, in score points.
        clips: Clip of each, shape ``(R,)``.
        listeners: Listener of each, shape ``(R,)``.
        systems: System of each of all clips, rated or not, 0 to S - 1, shape ``(N,)``.
        predictions: Of each clip, on any scale, shape ``(N,)``; NaN where there is none.
    """

    values: Array
    clips: Codes
    listeners: Codes
    systems: Codes
    predictions: Array | None = None


class SystemMeans(NamedTuple):
    """Means of S systems and how sure they are.

    Args:
        means: Shape ``(S,)``, in score points; NaN of a system without ratings.
        covariance: Shape ``(S, S)``.
        own: Variance over clips alone, shape ``(S,)``.
        freedom: Degrees of freedom of ``own``, shape ``(S,)``.
        num_listeners: How many listeners there are.
        slope: How much of the predictions is used: score points per point of them; 0 where they tell nothing.
        components: Variances of a rating: of clips around what is predicted, of listeners, of their views of systems,
            and ``residual``.
        clips: Rated clips of each system.
        ratings: Ratings of each system.
    """

    means: Array
    covariance: Array
    own: Array
    freedom: Array
    num_listeners: int
    slope: float
    components: Mapping[str, float]
    clips: Codes
    ratings: Codes

    def half_widths(self, confidence: float = CONFIDENCE) -> Array:
        """Return half the width of the interval of each mean: Student's t, degrees of freedom by Satterthwaite."""
        variance = np.diag(self.covariance)
        return quantiles(self._freedom(variance, self.own**2 / self.freedom), confidence) * np.sqrt(variance)

    def difference(self, s: int, t: int) -> tuple[float, float, float]:
        """Return how much system s is better than t, its standard error, and its degrees of freedom."""
        variance = self.covariance[s, s] + self.covariance[t, t] - 2 * self.covariance[s, t]
        parts = self.own[s] ** 2 / self.freedom[s] + self.own[t] ** 2 / self.freedom[t]
        freedom = self._freedom(variance, parts, self.own[s] + self.own[t])
        return float(self.means[s] - self.means[t]), math.sqrt(max(float(variance), 0.0)), float(freedom)

    def _freedom(self, variance: Array | float, parts: Array | float, own: Array | float | None = None) -> Array:
        of_listeners = np.maximum(variance - (self.own if own is None else own), 0.0)
        total = parts + of_listeners**2 / max(self.num_listeners - 1, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(total > 0, np.square(variance) / total, np.inf))


def quantiles(freedom: Array, confidence: float) -> Array:
    """Return Student's two-sided quantiles; NaN where there are no degrees of freedom."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, (1 + confidence) / 2))


def system_means(
    given: GivenRatings, *, target: Target = "systems", full: float = math.inf, use_predictions: bool = True
) -> SystemMeans:
    r"""Estimate the mean of each system from all its predictions f and the ratings of some of its clips.

    .. math:: \hat\theta_s = \lambda \bar f_s + \sum_c w_c (\bar y_c - \lambda f_c)

    which is unbiased whatever the predictor is worth, as long as the clips to rate were not chosen by how good they
    are. The slope is that of ratings on predictions within systems, the same for all systems, times
    :math:`\max(0, 1 - 1/t^2)` with its t value, so that a predictor of noise is left out and loses nothing; below six
    degrees of freedom it is 0. Weights are the reciprocal variances of :math:`\bar y_c`, which add up to 1.

    The variance is that of the residuals over clips, of which those of systems with few clips borrow (``moderated``),
    and what listeners add to all clips of a system: the squared weights of each listener over different clips, times
    the variances of listeners and of their views of a system.

    Args:
        given: The ratings and predictions.
        target: Mean over all clips that a system could make, or over those that are there; both are over all listeners.
        full: Ratings per clip of a full set, whose mean is the target; by default it is the mean over all listeners.
        use_predictions: False leaves them out, for comparison.

    Raises:
        ValueError: If there are no ratings.

    Reference:
        Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, "Prediction-powered inference", Science 382, 2023; Angelopoulos,
        Duchi, Zrnic, "PPI++", arXiv 2311.01453, for the tuned slope.
        Differs: clips are weighted and shared among listeners; the rated clips are among those predicted; the slope is
        shrunk, and its error is counted by a degree of freedom.
    """
    if not len(given.values):
        raise ValueError("no ratings; expected those of some clips.")
    counts_N = np.bincount(given.clips, minlength=len(given.systems)).astype(np.float64)
    rated = np.flatnonzero(counts_N)
    y_C = np.bincount(given.clips, given.values, len(given.systems))[rated] / counts_N[rated]
    system_C, counts_C = given.systems[rated], counts_N[rated]
    f_N = _centred(given) if use_predictions else np.zeros(len(given.systems))
    best, slope = _slope(y_C, f_N[rated], system_C)
    residual_R = given.values - slope * f_N[given.clips]
    components = _components(residual_R, given)
    noise_C = components.get(RESIDUAL, 0.0) / counts_C
    w_C = _weights(components.get(CLIP, 0.0) + noise_C, system_C)
    num_systems = int(given.systems.max()) + 1
    r_C = y_C - slope * f_N[rated]
    means = np.bincount(system_C, w_C * r_C, num_systems).astype(np.float64)  # predictions are centred: mean zero
    sizes = np.bincount(system_C, minlength=num_systems).astype(np.intp)
    parts = _Parts(w_C, r_C, system_C, num_systems)
    spread, freedom = moderated(parts.spread(means) * _fitted(sizes, slope), sizes.astype(np.float64) - 1)
    shared_SS, between = _of_listeners(given, w_C / counts_C, rated, components, parts.effective)
    own = spread / parts.effective
    if CLIP in components and (target == "clips" or np.isfinite(full)):
        relative, known = _relative_noise(given, num_systems)
        noise = _Noise(components[RESIDUAL] * relative, known, between)
        own, freedom = _finite(own, freedom, noise, parts, counts_C, given.systems, target, full)
    if target == "systems" and slope:
        own = own + _of_predictions(f_N, given.systems, slope, best)
    unknown = np.where(sizes > 0, 0.0, np.nan)
    own = np.maximum(own, 0.0) + unknown
    return SystemMeans(
        means + unknown, np.diag(own) + shared_SS, own, freedom, len(np.unique(given.listeners)), slope, components,
        sizes, np.bincount(given.systems[given.clips], minlength=num_systems).astype(np.intp),
    )  # fmt: skip


def _centred(given: GivenRatings) -> Array:
    """Return predictions less their mean over the clips of their system; a clip without one has that mean."""
    if given.predictions is None:
        return np.zeros(len(given.systems))
    known = np.isfinite(given.predictions)
    f_N, num = np.where(known, given.predictions, 0.0), int(given.systems.max()) + 1
    sizes = np.maximum(np.bincount(given.systems, known, num), 1)
    return np.asarray(np.where(known, f_N - (np.bincount(given.systems, f_N, num) / sizes)[given.systems], 0.0))


def _slope(y_C: Array, f_C: Array, system_C: Codes) -> tuple[float, float]:
    """Return the slope of ratings on predictions within systems, and how much of it is used."""
    y, f = (values - _means(values, system_C)[system_C] for values in (y_C, f_C))
    freedom = len(y) - len(np.unique(system_C)) - 1
    square = float(f @ f)
    if freedom < FEWEST_FOR_INTERVAL or not square > 1e-12 * max(1.0, float(f_C @ f_C)):
        return 0.0, 0.0
    slope = float(f @ y) / square
    error = float(((y - slope * f) ** 2).sum()) / freedom / square
    return slope, slope * max(0.0, 1 - error / slope**2) if slope else 0.0


def _means(values: Array, codes: Codes) -> Array:
    return np.asarray(np.bincount(codes, values) / np.maximum(np.bincount(codes), 1))


def _components(values: Array, given: GivenRatings) -> dict[str, float]:
    """Estimate the variances of what ratings of one system differ by."""
    system_R = given.systems[given.clips]
    view = given.listeners * (int(given.systems.max()) + 1) + system_R
    of_listeners = np.unique(given.listeners, return_counts=True)[1]
    are_told = len(of_listeners) > 1 and of_listeners.max() > 1
    effects = {CLIP: given.clips} | ({LISTENER: given.listeners, VIEW: view} if are_told else {})
    return variance_components(values, system_R, effects)


def _weights(variance_C: Array, system_C: Codes) -> Array:
    precision = 1 / np.where(variance_C > 0, variance_C, 1.0)
    return np.asarray(precision / np.bincount(system_C, precision)[system_C])


def _fitted(sizes: Codes, slope: float) -> float:
    """Return by how much a fitted slope has made residuals too small."""
    freedom = float(np.maximum(sizes - 1, 0).sum())
    return freedom / (freedom - 1) if slope and freedom > 1 else 1.0


class _Parts:
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


class _Noise(NamedTuple):
    """What is no difference between clips: variance of a rating of each system, its freedom, and what listeners add."""

    rating: Array
    freedom: Array
    listeners: Array


def _relative_noise(given: GivenRatings, num_systems: int) -> tuple[Array, Array]:
    """Return how much the ratings of a clip of each system differ, over how much on average, and its freedom."""
    counts_N = np.maximum(np.bincount(given.clips, minlength=len(given.systems)), 1)
    within = given.values - (np.bincount(given.clips, given.values, len(given.systems)) / counts_N)[given.clips]
    freedom = np.bincount(given.systems, np.where(counts_N > 1, counts_N - 1.0, 0.0), num_systems)
    squares = np.bincount(given.systems[given.clips], within**2, num_systems)
    if not squares.any():
        return np.ones(num_systems), np.ones(num_systems)
    with np.errstate(divide="ignore", invalid="ignore"):
        found, known = moderated(np.where(freedom > 0, squares / freedom, np.nan), freedom.astype(np.float64))
    return np.nan_to_num(found * freedom.sum() / squares.sum(), nan=1.0), np.nan_to_num(known, nan=float(freedom.sum()))


def _finite(
    own: Array,
    freedom: Array,
    noise: _Noise,
    parts: _Parts,
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


def _of_predictions(f_N: Array, systems: Codes, slope: float, best: float) -> Array:
    r"""Return the variance of :math:`\lambda \bar f` over clips, and twice its covariance with the residuals."""
    sizes = np.bincount(systems)
    variance = np.bincount(systems, f_N**2) / np.maximum(sizes - 1, 1)
    return np.asarray((slope**2 + 2 * slope * (best - slope)) * variance / np.maximum(sizes, 1))


def _of_listeners(
    given: GivenRatings, share_C: Array, rated: Codes, components: Mapping[str, float], effective: Array
) -> tuple[Array, Array]:
    """Return the covariance that listeners add to clips in common, and the variance that they add from clip to clip.

    Args:
        given: The ratings.
        share_C: Weight of each rating of a rated clip.
        rated: The rated clips.
        components: Variances of a rating.
        effective: How many clips of equal weight each system has.

    Returns:
        Shapes ``(S, S)`` and ``(S,)``; the second is part of the variance of residuals over clips.
    """
    from scipy.sparse import csr_matrix

    num_systems = len(effective)
    share_R = share_C[np.searchsorted(rated, given.clips)]
    system_R = given.systems[given.clips]
    _, listeners = np.unique(given.listeners, return_inverse=True)
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
