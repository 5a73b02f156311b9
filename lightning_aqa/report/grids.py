"""Heat maps of a metric over two settings that vary together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.report.svg import NUM_SHADES, Panel, Span, shade, span

Array = NDArray[np.float64]
LEAST_FILLED = 0.6


class HeatMap(NamedTuple):
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


def find_grids(settings: Sequence[Mapping[str, Any]], values: Sequence[float]) -> list[HeatMap]:
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


def _grid(settings: Sequence[Mapping[str, Any]], values: Sequence[float], row_name: str, column_name: str) -> HeatMap:
    rows, columns = (_levels(setting[name] for setting in settings) for name in (row_name, column_name))
    cells: dict[tuple[str, str], list[float]] = {}
    for setting, value in zip(settings, values, strict=True):
        cells.setdefault((_word(setting[row_name]), _word(setting[column_name])), []).append(value)
    table = [[float(np.mean(cells[r, c])) if (r, c) in cells else np.nan for c in columns] for r in rows]
    return HeatMap(rows, columns, row_name, column_name, np.array(table))


def _word(value: Any) -> str:
    return "null" if value is None or value == "None" else str(value)


def _levels(values: Iterable[Any]) -> list[str]:
    """List different values: numbers by size, before words by name."""
    different = {_word(value) for value in values}

    def key(value: str) -> tuple[bool, float, str]:
        try:
            return (False, float(value), value)
        except ValueError:
            return (True, 0.0, value)

    return sorted(different, key=key)


def draw_grid(grid: HeatMap, higher_is_better: bool, label: str) -> str:
    """Draw a heat map: the better, the darker; the value stands in the cell."""
    num_rows, num_columns = grid.values.shape
    left = min(36 + 6.2 * max(map(len, grid.rows)), 150)
    width, height = max(left + 12 + 58 * num_columns, 240), 62 + 34 * num_rows
    panel = Panel(Span(0, num_columns), Span(0, num_rows), width=width, height=height, margins=(8, 12, 54, left))
    of = span(grid.values, 0.0, 1e-4)
    for r, row_name in enumerate(grid.rows):
        y = num_rows - 1 - r
        panel.side_text(y + 0.5, row_name)
        for c, column_name in enumerate(grid.columns):
            note = f"{grid.row_name} {row_name}, {grid.column_name} {column_name}"
            _draw_cell(panel, c, y, float(grid.values[r, c]), of, higher_is_better, note)
    for c, column_name in enumerate(grid.columns):
        panel.text(c + 0.5, 0, column_name, "tick mid", dy=15)
    _name_sides(panel, grid)
    return panel.svg(label)


def _draw_cell(panel: Panel, c: int, y: int, value: float, of: Span, higher_is_better: bool, note: str) -> None:
    if not np.isfinite(value):
        panel.cell(c, c + 1, y, y + 1, "none", f"{note}: not tried")
        return
    level = shade(value, of) if higher_is_better else NUM_SHADES - 1 - shade(value, of)
    panel.cell(c, c + 1, y, y + 1, f"q{level}", f"{note}: {value:.4f}")
    panel.text(c + 0.5, y + 0.5, f"{value:.3f}", f"mid in q{level}")


def _name_sides(panel: Panel, grid: HeatMap) -> None:
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
