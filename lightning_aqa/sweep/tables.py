"""The tables of a sweep: on the screen, as Markdown and as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_aqa.files import replacing
from lightning_aqa.metrics.levels import MEAN, METRICS
from lightning_aqa.sweep.results import Cell, cells, shown_split
from lightning_aqa.sweep.trials import Trial, short_names

NOTE = "mean ± standard deviation over the seeds (n) of a variant; computed from the results of the runs."


class Grid(NamedTuple):
    """A table for people: one level of one split.

    Args:
        title: What it is of.
        header: Names of the columns.
        rows: One per variant, its cells as text.
    """

    title: str
    header: list[str]
    rows: list[list[str]]


def grids(found: Sequence[Cell]) -> list[Grid]:
    """Lay out the split that counts, one table per level: variants by axis and metric."""
    split = shown_split(found)
    levels = dict.fromkeys(cell.level for cell in found if cell.split == split)
    return [_grid(split, level, [c for c in found if (c.split, c.level) == (split, level)]) for level in levels]


def _grid(split: str, level: str, found: Sequence[Cell]) -> Grid:
    axes = [axis for axis in dict.fromkeys(cell.axis for cell in found) if axis != MEAN]
    by_place = {(cell.variant, cell.axis, cell.metric): cell for cell in found}
    columns = [(axis, metric) for axis in axes for metric in METRICS]
    header = ["variant", "n", *(f"{axis} {metric}" for axis, metric in columns)]
    rows = []
    for variant in dict.fromkeys(cell.variant for cell in found):
        count = max(len(cell.values) for cell in found if cell.variant == variant)
        cells_of = [by_place.get((variant, axis, metric)) for axis, metric in columns]
        rows.append([variant, str(count), *(_shown(cell) for cell in cells_of)])
    return Grid(f"{split}, {level} level", header, rows)


def _shown(cell: Cell | None) -> str:
    if cell is None or math.isnan(cell.mean):
        return "-"
    return f"{cell.mean:.3f}" if math.isnan(cell.deviation) else f"{cell.mean:.3f} ± {cell.deviation:.3f}"


def print_tables(name: str, trials: Sequence[Trial], folder: Path) -> None:
    """Print the tables of a sweep, and write ``summary.csv`` and ``summary.md`` to its folder."""
    found = cells(trials)
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    for grid in grids(found):
        table = Table(title=escape(f"{name}: {grid.title}"), title_justify="left", box=None, pad_edge=False)
        for column in grid.header:
            table.add_column(escape(column), justify="left" if column == "variant" else "right")
        for row in grid.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    if not found:
        console.print(f"{name}: no trial has finished, so there is no table.", markup=False)
        return
    write_csv(folder / "summary.csv", found)
    write_markdown(folder / "summary.md", name, grids(found))
    console.print(f"{NOTE} In {folder}: summary.csv, summary.md", markup=False, soft_wrap=True, highlight=False)


def write_csv(path: Path, found: Iterable[Cell]) -> None:
    """Write tidy rows, one per variant, split, level, axis and metric; its parameters have columns of their own."""
    found = list(found)
    names = list(dict.fromkeys(name for cell in found for name in cell.parameters))
    short = short_names(names)
    columns = ["variant", *(short[name] if short[name] != "variant" else "file" for name in names)]
    with replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "split", "level", "axis", "metric", "n", "mean", "sd"])
        for cell in found:
            parameters = [_plain(cell.parameters.get(name)) for name in names]
            numbers = [len(cell.values), cell.mean, "" if math.isnan(cell.deviation) else cell.deviation]
            writer.writerow([cell.variant, *parameters, cell.split, cell.level, cell.axis, cell.metric, *numbers])


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else "" if value is None else value


def write_markdown(path: Path, name: str, tables: Iterable[Grid]) -> None:
    """Write the tables for people to paste into a page."""
    with replacing(path) as file:
        file.write(f"# {name}\n\n{NOTE[0].upper()}{NOTE[1:]}\n")
        for title, header, rows in tables:
            file.write(f"\n## {title}\n\n")
            file.write("".join(f"| {' | '.join(row)} |\n" for row in [header, ["---"] * len(header), *rows]))
