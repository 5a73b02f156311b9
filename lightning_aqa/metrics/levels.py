"""The numbers of one split: metrics per axis at utterance and system level, overall and per domain."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_aqa.metrics.correlation import ktau, lcc, mse, rows_of_systems, srcc, system_means
from lightning_aqa.metrics.domains import rows_by_domain
from lightning_aqa.metrics.few import FEWEST_FOR_CORRELATION

METRICS = ("MSE", "LCC", "SRCC", "KTAU")
PAIR_METRICS = ("accuracy", "log_loss", "ECE")
"""Metrics of judged pairs, which stand as a level of their own; see ``evaluate_pairs``."""
MEAN = "mean"

Array = NDArray[np.float64]
Table = Tensor | NDArray[np.generic] | Sequence[Sequence[float]]
Entry = dict[str, float | str]
Levels = dict[str, dict[str, Entry]]
# The levels, and beside them "domains": {domain: levels} where clips name a domain.
Results = dict[str, Any]


def evaluate(
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    predictions: Table,
    targets: Table,
    axes: Sequence[str],
    system_scores: Mapping[str, Mapping[str, float]] | None = None,
) -> Results:
    """Compute the metrics of one split, whatever the order of its clips.

    Levels: ``utterance``, over clips; ``system``, over the means of each system's rated clips, of predictions and of
    ratings, where clips name systems; ``system_mos``, the means of all of a system's predictions against the score
    that the corpus publishes for it, where given. ``domains`` repeats the first two for the clips of each named
    domain, and of ``a`` where a domain is ``a/music``; a published system score is not of one domain.

    A mean over clips is ``exact_mean``: systems that tie in decimal arithmetic tie here, in whatever order they come.

    Args:
        ids: Name of each of N clips, all different.
        systems: System of each clip; empty where unknown.
        domains: Domain of each clip; empty where unknown.
        predictions: Shape ``(N, A)``, in score points.
        targets: Mean opinion scores, shape ``(N, A)``, in score points; NaN where not rated. Give float64: a score
            that went through float32 is another decimal.
        axes: Names of the axes.
        system_scores: Published score per axis name per system, in score points.

    Returns:
        ``{level: {axis: entry}, "domains": {domain: {level: {axis: entry}}}}``. An entry holds the four metrics, ``n``
        (clips or systems they are computed over), ``unrated`` (clips or systems left out for want of a rating), and
        ``why`` where a metric is NaN. The axis ``mean`` averages each metric over the axes that have ratings; its
        ``n`` counts those axes.

    Raises:
        ValueError: If the lengths differ, an id repeats, or an axis is named ``mean``.

    Example:
        >>> results = evaluate("abc", [""] * 3, [""] * 3, [[1.0], [2.0], [3.0]], [[1.0], [2.0], [6.0]], ["PQ"])
        >>> results["utterance"]["PQ"]["MSE"], results["utterance"]["PQ"]["n"]
        (3.0, 3)
    """
    predictions_NA, targets_NA = _as_table(predictions), _as_table(targets)
    _check(ids, systems, domains, predictions_NA, targets_NA, axes)
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
    predictions_NA, targets_NA = predictions_NA[order], targets_NA[order]
    systems, domains = [systems[i] for i in order], [domains[i] for i in order]
    results: Results = dict(_levels(systems, predictions_NA, targets_NA, axes))
    if system_scores and not set(system_scores).isdisjoint(systems):
        results["system_mos"] = _published_level(systems, predictions_NA, axes, system_scores)
    if any(domains):
        results["domains"] = {}
        for domain, rows in list(rows_by_domain(domains).items())[1:]:
            of_rows = [systems[i] for i in rows]
            results["domains"][domain] = _levels(of_rows, predictions_NA[rows], targets_NA[rows], axes)
    return results


def flatten(results: Results, split: str) -> dict[str, float]:
    """Return the metrics under the keys they are logged by.

    Args:
        results: What ``evaluate`` gives.
        split: First part of the keys.

    Returns:
        ``{split}/{level}/{metric}/{axis}``, and ``{split}/{level}@{domain}/{metric}/{axis}`` per domain; NaN where
        undefined.

    Example:
        >>> list(flatten({"system": {"PQ": {"SRCC": 0.9, "n": 36}}}, "val"))
        ['val/system/SRCC/PQ']
    """
    tables = {level: table for level, table in results.items() if level != "domains"}
    for domain, levels in results.get("domains", {}).items():
        tables |= {f"{level}@{domain}": table for level, table in levels.items()}
    return {
        f"{split}/{level}/{metric}/{axis}": entry[metric]
        for level, table in tables.items()
        for axis, entry in table.items()
        for metric in (*METRICS, *PAIR_METRICS)
        if metric in entry
    }


def to_json(results: Results) -> Results:
    """Return the results with None for NaN, which JSON does not know.

    Example:
        >>> to_json({"system": {"PQ": {"SRCC": math.nan, "n": 1}}})
        {'system': {'PQ': {'SRCC': None, 'n': 1}}}
    """
    return {key: _to_json_value(value) for key, value in results.items()}


def higher_is_better(metric: str) -> bool:
    """Tell whether a metric grows as predictions get better.

    Raises:
        ValueError: If there is no such metric.

    Example:
        >>> higher_is_better("SRCC"), higher_is_better("MSE")
        (True, False)
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}.")
    return metric != "MSE"


def _levels(systems: Sequence[str], predictions_NA: Array, targets_NA: Array, axes: Sequence[str]) -> Levels:
    levels = {"utterance": _level(predictions_NA, targets_NA, axes)}
    if any(systems):
        rows, rated_NA = rows_of_systems(systems), ~np.isnan(targets_NA)
        means_SA, targets_SA = (system_means(values, rated_NA, rows) for values in (predictions_NA, targets_NA))
        levels["system"] = _level(means_SA, targets_SA, axes)
    return levels


def _published_level(
    systems: Sequence[str],
    predictions_NA: Array,
    axes: Sequence[str],
    system_scores: Mapping[str, Mapping[str, float]],
) -> dict[str, Entry]:
    rows = rows_of_systems(systems)
    everything_NA = np.full(predictions_NA.shape, True)
    published_SA = np.array([[system_scores.get(name, {}).get(axis, math.nan) for axis in axes] for name in rows])
    return _level(system_means(predictions_NA, everything_NA, rows), published_SA, axes)


def _level(predictions_NA: Array, targets_NA: Array, axes: Sequence[str]) -> dict[str, Entry]:
    table = {axis: _entry(predictions_NA[:, a], targets_NA[:, a]) for a, axis in enumerate(axes)}
    rated = {axis: entry for axis, entry in table.items() if entry["n"]}
    mean: Entry = {metric: _mean_over_axes(metric, rated.values()) for metric in METRICS}
    mean["n"] = len(rated)
    undefined = [axis for axis, entry in table.items() if "why" in entry]
    if undefined:
        mean["why"] = f"undefined on {', '.join(undefined)}"
    return {**table, MEAN: mean}


def _mean_over_axes(metric: str, entries: Collection[Entry]) -> float:
    return sum(float(entry[metric]) for entry in entries) / len(entries) if entries else math.nan


def _entry(predictions_N: Array, targets_N: Array) -> Entry:
    rated_N = ~np.isnan(targets_N)
    p_N, y_N = predictions_N[rated_N], targets_N[rated_N]
    why = _why_undefined(p_N, y_N)
    finite = bool(np.isfinite(p_N).all())
    entry: Entry = {"MSE": mse(p_N, y_N) if finite else math.nan}
    for name, correlation in (("LCC", lcc), ("SRCC", srcc), ("KTAU", ktau)):
        entry[name] = math.nan if why else correlation(p_N, y_N)
    entry |= {"n": len(p_N), "unrated": len(targets_N) - len(p_N)}
    return {**entry, "why": why} if why else entry


def _why_undefined(p_N: Array, y_N: Array) -> str:
    bad = int(np.count_nonzero(~np.isfinite(p_N)))
    if bad:
        return f"{bad} of {len(p_N)} predictions are not finite"
    if len(p_N) < FEWEST_FOR_CORRELATION:
        return f"{len(p_N)} rated, a correlation needs {FEWEST_FOR_CORRELATION}"
    if np.all(p_N == p_N[0]):
        return "all predictions are equal"
    return "all ratings are equal" if np.all(y_N == y_N[0]) else ""


def _to_json_value(value: object) -> object:
    if isinstance(value, dict):
        return {key: _to_json_value(nested) for key, nested in value.items()}
    if isinstance(value, list):
        return [_to_json_value(nested) for nested in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _as_table(values: Table) -> Array:
    plain = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    return np.asarray(plain, dtype=np.float64)


def _check(
    ids: Sequence[str],
    systems: Sequence[str],
    domains: Sequence[str],
    predictions_NA: Array,
    targets_NA: Array,
    axes: Sequence[str],
) -> None:
    expected = (len(ids), len(axes))
    if predictions_NA.shape != expected or targets_NA.shape != expected or {len(systems), len(domains)} != {len(ids)}:
        raise ValueError(
            f"{len(ids)} ids and {len(axes)} axes need as many systems and domains and tables of shape {expected}, got "
            f"{len(systems)} systems, {len(domains)} domains, predictions {predictions_NA.shape} and targets "
            f"{targets_NA.shape}."
        )
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"every clip counts once, but {len(repeated)} ids repeat, such as {repeated[0]!r}.")
    if MEAN in axes:
        raise ValueError(f"an axis cannot be named {MEAN!r}, which is the average over the axes; rename it.")
