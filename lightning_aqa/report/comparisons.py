"""Pictures of many variants: effects with intervals, heat maps over two settings, learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.report.plots import colour
from lightning_aqa.report.svg import Panel, Span, number, span

Array = NDArray[np.float64]
MAX_COLOURED = 8


class Effect(NamedTuple):
    """By how much a variant differs from the baseline.

    Args:
        name: The variant.
        value: Difference of the metric; NaN where undefined.
        low: Lower end of its interval.
        high: Upper end.
        is_sure: Whether it differs after the correction for many comparisons.
        note: What shows on hover.
    """

    name: str
    value: float
    low: float
    high: float
    is_sure: bool
    note: str


def draw_effects(effects: Sequence[Effect], unit: str, label: str) -> str:
    """Plot each effect with its interval, zero in the middle of the page; a full dot differs after correction."""
    ends = [end for effect in effects for end in (effect.value, effect.low, effect.high)]
    count = len(effects)
    longest = max((len(effect.name) for effect in effects), default=0)
    left = min(16 + 6.8 * min(longest, 24), 170)
    rows = Span(-0.6, count - 0.4)
    panel = Panel(span([*ends, 0.0], 0.08), rows, width=360, height=52 + 22 * count, margins=(8, 12, 40, left))
    panel.x_axis(unit)
    panel.line((0, 0), rows, "zero")
    for i, effect in enumerate(effects):
        y = count - 1 - i
        panel.side_text(y, effect.name, limit=24)
        panel.across(effect.low, effect.high, y, "c0")
        if np.isfinite(effect.value):
            panel.mark(effect.value, y, "c0", effect.note, radius=4, shape="dot" if effect.is_sure else "ring")
    return panel.svg(label)


class Curve(NamedTuple):
    """What one run logged over its epochs."""

    variant: int
    note: str
    epochs: list[float]
    values: list[float]


def curves_of(histories: Sequence[tuple[int, str, list[dict[str, float]]]], name: str) -> list[Curve]:
    """Pick what was logged under a name from the histories of runs: number of the variant, note, rows."""
    curves = []
    for variant, note, rows in histories:
        points = [(row["epoch"] + 1, row[name]) for row in rows if name in row and "epoch" in row]
        if points:
            curves.append(Curve(variant, note, [x for x, _ in points], [y for _, y in points]))
    return curves


def draw_curves(curves: Sequence[Curve], label: str) -> str:
    """Plot curves over the epochs; the first eight variants have colours, the rest are grey."""
    x = span([value for curve in curves for value in curve.epochs], 0.0, 1.0)
    y = span([value for curve in curves for value in curve.values], 0.05)
    panel = Panel(x, y, width=320, height=220, margins=(8, 10, 40, 50))
    panel.x_axis("epoch")
    panel.y_axis("")
    means = mean_curves(curves)
    for curve in reversed([*means, *(curve for curve in curves if curve not in means)]):
        css = colour(curve.variant) if curve.variant < MAX_COLOURED else "rest"
        last = f"{curve.note}: {number(round(curve.values[-1], 4))} at the end"
        if len(curve.epochs) == 1:
            panel.mark(curve.epochs[0], curve.values[0], css, curve.note)
        else:
            panel.line(curve.epochs, curve.values, css if curve in means else f"{css} thin", last)
    return panel.svg(label)


def mean_curves(curves: Sequence[Curve]) -> list[Curve]:
    """Average the curves of each variant, as far as all of its seeds went."""
    means = []
    for variant in dict.fromkeys(curve.variant for curve in curves):
        mine = [dict(zip(curve.epochs, curve.values, strict=True)) for curve in curves if curve.variant == variant]
        epochs = sorted(set(mine[0]).intersection(*mine[1:]))
        first = next(curve for curve in curves if curve.variant == variant)
        if len(mine) == 1:
            means.append(first)
        elif epochs:
            values = [float(np.mean([points[epoch] for points in mine])) for epoch in epochs]
            means.append(Curve(variant, f"mean of {len(mine)} seeds", epochs, values))
    return means


def panels_of(names: Iterable[str]) -> list[str]:
    """Return which of the logged names get a panel, losses first, then the mean rank correlations on validation."""
    logged = list(dict.fromkeys(names))
    losses = [name for name in logged if name.count("/") == 1 and name.split("/")[0] in ("train", "val")]
    losses.sort(key=lambda name: (name.split("/")[1] != "loss", name.split("/")[1], name))
    means = [f"val/{level}/SRCC/mean" for level in ("utterance", "system")]
    return [*losses, *(name for name in means if name in logged)]
