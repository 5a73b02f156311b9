"""The listeners of the split: how many, how they used the scale, and whom the screening singles out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_aqa.data.listeners import Listener, recover
from lightning_aqa.metrics.listeners import ListenerRatings
from lightning_aqa.report.svg import Panel, Span, span
from lightning_aqa.report.templating import picture, render
from lightning_aqa.results.variants import SharedClips

_MOST_BARS = 21
_MOST_ROWS = 20


def listeners(evidence: SharedClips, ratings: ListenerRatings | None, titles: Mapping[str, str]) -> str:
    """Return the listeners of each axis; empty where there are no ratings of single ones.

    Args:
        evidence: The variants on their clips.
        ratings: Ratings of single listeners; None without.
        titles: Title of each axis.
    """
    if ratings is None:
        return ""
    found = [
        _of_axis(axis, titles.get(axis, axis), ratings.of_axis(a, evidence.ids), evidence.ids)
        for a, axis in enumerate(evidence.axes)
    ]
    axes = [part for part in found if part]
    return render("listeners", axes=axes, chosen=[(part["axis"], part["title"]) for part in axes]) if axes else ""


def _of_axis(axis: str, title: str, kept: Sequence[tuple[str, str, float]], ids: Sequence[str]) -> dict[str, Any]:
    if not kept:
        return {}
    recovered = recover(kept, ids)
    each = sorted(Counter(id_ for id_, _, _ in kept).values())
    outliers = [listener for listener in recovered.listeners if listener.is_outlier]
    return {
        "axis": axis,
        "title": title,
        "facts": _facts(recovered.listeners, each, recovered.bias_deviation, recovered.components),
        "outliers": sorted(outliers, key=lambda of: -of.inconsistency)[:_MOST_ROWS],
        "num_outliers": len(outliers),
        "picture": picture(_histogram([rating for _, _, rating in kept], f"Histogram of ratings, {title}")),
    }


def _facts(found: Sequence[Listener], each: Sequence[int], bias_deviation: float, components: int) -> list[str]:
    def many(values: Sequence[int]) -> str:
        low, middle, high = min(values), int(np.median(values)), max(values)
        return str(low) if low == high else f"{low} to {high}, median {middle}"

    told = [f"{len(found)} listeners, ratings of each: {many([of.n for of in found])}; ratings per clip: {many(each)}."]
    if not any(math.isfinite(of.bias) for of in found):
        return [*told, "No id is on two clips, or there are too few ratings: nothing is known of single listeners."]
    spread = np.array([of.inconsistency for of in found])
    told.append(
        f"Biases differ with a standard deviation of {bias_deviation:.2f} score points; inconsistency "
        f"{np.nanmin(spread):.2f} to {np.nanmax(spread):.2f}."
    )
    if components > 1:
        told.append(f"No listener links {components} groups of clips: biases compare inside a group alone.")
    return told


def _histogram(ratings: Sequence[float], label: str) -> str:
    """Draw a bar per rating, or per range where there are many different ones."""
    values = np.unique(ratings)
    if len(values) <= _MOST_BARS:
        middles, counts = values, np.array([ratings.count(value) for value in values.tolist()])
    else:
        counts, edges = np.histogram(ratings, bins=_MOST_BARS - 1)
        middles = (edges[1:] + edges[:-1]) / 2
    panel = Panel(span(values, 0.06, 0.5), Span(0, 1.05 * float(counts.max())), width=320, height=160)
    panel.x_axis("rating")
    panel.y_axis("ratings")
    for middle, count in zip(middles.tolist(), counts.tolist(), strict=True):
        panel.upright(middle, 0.0, float(count), "c0 strong")
        panel.mark(middle, float(count), "c0", f"{middle:g}: {count} ratings", radius=2)
    return panel.svg(label)
