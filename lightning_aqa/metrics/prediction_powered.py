"""Means of systems from ratings of some clips and predictions of all: prediction-powered inference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.few import FEWEST_FOR_INTERVAL
from lightning_aqa.metrics.mean_variance import (
    CLIP,
    LISTENER,
    VIEW,
    RatingNoise,
    Target,
    WeightedResiduals,
    of_finite_set,
    of_listeners,
    relative_noise,
)
from lightning_aqa.metrics.moderation import moderated
from lightning_aqa.metrics.uncertainty import CONFIDENCE
from lightning_aqa.metrics.variance_components import RESIDUAL, variance_components

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


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


class PoweredMeans(NamedTuple):
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
) -> PoweredMeans:
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
    parts = WeightedResiduals(w_C, r_C, system_C, num_systems)
    spread, freedom = moderated(parts.spread(means) * _fitted(sizes, slope), sizes.astype(np.float64) - 1)
    shared_SS, between = of_listeners(
        (w_C / counts_C)[np.searchsorted(rated, given.clips)], given.systems[given.clips], given.listeners, components,
        parts.effective,
    )  # fmt: skip
    own = spread / parts.effective
    if CLIP in components and (target == "clips" or np.isfinite(full)):
        relative, known = relative_noise(given.values, given.clips, given.systems, num_systems)
        noise = RatingNoise(components[RESIDUAL] * relative, known, between)
        own, freedom = of_finite_set(own, freedom, noise, parts, counts_C, given.systems, target, full)
    if target == "systems" and slope:
        own = own + _of_predictions(f_N, given.systems, slope, best)
    unknown = np.where(sizes > 0, 0.0, np.nan)
    own = np.maximum(own, 0.0) + unknown
    return PoweredMeans(
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


def _of_predictions(f_N: Array, systems: Codes, slope: float, best: float) -> Array:
    r"""Return the variance of :math:`\lambda \bar f` over clips, and twice its covariance with the residuals."""
    sizes = np.bincount(systems)
    variance = np.bincount(systems, f_N**2) / np.maximum(sizes - 1, 1)
    return np.asarray((slope**2 + 2 * slope * (best - slope)) * variance / np.maximum(sizes, 1))
