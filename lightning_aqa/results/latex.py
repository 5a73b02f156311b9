r"""LaTeX tables for an article: booktabs, a caption and a label, chosen columns, intervals in the body.

Such a table is as wide as the text; its needs are the packages booktabs and tabularx.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from lightning_aqa.metrics.levels import MEAN, METRICS
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.results.comparison import Column, ComparisonTable
from lightning_aqa.results.tables import (
    DAGGER,
    DASH,
    MINUS,
    axes_of,
    beside_of,
    capital,
    columns_of,
    legend_of,
    marks_of,
    metrics_of,
    reasons_of,
    shown,
    shown_interval,
    sizes_of,
    title_of,
)
from lightning_aqa.results.variants import SharedClips
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.text import did_you_mean

MOST_COLUMNS = 6
"""So many numbers with their intervals fit the text of an article in one column."""

HEAD = r"""% In the preamble: \usepackage{booktabs,tabularx}. One table per level and domain.
\providecommand{\stacked}[1]{\begin{tabular}[t]{@{}r@{}}#1\end{tabular}}
"""


def write_latex(
    path: Path,
    evidence: SharedClips,
    blocks: Sequence[ComparisonTable],
    wanted: Sequence[str] = (),
    unit: Unit | None = None,
) -> None:
    """Write one ``table`` per level and domain.

    Args:
        path: The file.
        evidence: The variants.
        blocks: Their tables.
        wanted: Names of metrics and axes; the default is what fits the width of an article.
        unit: What varied as one piece; None is clips at utterance and systems at system level.
    """
    with replacing(path, errors="backslashreplace") as file:
        file.write(HEAD)
        for block in blocks:
            file.write("\n" + "\n".join(_lines(evidence, block, choose_columns(block, wanted), unit)) + "\n")


def check_columns(wanted: Sequence[str], axes: Sequence[str]) -> None:
    """Refuse a name that is neither a metric nor an axis.

    Args:
        wanted: The names.
        axes: Names of the axes.

    Raises:
        ValueError: If there is such a name; the nearest one is given.
    """
    known = [*METRICS, *axes, *([MEAN] if len(axes) > 1 else [])]
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"--columns: no metric or axis {name!r}; there are {', '.join(known)}.{hint}")


def choose_columns(block: ComparisonTable, wanted: Sequence[str] = ()) -> list[Column]:
    """Return the columns of the named metrics and axes.

    Args:
        block: The table.
        wanted: Names of metrics, of axes, or of both; of what is not named all is taken. Without any name it is SRCC
            and MSE if there are at most six such columns, or else SRCC of the first six.
    """
    columns = columns_of(block)
    if not wanted:
        pairs = [column for column in columns if column[1] in ("SRCC", "MSE")]
        few = columns if len(columns) <= MOST_COLUMNS else pairs
        return few if len(few) <= MOST_COLUMNS else [column for column in pairs if column[1] == "SRCC"][:MOST_COLUMNS]
    axes = [name for name in wanted if name in axes_of(block)] or axes_of(block)
    metrics = [name for name in wanted if name in METRICS] or metrics_of(block)
    return [(axis, metric) for axis in axes for metric in metrics if (axis, metric) in columns]


def _lines(
    evidence: SharedClips, block: ComparisonTable, columns: Sequence[Column], unit: Unit | None
) -> Iterator[str]:
    why = "".join(f" No interval: {reason}." for reason in reasons_of(block))
    caption = f"{capital(title_of(block))}, split {evidence.split} ({sizes_of(block)}). "
    words = "-".join(filter(None, (block.level, block.domain)))
    label = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in words)
    yield "\\begin{table}"
    yield f"\\caption{{{escaped(caption + legend_of(evidence, [block], unit) + why)}}}"
    yield f"\\label{{tab:{label}}}"
    yield "\\medskip\\centering\\footnotesize\\setlength{\\tabcolsep}{2pt}"
    yield f"\\begin{{tabularx}}{{\\linewidth}}{{@{{}}>{{\\raggedright\\arraybackslash}}X{'r' * len(columns)}@{{}}}}"
    yield "\\toprule"
    groups = [(axis, len(list(group))) for axis, group in groupby(columns, key=lambda column: column[0])]
    yield "".join(f" & \\multicolumn{{{count}}}{{c}}{{{escaped(axis)}}}" for axis, count in groups) + " \\\\"
    yield "".join(f" & {metric}" for _, metric in columns) + " \\\\"
    yield "\\midrule"
    for v, variant in enumerate(evidence.variants):
        yield _name(variant.name) + "".join(f" & {_cell(block, v, column)}" for column in columns) + " \\\\"
    if block.beside:
        yield "\\midrule"
    for name, _, _ in block.beside:
        cells = [shown(beside_of(block, name, column), column[1]) for column in columns]
        yield f"\\emph{{{escaped(name)}}}" + "".join(f" & {escaped(cell)}" for cell in cells) + " \\\\"
    yield "\\bottomrule"
    yield "\\end{tabularx}"
    yield "\\end{table}"


def _cell(block: ComparisonTable, v: int, column: Column) -> str:
    """Write a number, below it its deviation over seeds and its interval, where it has them."""
    cell, marks = block.rows[v][column], marks_of(block, v, column)
    value = escaped(shown(cell.value, column[1]))
    signs = f"{marks.dagger}{marks.against}".replace(DAGGER, "\\dagger ").strip()
    lines = [(f"\\textbf{{{value}}}" if marks.is_bold else value) + (f"$^{{{signs}}}$" if signs else "")]
    small = [f"$\\pm${escaped(shown(cell.deviation, column[1]))}"] if math.isfinite(cell.deviation) else []
    small += [f"[{escaped(ends)}]"] if (ends := shown_interval(cell.interval, column[1])) else []
    lines += [f"\\scriptsize {line}" for line in small]
    joined = "\\\\[-1pt] ".join(lines)
    return f"\\stacked{{{joined}}}" if small else joined


_SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    MINUS: "$-$", DASH: "--", "\u00b1": "$\\pm$", DAGGER: "$\\dagger$", "<": "$<$", ">": "$>$", "|": "$|$",
}  # fmt: skip


def escaped(text: str) -> str:
    r"""Write a text so that LaTeX prints it.

    Example:
        >>> print(escaped("50 % of a_b"))
        50 \% of a\_b
    """
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def _name(text: str) -> str:
    """Write a name that may break after ``_``, ``=``, ``/`` and between syllables."""
    parts = re.split("(?<=[_=/])", text)
    return "\\hspace{0pt}" + "\\allowbreak{}".join(map(escaped, parts))
