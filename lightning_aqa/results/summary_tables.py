"""The tables of a sweep: on the screen, as Markdown and as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_aqa.metrics.levels import MEAN, METRICS
from lightning_aqa.results.comparison import ONE_SEED, ComparisonCell
from lightning_aqa.results.files import SUMMARY_CSV, SUMMARY_MD
from lightning_aqa.results.naming import short_names
from lightning_aqa.results.runs import Run
from lightning_aqa.results.summary import SummaryRow, shown_split, summarise
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.records import write_records

MOST_AXES_ABREAST = 2
BEST = "†"
EVIDENCE = (
    "low", "high", "difference", "difference_low", "difference_high", "p_adjusted", "smallest_difference", "verdict",
    "why_no_interval", "is_tied",
)  # fmt: skip
NOTE = "Mean ± standard deviation over the seeds of a variant; computed from the results of the runs."


class ScreenTable(NamedTuple):
    """A table for people: one level of one split.

    Args:
        title: What it is of.
        header: Names of the columns.
        rows: One per variant, its cells as text.
    """

    title: str
    header: list[str]
    rows: list[list[str]]


def lay_out(found: Sequence[SummaryRow]) -> list[ScreenTable]:
    """Lay out the split that counts, one table per level: variants by axis and metric.

    Args:
        found: The metrics of the variants.
    """
    split = shown_split(found)
    levels = dict.fromkeys(cell.level for cell in found if cell.split == split)
    return [_grid(split, level, [c for c in found if (c.split, c.level) == (split, level)]) for level in levels]


def _grid(split: str, level: str, found: Sequence[SummaryRow]) -> ScreenTable:
    """Lay out a level; more than two axes go one below the other, since the table would get too wide."""
    axes = [axis for axis in dict.fromkeys(cell.axis for cell in found) if axis != MEAN]
    counts = {variant: max(len(c.values) for c in found if c.variant == variant) for variant in _variants(found)}
    shown = {(cell.variant, cell.axis, cell.metric): _shown(cell, counts[cell.variant]) for cell in found}
    if len(axes) > MOST_AXES_ABREAST:
        below = [(variant, axis) for axis in axes for variant in counts]
        rows = [[axis, v, str(counts[v]), *(shown.get((v, axis, m), "-") for m in METRICS)] for v, axis in below]
        return ScreenTable(f"{split}, {level} level", ["axis", "variant", "seeds", *METRICS], rows)
    columns = [(axis, metric) for axis in axes for metric in METRICS]
    rows = [[v, str(n), *(shown.get((v, *column), "-") for column in columns)] for v, n in counts.items()]
    return ScreenTable(f"{split}, {level} level", ["variant", "seeds", *(f"{axis} {m}" for axis, m in columns)], rows)


def _variants(found: Sequence[SummaryRow]) -> list[str]:
    return list(dict.fromkeys(cell.variant for cell in found))


def _shown(cell: SummaryRow, count: int) -> str:
    """Write mean and deviation, of how many trials if not of all, and what is sure about it."""
    if math.isnan(cell.mean):
        return "-"
    value = f"{cell.mean:.3f}" if math.isnan(cell.deviation) else f"{cell.mean:.3f} ± {cell.deviation:.3f}"
    value += f" ({len(cell.values)} of {count})" if len(cell.values) < count else ""
    known = cell.compared
    marks = "" if known is None else f"{BEST if known.is_tied else ''}{'*' if known.is_sure else ''}"
    return f"{value} {marks}" if marks else value


def print_tables(name: str, runs: Sequence[Run], folder: Path, missing: str = "") -> None:
    """Print the tables of a sweep, and write ``summary.csv`` and ``summary.md`` to its folder.

    Args:
        name: Name of the sweep.
        runs: Its runs that have finished.
        folder: Its folder.
        missing: Sentence on the trials that are not among them; empty where all are.
    """
    found = summarise(runs)
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    if not found:
        console.print(f"{name}: no trial has finished, so there is no table.", markup=False)
        return
    tables = lay_out(found)
    for grid in tables:
        console.print(_table(f"{name}: {grid.title}", grid))
    write_csv(folder / SUMMARY_CSV, found)
    write_markdown(folder / SUMMARY_MD, name, tables, f"{note(found)} {missing}".strip())
    message = f"{note(found)} In {folder}: {SUMMARY_CSV}, {SUMMARY_MD}"
    console.print(message, markup=False, soft_wrap=True, highlight=False)
    if missing:
        console.print(missing, markup=False, soft_wrap=True, highlight=False)


def _table(title: str, grid: ScreenTable) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    for column in grid.header:
        table.add_column(escape(column), justify="right" if column == "seeds" else "left", no_wrap=True)
    for row in grid.rows:
        table.add_row(*map(escape, row))
    return table


def note(found: Sequence[SummaryRow]) -> str:
    """Say how the tables are to be read, what forbids a mark, and what the tests could show."""
    cells = [row.compared for row in found if row.compared]
    if not cells:
        return NOTE
    if any(cell.num_seeds == 1 for cell in cells):
        return f"{NOTE} {ONE_SEED}"
    first = f"{NOTE} {BEST} the best or not told apart from it, * told apart from {_variants(found)[0]}: 5 % for all"
    reasons = "; ".join(dict.fromkeys(cell.why for cell in cells if cell.why))
    return f"{first} comparisons of a column together, paired over clips or systems, and over seeds." + (
        f" No interval and no mark where there are too few: {reasons}." if reasons else ""
    )


def write_csv(path: Path, found: Iterable[SummaryRow]) -> None:
    """Write tidy rows, one per variant, split, level, axis and metric; its parameters have columns of their own."""
    found = list(found)
    names = list(dict.fromkeys(name for cell in found for name in cell.parameters))
    short = short_names(names)
    columns = ["variant", *(short[name] if short[name] != "variant" else "file" for name in names)]
    header = [*columns, "split", "level", "axis", "metric", "n", "mean", "sd", *EVIDENCE]
    write_records(path, header, (_tidy_row(cell, names) for cell in found))


def _tidy_row(cell: SummaryRow, names: Sequence[str]) -> list[object]:
    parameters = [_plain(cell.parameters.get(name)) for name in names]
    numbers = [len(cell.values), cell.mean, "" if math.isnan(cell.deviation) else cell.deviation]
    return [
        cell.variant, *parameters, cell.split, cell.level, cell.axis, cell.metric, *numbers, *_evidence(cell.compared)
    ]  # fmt: skip


def _evidence(known: ComparisonCell | None) -> list[object]:
    """Return interval, difference to the first variant with its interval and p-value, and whether it is tied."""
    if known is None:
        return [""] * len(EVIDENCE)
    other = known.difference
    against = [""] * 5 if other is None else [other.value, *other.interval, other.p_adjusted, other.smallest]
    numbers = ["" if isinstance(number, float) and math.isnan(number) else number for number in against]
    ends = ["" if math.isnan(end) else end for end in known.interval]
    return [*ends, *numbers, known.verdict, known.why, int(known.is_tied)]


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else "" if value is None else value


def write_markdown(path: Path, name: str, tables: Iterable[ScreenTable], message: str) -> None:
    """Write the tables for people to paste into a page."""
    with replacing(path, errors="backslashreplace") as file:
        file.write(f"# {name}\n\n{message}\n")
        for title, header, rows in tables:
            file.write(f"\n## {title}\n\n")
            lines = [header, ["---"] * len(header), *rows]
            file.write("".join(f"| {' | '.join(cell.strip() for cell in line)} |\n" for line in lines))
