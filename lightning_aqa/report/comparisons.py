"""Pictures of many variants: effects with intervals, heat maps over two settings, learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.report.plots import colour
from lightning_aqa.report.svg import Panel, Span, number, span

Array = NDArray[np.float64]
MAX_COLOURED = 8
LEAST_FILLED = 0.6
NOT_SET = "not set"
"""Word for a setting that is null: the part then chooses for itself, as an adaptive margin does."""


class Effect(NamedTuple):
    """By how much a variant differs from the baseline.

    Args:
        name: The variant.
        value: Difference of the metric; NaN where undefined.
        low: Lower end of its interval.
        high: Upper end.
        verdict: ``better``, ``worse``, ``equal``, ``undecided``, or empty where nothing can be said.
        note: What shows on hover.
        written: The difference and its interval, as written beside it.
    """

    name: str
    value: float
    low: float
    high: float
    verdict: str
    note: str
    written: str


SHAPES = {"better": "dot", "worse": "dot", "equal": "diamond"}


def draw_effects(effects: Sequence[Effect], unit: str, label: str, margin: float | None = None) -> str:
    """Plot each effect with its interval and its numbers; a full dot differs, a diamond is equal within the margin.

    Args:
        effects: The variants.
        unit: What the differences are of.
        label: What a screen reader says.
        margin: Half the width of the band in which differences count as none; None draws no band.
    """
    ends = [end for effect in effects for end in (effect.value, effect.low, effect.high)]
    count = len(effects)
    longest = max((len(effect.name) for effect in effects), default=0)
    left, right = min(16 + 6.8 * min(longest, 24), 170), 22 + 5.6 * max((len(e.written) for e in effects), default=0)
    rows = Span(-0.6, count - 0.4)
    around = span([*ends, 0.0, *([] if margin is None else [-margin, margin])], 0.08)
    panel = Panel(around, rows, width=left + 170 + right, height=52 + 22 * count, margins=(8, right, 40, left))
    if margin is not None:
        panel.cell(-margin, margin, rows.low, rows.high, "band", f"within {number(margin)} of the baseline")
    panel.x_axis(unit)
    panel.line((0, 0), rows, "zero")
    for i, effect in enumerate(effects):
        y = count - 1 - i
        panel.side_text(y, effect.name, limit=24)
        panel.across(effect.low, effect.high, y, "c0")
        panel.text(around.high, y, effect.written, "moved", dx=10)
        if np.isfinite(effect.value):
            shape = SHAPES.get(effect.verdict, "ring")
            panel.mark(effect.value, y, "c0", effect.note, radius=4, shape=shape)
    return panel.svg(label)


class Curve(NamedTuple):
    """Values that one run logged over its epochs.

    Args:
        variant: Number of the variant.
        note: What shows on hover.
        epochs: Epochs, from 1.
        values: What was logged.
        kept: Epoch whose weights were kept; None where that is not known.
    """

    variant: int
    note: str
    epochs: list[float]
    values: list[float]
    kept: float | None = None


class RunHistory(NamedTuple):
    """Values that one run logged, under all names.

    Args:
        variant: Number of the variant.
        note: What shows on hover.
        rows: Values by name, a row per epoch.
        kept: Epoch whose weights were kept, from 1; None where that is not known.
    """

    variant: int
    note: str
    rows: list[dict[str, float]]
    kept: float | None = None


def curves_of(histories: Sequence[RunHistory], name: str) -> list[Curve]:
    """Pick what was logged under a name from the histories of runs."""
    curves = []
    for variant, note, rows, kept in histories:
        points = [(row["epoch"] + 1, row[name]) for row in rows if name in row and "epoch" in row]
        if points:
            curves.append(Curve(variant, note, [x for x, _ in points], [y for _, y in points], kept))
    return curves


def draw_curves(curves: Sequence[Curve], unit: str, label: str) -> str:
    """Plot curves over the epochs, a dot at the epoch that was kept; the first eight variants have colours.

    Args:
        curves: Of the runs.
        unit: What they are of.
        label: What a screen reader says.
    """
    x = span([value for curve in curves for value in curve.epochs], 0.0, 1.0)
    y = span([value for curve in curves for value in curve.values], 0.05)
    panel = Panel(x, y, width=320, height=220, margins=(8, 10, 40, 56))
    panel.x_axis("epoch")
    panel.y_axis(unit)
    means = mean_curves(curves)
    for curve in reversed([*means, *(curve for curve in curves if curve not in means)]):
        css = colour(curve.variant) if curve.variant < MAX_COLOURED else "rest"
        last = f"{curve.note}: {number(round(curve.values[-1], 4))} at the end"
        if len(curve.epochs) == 1:
            panel.mark(curve.epochs[0], curve.values[0], css, curve.note)
        else:
            panel.line(curve.epochs, curve.values, css if curve in means else f"{css} thin", last)
    for curve in curves:
        if curve.kept in curve.epochs and len(curve.epochs) > 1:
            css = colour(curve.variant) if curve.variant < MAX_COLOURED else "rest"
            value = curve.values[curve.epochs.index(curve.kept)]
            panel.mark(curve.kept, value, css, f"{curve.note}: kept epoch {number(curve.kept)}", radius=2.6)
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


class SettingGrid(NamedTuple):
    """A metric over two settings.

    Args:
        rows: Values of the one setting, top to bottom.
        columns: Values of the other, left to right.
        row_name: What the one is.
        column_name: What the other is.
        values: Shape ``(rows, columns)``; NaN where no variant has both.
    """

    rows: list[str]
    columns: list[str]
    row_name: str
    column_name: str
    values: Array


def find_grids(settings: Sequence[Mapping[str, Any]], values: Sequence[float]) -> list[SettingGrid]:
    """Return the grids that variants fill: pairs of settings that vary together, every other setting being equal.

    Where other settings vary too, the value of a cell is the mean over them. A variant that lacks one of the two
    settings, as one without QAMRO lacks its margin, is in none of their cells.

    Args:
        settings: The settings of each variant that vary over the sweep, without seeds.
        values: The metric of each variant.
    """
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    grids = []
    for i, row_name in enumerate(names):
        for column_name in names[i + 1 :]:
            both = [k for k, setting in enumerate(settings) if row_name in setting and column_name in setting]
            grid = _grid([settings[k] for k in both], [values[k] for k in both], row_name, column_name)
            if min(grid.values.shape) > 1 and np.isfinite(grid.values).mean() > LEAST_FILLED:
                grids.append(grid)
    return grids


def _grid(
    settings: Sequence[Mapping[str, Any]], values: Sequence[float], row_name: str, column_name: str
) -> SettingGrid:
    rows, columns = (_levels(setting[name] for setting in settings) for name in (row_name, column_name))
    cells: dict[tuple[str, str], list[float]] = {}
    for setting, value in zip(settings, values, strict=True):
        cells.setdefault((_word(setting[row_name]), _word(setting[column_name])), []).append(value)
    table = [[float(np.mean(cells[r, c])) if (r, c) in cells else np.nan for c in columns] for r in rows]
    return SettingGrid(rows, columns, row_name, column_name, np.array(table))


def _word(value: Any) -> str:
    return NOT_SET if value is None or value == "None" else str(value)


def _levels(values: Iterable[Any]) -> list[str]:
    """List different values: numbers by size, before words by name."""
    different = {_word(value) for value in values}

    def key(value: str) -> tuple[bool, float, str]:
        try:
            return (False, float(value), value)
        except ValueError:
            return (True, 0.0, value)

    return sorted(different, key=key)


def draw_grid(grid: SettingGrid, higher_is_better: bool, label: str, step: float) -> str:
    """Draw a heat map: the better, the darker; the value stands in the cell.

    Args:
        grid: The metric over two settings.
        higher_is_better: Whether high values are dark.
        label: What a screen reader says.
        step: By how much a value is worse for each two shades less: a difference smaller than noise then looks like
            none; NaN leaves all cells in one shade.
    """
    num_rows, num_columns = grid.values.shape
    left = min(36 + 6.2 * max(map(len, grid.rows)), 150)
    width, height = max(left + 12 + 58 * num_columns, 240), 62 + 34 * num_rows
    panel = Panel(Span(0, num_columns), Span(0, num_rows), width=width, height=height, margins=(8, 12, 54, left))
    best = np.nanmax(grid.values) if higher_is_better else np.nanmin(grid.values)
    for r, row_name in enumerate(grid.rows):
        y = num_rows - 1 - r
        panel.side_text(y + 0.5, row_name)
        for c, column_name in enumerate(grid.columns):
            value = float(grid.values[r, c])
            note = f"{grid.row_name} {row_name}, {grid.column_name} {column_name}"
            _draw_cell(panel, c, y, value, shade_below(abs(best - value), step), note)
    for c, column_name in enumerate(grid.columns):
        panel.text(c + 0.5, 0, column_name, "tick mid", dy=15)
    _name_sides(panel, grid)
    return panel.svg(label)


DARKEST = 6
"""Shade of the best cell: text on it is still read well."""


def shade_below(gap: float, step: float) -> int:
    """Return the shade of a value that is worse than the best by a gap: two shades for each whole step.

    Example:
        >>> [shade_below(gap, 0.1) for gap in (0.0, 0.09, 0.11, 0.25, 9.0)]
        [6, 6, 4, 2, 0]
    """
    return DARKEST if not step > 0 else max(DARKEST - 2 * int(gap / step + 1e-9), 0) if np.isfinite(gap) else 0


def _draw_cell(panel: Panel, c: int, y: int, value: float, level: int, note: str) -> None:
    if not np.isfinite(value):
        panel.cell(c, c + 1, y, y + 1, "none", f"{note}: not tried")
        return
    panel.cell(c, c + 1, y, y + 1, f"q{level}", f"{note}: {value:.4f}")
    panel.text(c + 0.5, y + 0.5, f"{value:.3f}", f"mid in q{level}")


def _name_sides(panel: Panel, grid: SettingGrid) -> None:
    bottom = panel.height - panel.bottom
    middle = panel.left + (panel.width - panel.left - panel.right) / 2
    turned = f'transform="translate(11 {panel.top + (bottom - panel.top) / 2}) rotate(-90)"'
    panel.parts.append(f'<text class="label mid" x="{middle}" y="{bottom + 34}">{_short(grid.column_name)}</text>')
    panel.parts.append(f'<text class="label mid" {turned}>{_short(grid.row_name)}</text>')


def _short(name: str) -> str:
    """Last two words of a dotted name, for HTML.

    Example:
        >>> _short("objectives.qamro.margin_scale")
        'qamro.margin_scale'
    """
    return escape(".".join(name.split(".")[-2:]))
