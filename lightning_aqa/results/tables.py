"""The tables as text: tidy CSV, Markdown and LaTeX; and how numbers are written, here and in the page."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lightning_aqa.metrics.levels import MEAN
from lightning_aqa.metrics.uncertainty import Interval
from lightning_aqa.results.comparison import Column, ComparisonCell, ComparisonTable
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
MARKS = (
    "Mean ± standard deviation over seeds; [95 % interval over clips, or systems, and seeds]. Bold: the best, and what "
    "is not told apart from it. *: differs from the baseline, the first row. Both at 5 % for all comparisons of a "
    "column together (max-T)."
)


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


def title_of(block: ComparisonTable) -> str:
    """Say what a table is of, such as ``system level, speech``."""
    return LEVELS[block.level] + (f", {block.domain}" if block.domain else "")


def axes_of(block: ComparisonTable) -> list[str]:
    """Return the axes of a table, the mean over them last."""
    return list(dict.fromkeys(axis for axis, _ in block.columns))


def metrics_of(block: ComparisonTable) -> list[str]:
    """Return the metrics of a table."""
    return list(dict.fromkeys(metric for _, metric in block.columns))


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


def write_markdown(path: Path, evidence: SharedClips, blocks: Iterable[ComparisonTable]) -> None:
    """Write one table per level and domain; a variant links to its config."""
    with replacing(path, errors="backslashreplace") as file:
        for block in blocks:
            names = [f"{axis} {metric}" for axis, metric in block.columns]
            lines = [f"**{capital(title_of(block))}**, split {evidence.split} ({_sizes(block)})", ""]
            lines += ["| | " + " | ".join(map(_markdown, names)) + " |", "|---" + "|--:" * len(names) + "|"]
            for variant, row in zip(evidence.variants, block.rows, strict=True):
                link = config_link(variant, path.parent)
                name = f"[{_markdown(variant.name)}](<{link}>)" if link else _markdown(variant.name)
                lines.append(f"| {name} | " + " | ".join(_markdown_cell(row[c], c) for c in block.columns) + " |")
            for name, _, numbers in block.beside:
                cells = [shown(numbers.get(column, math.nan), column[1]) for column in block.columns]
                lines.append(f"| *{name}* | " + " | ".join(cells) + " |")
            file.write("\n".join([*lines, "", ""]))
        file.write(f"{MARKS.replace('*:', chr(92) + '*:')}\n")


def _markdown_cell(cell: ComparisonCell, column: Column) -> str:
    value = shown(cell.value, column[1])
    text = (f"**{value}**" if cell.is_tied and math.isfinite(cell.value) else value) + ("\\*" if cell.is_sure else "")
    text += f" ± {shown(cell.deviation, column[1])}" if math.isfinite(cell.deviation) else ""
    ends = shown_interval(cell.interval, column[1])
    return f"{text} [{ends}]" if ends else text


def _markdown(text: str) -> str:
    for sign in ("\\", "|", "*", "_", "[", "]", "<"):
        text = text.replace(sign, f"\\{sign}")
    return text


def capital(text: str) -> str:
    """Begin a text with a capital letter."""
    return text[:1].upper() + text[1:]


def _sizes(block: ComparisonTable) -> str:
    """Say over how many clips or systems a table is, such as ``n = 413``."""
    different = set(block.n.values())
    if len(different) == 1:
        return f"n = {different.pop()}"
    return "n = " + ", ".join(f"{n} {axis}" for axis, n in block.n.items())


def write_latex(path: Path, evidence: SharedClips, blocks: Iterable[ComparisonTable]) -> None:
    """Write one ``tabular`` per level and domain, for the package booktabs."""
    with replacing(path, errors="backslashreplace") as file:
        file.write("% Needs \\usepackage{booktabs}. " + MARKS.replace("%", "percent").replace("±", "+-") + "\n")
        for block in blocks:
            file.write("\n".join(_latex_lines(evidence, block)) + "\n\n")


def _latex_lines(evidence: SharedClips, block: ComparisonTable) -> Iterator[str]:
    metrics, axes = metrics_of(block), axes_of(block)
    yield f"% {capital(title_of(block))}, split {evidence.split}, {_sizes(block)}"
    yield f"\\begin{{tabular}}{{l{'r' * len(block.columns)}}}"
    yield "\\toprule"
    yield "".join(f" & \\multicolumn{{{len(metrics)}}}{{c}}{{{_latex(axis)}}}" for axis in axes) + " \\\\"
    yield "".join(f" & {metric}" for _, metric in block.columns) + " \\\\"
    yield "\\midrule"
    for variant, row in zip(evidence.variants, block.rows, strict=True):
        yield _latex(variant.name) + "".join(f" & {_latex_cell(row[c], c)}" for c in block.columns) + " \\\\"
    if block.beside:
        yield "\\midrule"
    for name, _, numbers in block.beside:
        cells = [shown(numbers.get(column, math.nan), column[1]) for column in block.columns]
        yield f"\\emph{{{_latex(name)}}}" + "".join(f" & {_latex(cell)}" for cell in cells) + " \\\\"
    yield "\\bottomrule"
    yield "\\end{tabular}"


def _latex_cell(cell: ComparisonCell, column: Column) -> str:
    value = _latex(shown(cell.value, column[1]))
    text = f"\\textbf{{{value}}}" if cell.is_tied and math.isfinite(cell.value) else value
    text += "$^{*}$" if cell.is_sure else ""
    return text + (f" $\\pm$ {_latex(shown(cell.deviation, column[1]))}" if math.isfinite(cell.deviation) else "")


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", MINUS: "$-$", DASH: "--",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def headline(block: ComparisonTable, metric: str = "SRCC") -> Column:
    """Return the column that the text speaks of: the mean over the axes where there are several."""
    axes = axes_of(block)
    return (MEAN if MEAN in axes else axes[0]), metric


def names_of(evidence: SharedClips, chosen: Sequence[int]) -> str:
    """List variants by name, at most six."""
    names = [evidence.variants[v].name for v in chosen]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
