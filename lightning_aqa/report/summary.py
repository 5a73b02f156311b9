"""The answer in words: which variant is best, by how much, how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_aqa.metrics.levels import MEAN, higher_is_better
from lightning_aqa.report.templating import render
from lightning_aqa.results.comparison import Column, ComparisonCell, ComparisonTable
from lightning_aqa.results.tables import LEVELS, headline, names_of, shown, shown_interval
from lightning_aqa.results.variants import SharedClips


def answer(evidence: SharedClips, block: ComparisonTable, warning: str = "") -> str:
    """Say in words which variant is best, by how much, how sure that is, and what it shares the position with."""
    column = headline(block)
    cells = [row[column] for row in block.rows]
    name = f"{column[1]} at {LEVELS[block.level]}" + (", mean over the axes" if column[0] == MEAN else "")
    defined = [v for v, cell in enumerate(cells) if math.isfinite(cell.value)]
    best = next((v for v in defined if cells[v].is_best), None)
    has_others = best is not None and len(cells) > 1
    return render(
        "summary",
        warning=warning,
        name=name,
        value=None if best is None else _with_interval(cells[best], column[1]),
        best=evidence.variants[best].name if best is not None and has_others else None,
        tied=names_of(evidence, [v for v in defined if cells[v].is_tied and v != best]),
        ceiling=_ceiling(block, column),
        baseline=_against_baseline(evidence, cells, column[1]) if has_others else "",
        elsewhere=_elsewhere(block, column),
    )


def _with_interval(cell: ComparisonCell, metric: str) -> str:
    return f"{shown(cell.value, metric)} [{shown_interval(cell.interval, metric)}]"


def _elsewhere(block: ComparisonTable, column: Column) -> str:
    """Say in which other columns of the table some variant differs from the baseline."""
    found: dict[str, list[str]] = {}
    for axis, metric in block.columns:
        if (axis, metric) != column and any(row[axis, metric].is_sure for row in block.rows):
            found.setdefault(metric, []).append(axis)
    message = "; ".join(f"{metric} ({', '.join(axes)})" for metric, axes in found.items())
    return f"Other columns in which some differ: {message}." if message else ""


def _ceiling(block: ComparisonTable, column: Column) -> str:
    """Say how far any predictor can get, where single listeners' ratings tell."""
    values = [numbers.get(column, math.nan) for name, _, numbers in block.beside if name == "Ceiling"]
    known = values and math.isfinite(values[0])
    return f"These ratings let no predictor come further than {shown(values[0], column[1])}." if known else ""


def _against_baseline(evidence: SharedClips, cells: Sequence[ComparisonCell], metric: str) -> str:
    sure = [v for v, cell in enumerate(cells) if cell.is_sure]
    baseline = evidence.variants[0].name
    if not sure:
        widest = max((c.difference for c in cells if c.difference), key=lambda d: abs(d.value), default=None)
        far = ""
        if widest is not None and math.isfinite(widest.value):
            low, high = (shown(end, metric) for end in widest.interval)
            far = f" The largest difference is {shown(widest.value, metric)} [{low}, {high}]."
        return f"No variant differs from the baseline, {baseline}, after Holm's correction.{far}"
    sign = 1 if higher_is_better(metric) else -1
    parts = []
    for side, chosen in (
        ("Better", [v for v in sure if sign * _value(cells[v]) > 0]),
        ("Worse", [v for v in sure if sign * _value(cells[v]) < 0]),
    ):
        if chosen:
            names = names_of(evidence, chosen)
            parts.append(f"{side} than the baseline, {baseline}, after Holm's correction: {names}.")
    return " ".join(parts)


def _value(cell: ComparisonCell) -> float:
    return cell.difference.value if cell.difference else 0.0
