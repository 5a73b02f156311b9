"""Rules by which challenges rank teams, applied to an answer and to published results of the same set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_aqa.metrics.levels import higher_is_better

Numbers = Mapping[tuple[str, str, str], float]
"""A metric per level, axis and metric."""


class MeanOf(NamedTuple):
    """The mean of some metrics at one level, over all axes; the highest wins."""

    level: str
    metrics: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.level} level, mean of {', '.join(self.metrics)} over the axes"


class DenseRanks(NamedTuple):
    """Dense ranks per metric at both levels, averaged in each category, then over the categories; the lowest wins."""

    categories: tuple[tuple[str, ...], ...]
    levels: tuple[str, ...] = ("system", "utterance")

    def __str__(self) -> str:
        names = " | ".join("+".join(category) for category in self.categories)
        return f"mean over {names} of dense ranks at both levels"


Rule = MeanOf | DenseRanks


class Standing(NamedTuple):
    """Place of a team, its value by the rule, and of how many."""

    place: int
    value: float
    of: int


def standing(rule: Rule, own: Numbers, others: Mapping[str, Numbers], axes: Sequence[str]) -> Standing | None:
    """Return the place that an answer would have among published results that are whole enough for the rule.

    Args:
        rule: The rule.
        own: Metrics of the answer.
        others: Metrics of each published system, of one set of clips.
        axes: Axes of the challenge.

    Returns:
        None where the answer itself lacks a metric.

    Example:
        >>> rule, key = MeanOf("system", ("SRCC",)), ("system", "MI", "SRCC")
        >>> standing(rule, {key: 0.9}, {"a": {key: 0.95}, "b": {key: 0.8}}, ["MI"])
        Standing(place=2, value=0.9, of=3)
    """
    wanted = _wanted(rule, axes)
    whole = [of for of in others.values() if all(math.isfinite(of.get(key, math.nan)) for key in wanted)]
    if not all(math.isfinite(own.get(key, math.nan)) for key in wanted):
        return None
    teams: list[Numbers] = [own, *whole]
    if isinstance(rule, MeanOf):
        values = [round(sum(of[key] for key in wanted) / len(wanted), 9) for of in teams]
        return Standing(1 + sum(value > values[0] for value in values[1:]), values[0], len(teams))
    values = [round(value, 9) for value in _dense_values(rule, teams, axes)]
    return Standing(1 + sum(value < values[0] for value in values[1:]), values[0], len(teams))


def _wanted(rule: Rule, axes: Sequence[str]) -> list[tuple[str, str, str]]:
    levels = (rule.level,) if isinstance(rule, MeanOf) else rule.levels
    metrics = rule.metrics if isinstance(rule, MeanOf) else [metric for some in rule.categories for metric in some]
    return [(level, axis, metric) for level in levels for axis in axes for metric in metrics]


def _dense_values(rule: DenseRanks, teams: Sequence[Numbers], axes: Sequence[str]) -> list[float]:
    of_categories = []
    for metrics in rule.categories:
        keys = [(level, axis, metric) for level in rule.levels for axis in axes for metric in metrics]
        ranks = [dense_ranks([of[key] for of in teams], highest_first=higher_is_better(key[2])) for key in keys]
        of_categories.append([sum(of_team) / len(keys) for of_team in zip(*ranks, strict=True)])
    return [sum(of_team) / len(of_categories) for of_team in zip(*of_categories, strict=True)]


def dense_ranks(values: Sequence[float], *, highest_first: bool = True) -> list[int]:
    """Rank values from 1; equal ones share a rank, and the next one follows it.

    Example:
        >>> dense_ranks([0.9, 0.7, 0.7, 0.5])
        [1, 2, 2, 3]
    """
    order = sorted(set(values), reverse=highest_first)
    return [1 + order.index(value) for value in values]
