"""Is one variant better than another, over seeds and clips: paired bootstrap, Holm's correction, ties with the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.bootstrap import Interval, Level, Method, Replicates, interval, p_value, replicate
from lightning_aqa.metrics.levels import higher_is_better
from lightning_aqa.metrics.resampling import Unit

Array = NDArray[np.float64]


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


class Standing(NamedTuple):
    """One row of a table of variants.

    Args:
        name: The variant.
        value: The metric, mean over seeds.
        deviation: Standard deviation over seeds; NaN for one seed.
        num_seeds: How many runs it has.
        interval: Of ``value``, over clips (or systems) and seeds.
        difference: Against the reference of the table; None for the reference itself.
        p_adjusted: p-value of ``difference`` after Holm's correction over the table; NaN for the reference.
        tied: Whether it is the best variant or cannot be told apart from it.
    """

    name: str
    value: float
    deviation: float
    num_seeds: int
    interval: Interval
    difference: Difference | None
    p_adjusted: float
    tied: bool


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
    defined = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    for rank, (p, place) in enumerate(defined):
        highest = max(highest, min(1.0, (len(defined) - rank) * p))
        adjusted[place] = highest
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
    confidence: float = 0.95,
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


def rank_variants(
    variants: Mapping[str, Array],
    targets: Array,
    systems: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    metric: str = "SRCC",
    level: Level = "system",
    unit: Unit | None = None,
    reference: str | None = None,
    method: Method = "bca",
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[Standing]:
    """Rank variants by one metric, each against a reference, and say which cannot be told apart from the best.

    Args:
        variants: Predictions by name, shape ``(K, N)`` for K seeds, or ``(N,)`` for one.
        targets: Shape ``(N,)``, NaN where not rated.
        systems: System of each clip; empty where unknown.
        prompts: Prompt of each clip; empty where unknown.
        metric: MSE, LCC, SRCC or KTAU.
        level: ``utterance`` or ``system``.
        unit: What is drawn as one piece; None is ``clip`` at utterance level and ``system`` at system level.
        reference: The variant that the others are compared with; None is the best.
        method: How intervals are made.
        confidence: Of the intervals; one minus it is the level at which a tie is broken.
        num_resamples: How many resamples.
        seed: Of all that is drawn.

    Returns:
        The best first. Differences are the variant minus the reference. ``tied`` compares with the best, with Holm's
        correction over all variants, whatever the reference.

    Raises:
        ValueError: If there is no variant of the reference's name.
    """
    if reference is not None and reference not in variants:
        raise ValueError(f"reference {reference!r} is none of the variants {', '.join(variants)}.")
    y_N1 = np.asarray(targets, dtype=np.float64)[:, None]
    settings = {"level": level, "unit": unit, "metrics": [metric], "num_resamples": num_resamples, "seed": seed}
    runs = {
        name: replicate(np.atleast_2d(scores).T, y_N1, systems, prompts, **settings)[metric]  # type: ignore[arg-type]
        for name, scores in variants.items()
    }
    sign = 1 if higher_is_better(metric) else -1
    values = {name: float(of.estimate.mean()) for name, of in runs.items()}
    order = sorted(runs, key=lambda name: -sign * values[name] if math.isfinite(values[name]) else math.inf)

    def against(other: str) -> tuple[dict[str, Difference], dict[str, float]]:
        found = {
            name: compare(of, runs[other], metric, method=method, confidence=confidence, seed=seed)
            for name, of in runs.items()
            if name != other
        }
        return found, dict(zip(found, holm([of.p_value for of in found.values()]), strict=True))

    differences, adjusted = against(reference or order[0])
    from_best = adjusted if reference in (None, order[0]) else against(order[0])[1]
    return [
        Standing(
            name=name,
            value=values[name],
            deviation=float(runs[name].estimate.std(ddof=1)) if len(runs[name].estimate) > 1 else math.nan,
            num_seeds=len(runs[name].estimate),
            interval=interval(over_seeds(runs[name], seed), method, confidence),
            difference=differences.get(name),
            p_adjusted=adjusted.get(name, math.nan),
            tied=name == order[0] or (math.isfinite(values[name]) and not from_best[name] <= 1 - confidence),
        )
        for name in order
    ]
