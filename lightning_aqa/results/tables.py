"""The tables as text, tidy CSV and Markdown; and how numbers and marks are written, here, in LaTeX and in the page."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.metrics.levels import MEAN
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.metrics.uncertainty import Interval
from lightning_aqa.results.comparison import ONE_SEED, Column, ComparisonCell, ComparisonTable
from lightning_aqa.results.files import CONFIG
from lightning_aqa.results.variants import SharedClips, Variant
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.records import write_records

MINUS, DASH = "\u2212", "\u2013"

LEVELS = {
    "utterance": "utterance level",
    "system": "system level",
    "system_mos": "system level, against published scores of systems",
}
COLUMNS = (
    "level",
    "domain",
    "row",
    "axis",
    "metric",
    "value",
    "sd",
    "seeds",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p_adjusted",
    "smallest_difference",
    "verdict",
    "why_no_interval",
    "is_best",
    "is_tied",
    "n",
    "config",
    "command",
)
METRICS_SHOWN = ("SRCC", "LCC", "KTAU", "MSE")
"""Metrics in the order of the tables that people read."""
DAGGER = "\u2020"


def shown(value: float, metric: str = "") -> str:
    """Write a metric with three decimals, a correlation without the zero before the point; a dash where undefined.

    Example:
        >>> shown(0.8126, "SRCC"), shown(0.5, "MSE"), shown(-0.25, "LCC") == MINUS + ".250"
        ('.813', '0.500', True)
    """
    if not math.isfinite(value):
        return DASH
    text = f"{value:.3f}".replace("-0.000", "0.000").replace("-", MINUS)
    return text if metric == "MSE" else text.replace("0.", ".", 1) if text.lstrip(MINUS).startswith("0.") else text


def shown_interval(interval: Interval, metric: str, between: str = ", ") -> str:
    """Write the ends of an interval; nothing where there is none."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    return f"{shown(interval.low, metric)}{between}{shown(interval.high, metric)}"


def signed(value: float, metric: str = "") -> str:
    """Write a difference as ``shown`` does, with its sign.

    Example:
        >>> signed(0.034, "SRCC"), signed(-0.2, "MSE") == MINUS + "0.200"
        ('+.034', True)
    """
    return ("+" if value > 0 else "") + shown(value, metric)


def many(count: int, word: str) -> str:
    """Write a number with its word.

    Example:
        >>> many(1, "clip"), many(4012, "system") == f"4{chr(0x202F)}012 systems"
        ('1 clip', True)
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}".replace(",", "\u202f")


def title_of(block: ComparisonTable) -> str:
    """Say what a table is of, such as ``system level, speech``."""
    return LEVELS[block.level] + (f", {block.domain}" if block.domain else "")


def axes_of(block: ComparisonTable) -> list[str]:
    """Return the axes of a table, the mean over them first: it is what the text speaks of."""
    axes = list(dict.fromkeys(axis for axis, _ in block.columns))
    return sorted(axes, key=lambda axis: axis != MEAN)


def metrics_of(block: ComparisonTable) -> list[str]:
    """Return the metrics of a table, the headline's first."""
    there = {metric for _, metric in block.columns}
    return [metric for metric in METRICS_SHOWN if metric in there]


def columns_of(block: ComparisonTable) -> list[Column]:
    """Return the columns in the order in which they are read: the headline number first."""
    return [(axis, metric) for axis in axes_of(block) for metric in metrics_of(block)]


def beside_of(block: ComparisonTable, name: str, column: Column) -> float:
    """Return a number that stands beside the variants; of the mean over axes the mean of those of all rated axes.

    Returns:
        NaN where the row, or the number of a rated axis, is not there.
    """
    numbers = next((of for row, _, of in block.beside if row == name), {})
    if column[0] != MEAN or column in numbers:
        return numbers.get(column, math.nan)
    values = [numbers.get((axis, column[1]), math.nan) for axis, n in block.n.items() if n]
    return sum(values) / len(values) if values else math.nan


class Marks(NamedTuple):
    """Marks of one number, the same in every form of the tables.

    Args:
        is_bold: Whether it is the best of its column.
        dagger: The sign of a number that is not told apart from the best; on the best itself where none is.
        against: ``*`` where it differs from the baseline, ``=`` where it is equal to it within the margin.
    """

    is_bold: bool = False
    dagger: str = ""
    against: str = ""


def marks_of(block: ComparisonTable, v: int, column: Column) -> Marks:
    """Return the marks of a variant's number; none where nothing can be said: one seed, one variant, or few units."""
    cell, cells = block.rows[v][column], [row[column] for row in block.rows]
    if block.one_seed or len(cells) < 2 or not math.isfinite(cell.value):
        return Marks()
    if any(other.why for other in cells):
        return Marks()
    are_all = all(other.is_tied for other in cells if math.isfinite(other.value))
    dagger = DAGGER if cell.is_tied and cell.is_best == are_all else ""
    return Marks(cell.is_best, dagger, "*" if cell.is_sure else "=" if cell.verdict == "equal" else "")


def units_of(blocks: Sequence[ComparisonTable], unit: Unit | None) -> str:
    """Say over what the intervals of tables are, by what varies as one piece.

    Example:
        >>> units_of([], "system+prompt")
        'systems and prompts'
    """
    if unit is not None:
        return " and ".join(f"{name}s" for name in unit.split("+"))
    levels = {block.level == "utterance" for block in blocks}
    if len(levels) > 1:
        return "clips (utterance level) or systems (system level)"
    return "clips" if levels == {True} else "systems"


def legend_of(evidence: SharedClips, blocks: Sequence[ComparisonTable], unit: Unit | None = None) -> str:
    """Say how the numbers and the marks of tables are to be read.

    Args:
        evidence: The variants.
        blocks: The tables.
        unit: What varied as one piece; None is clips at utterance and systems at system level.
    """
    cells = [cell for block in blocks for row in block.rows for cell in row.values()]
    has_seeds = any(math.isfinite(cell.deviation) for cell in cells)
    first = "Mean ± standard deviation over seeds; " if has_seeds else ""
    parts = [f"{first}[95 % interval over {units_of(blocks, unit)}{' and seeds' if has_seeds else ''}]."]
    if len(evidence.variants) > 1 and any(block.one_seed for block in blocks):
        parts.append(ONE_SEED)
    elif len(evidence.variants) > 1:
        parts += [f"Bold: the best of a column. {DAGGER}: not told apart from it (beside the best itself: none is)."]
        parts += [f"*: differs from the baseline, {evidence.variants[0].name}."]
        margin = blocks[0].equivalence
        parts += [] if margin is None else [f"=: equal to it within {shown(margin, 'SRCC')}."]
        parts += ["All at 5 %, corrected for the number of variants, not for that of columns."]
    return " ".join(parts)


def reasons_of(block: ComparisonTable) -> list[str]:
    """List why numbers of a table have no interval, each reason once, with the metrics or axes that it is said of.

    Returns:
        Sentences such as ``3 systems: a perfect order comes by luck in 1 of 3 (SRCC, LCC, KTAU)``.
    """
    found: dict[str, dict[Column, None]] = {}
    for column in columns_of(block):
        for cell in (row[column] for row in block.rows):
            if cell.why and math.isfinite(cell.value):
                found.setdefault(cell.why, {})[column] = None
    return [why + _said_of(block, list(columns)) for why, columns in found.items()]


def _said_of(block: ComparisonTable, columns: Sequence[Column]) -> str:
    """Name the metrics of some columns, or else their axes; nothing where it is all of them."""
    for i, every in ((1, metrics_of(block)), (0, axes_of(block))):
        names = list(dict.fromkeys(column[i] for column in columns))
        if len(names) < len(every):
            return f" ({', '.join(names)})"
    return ""


def config_link(variant: Variant, folder: Path) -> str:
    """Return the path from a folder to the config of a variant's first run; empty where it has none."""
    run = variant.runs[0]
    path = run.folder / CONFIG
    return Path(os.path.relpath(path, folder)).as_posix() if path.exists() else ""


def write_csv(path: Path, evidence: SharedClips, blocks: Iterable[ComparisonTable]) -> None:
    """Write one row per number, with everything that is known of it."""
    write_records(path, COLUMNS, _tidy_rows(path.parent, evidence, blocks))


def _tidy_rows(folder: Path, evidence: SharedClips, blocks: Iterable[ComparisonTable]) -> Iterator[Sequence[object]]:
    for block in blocks:
        for variant, row in zip(evidence.variants, block.rows, strict=True):
            link = config_link(variant, folder)
            for column, cell in row.items():
                positions = [block.level, block.domain, variant.name, *column]
                yield [*positions, *_numbers(cell), block.n.get(column[0], ""), link, variant.runs[0].command]
        for name, _, numbers in block.beside:
            for column, value in numbers.items():
                yield [block.level, block.domain, name, *column, _plain(value)]


def _numbers(cell: ComparisonCell) -> list[object]:
    """List the numbers of a cell; what is undefined is empty."""
    difference = cell.difference
    compared = [difference.value, *difference.interval] if difference else [math.nan] * 3
    spread = [cell.deviation, cell.num_seeds, *cell.interval, *compared, cell.p_adjusted]
    smallest = difference.smallest if difference else math.nan
    said = [_plain(smallest), cell.verdict, cell.why]
    return [_plain(cell.value), *map(_plain, spread), *said, int(cell.is_best), int(cell.is_tied)]


def _plain(value: float) -> object:
    return "" if math.isnan(value) else value


def write_markdown(
    path: Path, evidence: SharedClips, blocks: Sequence[ComparisonTable], unit: Unit | None = None
) -> None:
    """Write one table per level and domain; a variant links to its config."""
    with replacing(path, errors="backslashreplace") as file:
        for block in blocks:
            columns = columns_of(block)
            names = [f"{axis} {metric}" for axis, metric in columns]
            lines = [f"**{capital(title_of(block))}**, split {evidence.split} ({sizes_of(block)})", ""]
            lines += ["| | " + " | ".join(map(markdown, names)) + " |", "|---" + "|--:" * len(names) + "|"]
            for v, variant in enumerate(evidence.variants):
                link = config_link(variant, path.parent)
                name = f"[{markdown(variant.name)}](<{link}>)" if link else markdown(variant.name)
                lines.append(f"| {name} | " + " | ".join(_markdown_cell(block, v, c) for c in columns) + " |")
            for name, _, _ in block.beside:
                cells = [shown(beside_of(block, name, column), column[1]) for column in columns]
                lines.append(f"| *{name}* | " + " | ".join(cells) + " |")
            lines += [f"\nNo interval: {markdown(why)}." for why in reasons_of(block)]
            file.write("\n".join([*lines, "", ""]))
        file.write(
            f"{markdown(legend_of(evidence, blocks, unit)).replace(chr(92) + '[', '[').replace(chr(92) + ']', ']')}\n"
        )


def _markdown_cell(block: ComparisonTable, v: int, column: Column) -> str:
    cell, marks = block.rows[v][column], marks_of(block, v, column)
    value = shown(cell.value, column[1])
    text = (f"**{value}**" if marks.is_bold else value) + marks.dagger + marks.against.replace("*", "\\*")
    text += f" ± {shown(cell.deviation, column[1])}" if math.isfinite(cell.deviation) else ""
    ends = shown_interval(cell.interval, column[1])
    return f"{text} [{ends}]" if ends else text


def markdown(text: str) -> str:
    """Write a text so that Markdown shows it as it is, in a cell of a table too."""
    for sign in ("\\", "|", "*", "_", "[", "]", "<"):
        text = text.replace(sign, f"\\{sign}")
    return text


def capital(text: str) -> str:
    """Begin a text with a capital letter."""
    return text[:1].upper() + text[1:]


def sizes_of(block: ComparisonTable) -> str:
    """Say over how many clips or systems a table is, such as ``n = 413``."""
    different = set(block.n.values())
    if len(different) == 1:
        return f"n = {different.pop()}"
    return "n = " + ", ".join(f"{n} {axis}" for axis, n in block.n.items())


def headline(block: ComparisonTable, metric: str = "SRCC") -> Column:
    """Return the column that the text speaks of: the mean over the axes where there are several."""
    axes = axes_of(block)
    return (MEAN if MEAN in axes else axes[0]), metric


def named(names: Sequence[str], most: int = 6) -> str:
    """List names, at most six of them.

    Example:
        >>> named(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
