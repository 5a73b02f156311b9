"""Agreement with listeners on pairs: accuracy, log loss, calibration, and intervals over the clips that pairs share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.levels import PAIR_METRICS
from lightning_aqa.metrics.uncertainty import CONFIDENCE, NO_INTERVAL, Interval

Array = NDArray[np.float64]
Codes = NDArray[np.intp]
Winner = Literal["a", "b", "tie"]
MOST_BINS, FEWEST_IN_BIN = 10, 10
SMALLEST = 1e-300
FEWEST = 20
"""Judgments and clips below which the log loss, whose distribution is skewed, and the ECE have no interval."""


class JudgedPair(NamedTuple):
    """A pair as a listener and as a model judge it.

    Args:
        clip_a: Id of the first clip.
        clip_b: Id of the second clip.
        axis: Name of the axis.
        winner: The listener's: ``a``, ``b`` or ``tie``.
        listener: Empty where unknown.
        weight: How much it counts.
        score_a: Predicted score of the first clip.
        score_b: Predicted score of the second clip.
        p_a: Probability that the first one wins; NaN of a model that was not trained on pairs.
        p_b: Probability that the second one wins.
        p_tie: Probability of a tie.
    """

    clip_a: str
    clip_b: str
    axis: str
    winner: Winner
    listener: str
    weight: float
    score_a: float
    score_b: float
    p_a: float = math.nan
    p_b: float = math.nan
    p_tie: float = math.nan


class ReliabilityBin(NamedTuple):
    """Pairs whose winner is as probable as one another.

    Args:
        low: Lowest probability of the predicted winner, inclusive.
        high: Highest one, exclusive (inclusive in the last bin).
        n: Pairs.
        predicted: Mean probability of the predicted winner.
        right: Share of them in which it won.
    """

    low: float
    high: float
    n: int
    predicted: float
    right: float


class _Sums(NamedTuple):
    """A metric as a ratio of sums over P pairs: the sum of the absolute sums of K columns, over that of the weights.

    Args:
        parts: Shape ``(P, K)``.
        weights: Shape ``(P,)``.
    """

    parts: Array
    weights: Array

    def value(self) -> float:
        """Return the metric of all pairs."""
        total = self.weights.sum()
        return float(np.abs(self.parts.sum(0)).sum() / total) if total > 0 else math.nan

    def jackknife(self, rows: Codes, groups: Codes) -> float:
        """Return the variance of the metric over groups, each of which is left out in turn.

        Args:
            rows: Pairs; one may be in several groups.
            groups: Number of the group that each of them is in.
        """
        count = int(groups.max(initial=-1)) + 1
        sums = np.zeros((count, self.parts.shape[1]))
        np.add.at(sums, groups, self.parts[rows])
        left = self.weights.sum() - np.bincount(groups, self.weights[rows], count)
        values = np.abs(self.parts.sum(0) - sums).sum(1)[left > 0] / left[left > 0]
        return (
            float((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum()) if len(values) > 1 else 0.0
        )


def evaluate_pairs(
    rows: Sequence[JudgedPair], axes: Sequence[str], *, with_intervals: bool = True, confidence: float = CONFIDENCE
) -> dict[str, dict[str, Any]]:
    r"""Compute how well scores agree with the judgments of pairs, per axis.

    Of the judgments that have a winner: ``accuracy``, the share whose winner has the higher score, equal scores counted
    half; ``log_loss``, the mean negative log-likelihood of the winner in nats; ``ECE``, the expected calibration error
    of the predicted winner, over bins of equal width of its probability,

    .. math:: \sum_k \frac{n_k}{n} \, |\mathrm{right}_k - \mathrm{predicted}_k|

    and ``ECE_chance``, the ECE to expect on as many pairs of a model whose probabilities are exact. Probabilities are
    those given that there is a winner. ``ties`` and ``ties_predicted`` count the others.

    Intervals are for other clips and, where listeners have names, other listeners: pairs that share a clip or a
    listener are not independent, and are not drawn one by one. The variance is that of a jackknife over clips less what
    it counts twice. The interval of the accuracy is Clopper and Pearson's, with as many independent pairs as this
    variance is worth, so that there is one for few pairs too, and where all are right. The others need 20 clips.

    Args:
        rows: The pairs.
        axes: Names of the axes.
        with_intervals: Whether to compute intervals.
        confidence: Share of intervals that are to hold the true value.

    Returns:
        ``{axis: entry}`` of the axes that have pairs, and their ``mean``; an entry has the metrics, NaN where the
        model gives no probabilities, ``n`` (judgments with a winner), ``clips``, ``ties``, ``ties_predicted``,
        ``bins``, and with intervals ``ci`` and ``unit``.

    Example:
        >>> rows = [JudgedPair("a", "b", "MI", "a", "", 1.0, 2.0, 1.0, 0.8, 0.2, 0.0)]
        >>> found = evaluate_pairs(rows, ["MI"])["MI"]
        >>> found["accuracy"], round(found["log_loss"], 4), [round(end, 3) for end in found["ci"]["accuracy"]]
        (1.0, 0.2231, [0.025, 1.0])

    Reference:
        Aronow, Samii, Assenova, "Cluster-robust variance estimation for dyadic data", Political Analysis 23, 2015;
        Korn, Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
        from survey data", Survey Methodology 24, 1998; Guo et al., "On calibration of modern neural networks", ICML
        2017. Differs: the lower end of the ECE is lowered by ``ECE_chance``, its bias.
    """
    found: dict[str, dict[str, Any]] = {}
    for axis in axes:
        of_axis = [row for row in rows if row.axis == axis]
        if of_axis:
            found[axis] = _entry(of_axis, confidence if with_intervals else None)
    if found:
        mean = {metric: float(np.mean([entry[metric] for entry in found.values()])) for metric in PAIR_METRICS}
        found["mean"] = {**mean, "n": len(found)}
    return found


def _entry(rows: Sequence[JudgedPair], confidence: float | None) -> dict[str, Any]:
    decisive = [row for row in rows if row.winner != "tie"]
    n, weights = len(decisive), np.array([row.weight for row in decisive])
    lead = np.array([row.score_a - row.score_b for row in decisive])
    won = np.array([1.0 if row.winner == "a" else -1.0 for row in decisive])
    right = (1 + np.sign(lead) * won) / 2
    p_a = np.array([row.p_a / (row.p_a + row.p_b) for row in decisive])
    best = np.maximum(p_a, 1 - p_a)
    edges = np.linspace(0.5, 1.0, 1 + max(1, min(MOST_BINS, n // FEWEST_IN_BIN)))
    bins = np.clip(np.searchsorted(edges, best, side="right") - 1, 0, len(edges) - 2)
    inside = bins[:, None] == np.arange(len(edges) - 1)
    loss = -np.log(np.maximum(np.where(won > 0, p_a, 1 - p_a), SMALLEST))
    of = {
        "accuracy": _Sums((weights * right)[:, None], weights),
        "log_loss": _Sums((weights * loss)[:, None], weights),
        "ECE": _Sums((weights * (right - best))[:, None] * inside, weights),
    }
    spread = ((weights**2 * best * (1 - best))[:, None] * inside).sum(0)
    entry: dict[str, Any] = {metric: sums.value() for metric, sums in of.items()}
    entry["ECE_chance"] = float(np.sqrt(2 / math.pi * spread).sum() / weights.sum()) if n else math.nan
    entry |= {"n": n, "clips": len({name for row in rows for name in (row.clip_a, row.clip_b)})}
    entry |= {"ties": len(rows) - n, "ties_predicted": float(np.sum([row.p_tie for row in rows]))}
    entry["bins"] = [bin_._asdict() for bin_ in _bins(inside, best, right, weights, edges)]
    if confidence is not None:
        entry |= _intervals(decisive, of, entry, confidence)
    return entry


def _bins(
    inside: NDArray[np.bool_], best: Array, right: Array, weights: Array, edges: Array
) -> Iterator[ReliabilityBin]:
    for k in np.flatnonzero(inside.any(0)).tolist() if np.isfinite(best).all() else ():
        chosen = inside[:, k]
        means = [float(np.average(values[chosen], weights=weights[chosen])) for values in (best, right)]
        yield ReliabilityBin(float(edges[k]), float(edges[k + 1]), int(chosen.sum()), *means)


def _intervals(
    rows: Sequence[JudgedPair], of: Mapping[str, _Sums], entry: Mapping[str, Any], confidence: float
) -> dict[str, Any]:
    """Return the intervals and what they are over."""
    from scipy.special import ndtri, stdtrit

    if not rows:
        return {"ci": {metric: list(NO_INTERVAL) for metric in of}, "unit": "clips"}
    clips = _number([name for row in rows for name in (row.clip_a, row.clip_b)]).reshape(-1, 2)
    names = [row.listener for row in rows]
    listeners = _number(names) if len(set(names)) > 1 and "" not in names else None
    freedom = int(clips.max()) if listeners is None else min(int(clips.max()), int(listeners.max()))
    t = float(stdtrit(max(freedom, 1), (1 + confidence) / 2))
    most = min(len(np.unique(np.sort(clips, axis=1), axis=0)), (int(clips.max()) + 1) / 2)
    found = {}
    for metric, sums in of.items():
        value, variance = entry[metric], _variance(sums, clips, listeners)
        error = math.sqrt(variance) if variance > 0 else 0.0
        if metric == "accuracy":
            worth = value * (1 - value) / variance * float(ndtri((1 + confidence) / 2) / t) ** 2 if error else most
            found[metric] = list(proportion_interval(value, min(worth, len(rows)), confidence))
        elif not math.isfinite(value) or not error or min(len(rows), entry["clips"]) < FEWEST:
            found[metric] = list(NO_INTERVAL)
        else:
            bias, largest = (entry["ECE_chance"], 1.0) if metric == "ECE" else (0.0, math.inf)
            found[metric] = [max(value - bias - t * error, 0.0), min(value + t * error, largest)]
    return {"ci": found, "unit": "clips" if listeners is None else "clips and listeners"}


def _number(names: Sequence[str]) -> Codes:
    return np.asarray(np.unique(np.array(names, dtype=str), return_inverse=True)[1], dtype=np.intp)


def _variance(of: _Sums, clips: Codes, listeners: Codes | None) -> float:
    """Return the variance of a metric over clips, and over listeners where these are given.

    The jackknife over clips leaves each pair out twice, with either clip, so that the one over pairs (all judgments of
    the same two clips) is taken off. Listeners cross the clips: what is of both is taken off once.
    """
    rows, ordered = np.arange(len(clips)), np.sort(clips, axis=1)

    def over_clips(*more: Codes) -> float:
        sides = np.concatenate([np.stack([clips[:, side], *more], axis=1) for side in (0, 1)])
        twice = np.concatenate([rows, rows])
        return of.jackknife(twice, _combined(sides)) - of.jackknife(rows, _combined(np.stack([*ordered.T, *more], 1)))

    least, total = of.jackknife(rows, _combined(ordered)), over_clips()
    if listeners is not None:
        alone = of.jackknife(rows, listeners)
        least, total = max(least, alone), total + alone - over_clips(listeners)
    return max(total, least)


def _combined(columns: Codes) -> Codes:
    """Number the different rows of a table."""
    return np.asarray(np.unique(columns, axis=0, return_inverse=True)[1], dtype=np.intp).ravel()


def proportion_interval(share: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of Clopper and Pearson, of a share of n independent draws; n need not be whole.

    Example:
        >>> [round(end, 3) for end in proportion_interval(1.0, 6)]
        [0.541, 1.0]
    """
    from scipy.special import betaincinv

    if not n > 0 or not math.isfinite(share):
        return NO_INTERVAL
    right, wrong, tail = share * n, (1 - share) * n, (1 - confidence) / 2
    low = float(betaincinv(right, wrong + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, wrong, 1 - tail)) if wrong > 0 else 1.0
    return Interval(low, high)
