"""Is one variant better than another, over seeds and clips: paired bootstrap, Holm's correction, ties with the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.bootstrap import Interval, Method, Replicates, interval, p_value
from lightning_aqa.metrics.levels import higher_is_better

Array = NDArray[np.float64]
SIGNIFICANCE = 0.05
"""Chance of any false alarm over the variants of a column."""


class Difference(NamedTuple):
    """One variant against another.

    Args:
        value: Mean over seeds of the first minus that of the second, in the metric's unit.
        interval: Of ``value``, over clips (or systems) and seeds.
        p_value: Two-sided, of no difference.
        superiority: Chance that a run of the first is better than a run of the second, ties counted half.
        superiority_interval: Of ``superiority``.
    """

    value: float
    interval: Interval
    p_value: float
    superiority: float
    superiority_interval: Interval
    p_adjusted: float = math.nan
    smallest: float = math.nan


def differs(p_adjusted: float) -> bool:
    """Tell whether two variants differ: the p-value after Holm's correction is below 5 %.

    This is the one rule of every table. A variant that does not differ from the best is tied with it, and an undefined
    p-value shows no difference.

    Example:
        >>> [differs(p) for p in (0.049, 0.05, math.nan)]
        [True, False, False]
    """
    return p_adjusted < SIGNIFICANCE


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number, so that the chance of any false alarm in a table stays at the level.

    Args:
        p_values: Of the comparisons; one that is NaN stays so and does not count.

    Returns:
        Adjusted p-values in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Reference:
        S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian J. of Statistics 6, 1979.
    """
    adjusted, highest = list(p_values), 0.0
    defined = sorted((p, position) for position, p in enumerate(p_values) if not math.isnan(p))
    for rank, (p, position) in enumerate(defined):
        highest = max(highest, min(1.0, (len(defined) - rank) * p))
        adjusted[position] = highest
    return adjusted


def over_seeds(replicates: Replicates, seed: int = 0) -> Replicates:
    r"""Average the runs of a variant, column k being the run of seed k, and add what other seeds could give.

    To each draw of the mean over K runs a draw of :math:`t_{K-1}\, s / \sqrt{K}` is added, with s the standard
    deviation of the runs: the spread of a mean of K when s itself is known from K runs only. One run alone tells
    nothing about other seeds, and adds no spread.

    Args:
        replicates: Of K runs on the same resamples.
        seed: Of the draws of t.

    Returns:
        Replicates of one column.
    """
    return _with_seed_noise(replicates.mean(), [replicates], seed)


def _with_seed_noise(mean: Replicates, variants: Sequence[Replicates], seed: int) -> Replicates:
    """Add t with Welch and Satterthwaite's degrees of freedom, for the sum of the variants' means."""
    runs = [of.estimate for of in variants if len(of.estimate) > 1]
    parts = [float(values.var(ddof=1)) / len(values) for values in runs]
    if not sum(parts) > 0:  # NaN too
        return mean
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, runs, strict=True))
    noise = np.random.default_rng([seed, 1]).standard_t(freedom, mean.draws.shape)
    return mean._replace(draws=mean.draws + math.sqrt(sum(parts)) * noise)


def compare(
    first: Replicates,
    second: Replicates,
    metric: str,
    *,
    method: Method = "bca",
    confidence: float = 1 - SIGNIFICANCE,
    seed: int = 0,
) -> Difference:
    """Compare two variants by the same resamples: paired over clips, independent over seeds as Welch's test is.

    Args:
        first: Of the runs of one variant, from ``replicate``.
        second: Of the runs of the other, with the same clips, unit, number of resamples and seed.
        metric: The metric, which says what is better.
        method: How the interval is made.
        confidence: Of the intervals.
        seed: Of what is drawn about seeds.

    Returns:
        The difference; its p-value is one minus the confidence at which the interval just touches zero, never below
        ``2 / (R + 1)``.
    """
    difference = _with_seed_noise(first.mean().minus(second.mean()), (first, second), seed)
    superiority = _superiority(first, second, metric, seed)
    return Difference(
        value=float(difference.estimate[0]),
        interval=interval(difference, method, confidence),
        p_value=p_value(difference, method),
        superiority=float(superiority.estimate[0]),
        superiority_interval=interval(superiority, "percentile", confidence),
    )


def _superiority(first: Replicates, second: Replicates, metric: str, seed: int) -> Replicates:
    """Return the share of pairs of runs that the first wins; for the draws the runs are drawn too."""
    sign = 1 if higher_is_better(metric) else -1

    def share(mine: Array, its: Array, weight_mine: Array, weight_its: Array) -> Array:
        wins = np.sign(sign * (mine[:, None] - its[None]))
        return np.asarray(0.5 + np.einsum("ijr,ir,jr->r", wins, weight_mine, weight_its) / 2)

    generator = np.random.default_rng([seed, 2])
    num_draws = first.draws.shape[1]
    drawn = [
        generator.multinomial(n, np.full(n, 1 / n), num_draws).T / n
        for n in map(len, (first.estimate, second.estimate))
    ]
    equal = [np.full((len(of.estimate), 1), 1 / len(of.estimate)) for of in (first, second)]
    estimate = share(first.estimate[:, None], second.estimate[:, None], *equal)
    return Replicates(estimate, share(first.draws, second.draws, *drawn)[None], np.zeros((1, 0)))
