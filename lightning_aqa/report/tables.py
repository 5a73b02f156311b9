"""The results as HTML: the paper-style table, the published numbers, and the answer in a sentence or two."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files

from lightning_aqa.metrics.levels import MEAN, higher_is_better
from lightning_aqa.report.formats import (
    LEVELS,
    MARKS,
    axes_of,
    capital,
    headline,
    metrics_of,
    names_of,
    shown,
    shown_interval,
)
from lightning_aqa.report.html import attributes, chooser, escape, shown_for
from lightning_aqa.report.results import Block, Cell, Column
from lightning_aqa.report.svg import DASH
from lightning_aqa.report.variants import Evidence, Variant

CORPORA = {"MusicEval": ("MI", "TA"), "AES-Natural": ("PQ", "PC", "CE", "CU")}
PUBLISHED_NOTES = {
    "AES-Natural": "An MSE over all systems lies between those of the domains. By Table I of the paper, AESA-Net's MSE "
    "of CE and CU in its Table II cannot come from the same predictions."
}


def results(evidence: Evidence, blocks: Sequence[Block], titles: Mapping[str, str]) -> str:
    """Return the tables, of which the reader chooses level and domain.

    Args:
        evidence: The variants.
        blocks: Their tables; the system level first where there is one.
        titles: Title of each axis.
    """
    levels = list(dict.fromkeys(block.level for block in blocks))
    domains = list(dict.fromkeys(block.domain for block in blocks))
    controls = chooser("Level", "results", [(level, LEVELS[level]) for level in levels])
    controls += chooser("Domain", "results", [(domain, domain or "all") for domain in domains])
    tables = [shown_for("results", f"{b.level}|{b.domain}", _table(evidence, b, titles)) for b in blocks]
    missing = [
        shown_for(
            "results",
            f"{level}|{domain}",
            '<p class="note">No such table: fewer than two systems, or no published scores of this domain.</p>',
        )
        for level in levels
        for domain in domains
        if not any((block.level, block.domain) == (level, domain) for block in blocks)
    ]
    marks = f'<p class="note">{escape(MARKS)}</p>' if len(evidence.variants) > 1 else f'<p class="note">{_FEW}</p>'
    return f'<div class="controls">{controls}</div>{"".join(tables + missing)}{marks}'


_FEW = (
    "Mean ± standard deviation over seeds, where there are several; [95 % interval over clips, or systems, and seeds]."
)


def _table(evidence: Evidence, block: Block, titles: Mapping[str, str]) -> str:
    metrics, axes = metrics_of(block), axes_of(block)
    groups = "".join(
        f'<th class="group" scope="colgroup" colspan="{len(metrics)}">{escape(_axis_title(axis, titles))}'
        f"{_n(block, axis)}</th>"
        for axis in axes
    )
    heads = "".join(
        f'<th scope="col" data-column="{i}" class="n{" first" if metric == metrics[0] else ""}">'
        f'<button type="button" class="sort">{metric}<span class="arrow"> {"↑" if higher_is_better(metric) else "↓"}'
        "</span></button></th>"
        for i, (_, metric) in enumerate(block.columns, start=1)
    )
    name = '<th scope="col" data-column="0" rowspan="2"><button type="button" class="sort">Variant</button></th>'
    body = "".join(
        _row(variant, row, block.columns, _tags(evidence, v))
        for v, (variant, row) in enumerate(zip(evidence.variants, block.rows, strict=True))
    )
    beside = "".join(_beside(*row, block.columns) for row in block.beside)
    label = f"Results, {LEVELS[block.level]}{', ' + block.domain if block.domain else ''}"
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{escape(label)}"><table class="sortable">'
        f"<thead><tr>{name}{groups}</tr><tr>{heads}</tr></thead><tbody>{body}</tbody>"
        f"{f'<tbody class=beside>{beside}</tbody>' if beside else ''}</table></div>"
    )


def _tags(evidence: Evidence, v: int) -> list[str]:
    """Say which variant is the baseline, and how many seeds it has where variants differ in that."""
    counts = [len(variant.runs) for variant in evidence.variants]
    seeds = [f"{counts[v]} seed{'' if counts[v] == 1 else 's'}"] if len(set(counts)) > 1 else []
    return (["baseline"] if v == 0 and len(counts) > 1 else []) + seeds


def _axis_title(axis: str, titles: Mapping[str, str]) -> str:
    return "Mean over axes" if axis == MEAN else titles.get(axis, axis)


def _n(block: Block, axis: str) -> str:
    what = "clips" if block.level == "utterance" else "systems"
    return f' <span class="sd">{block.n[axis]} {what}</span>' if axis in block.n else ""


def _row(variant: Variant, row: Mapping[Column, Cell], columns: Sequence[Column], tags: Sequence[str]) -> str:
    name = f'<a href="#config-{variant.slug}">{escape(variant.name)}</a>'
    name += "".join(f' <span class="tag">{escape(tag)}</span>' for tag in tags)
    cells = "".join(_cell(row[column], column[1], column[1] == columns[0][1]) for column in columns)
    return f'<tr><th scope="row" data-value="{escape(variant.name)}">{name}</th>{cells}</tr>'


def _cell(cell: Cell, metric: str, is_first: bool) -> str:
    value = shown(cell.value, metric)
    inside = f'<span class="best">{value}</span>' if cell.is_tied and math.isfinite(cell.value) else value
    inside += f'<span class="star">{"*" if cell.is_sure else ""}</span>' if cell.difference else ""
    if math.isfinite(cell.deviation):
        inside += f' <span class="sd">± {shown(cell.deviation, metric)}</span>'
    ends = shown_interval(cell.interval, metric)
    inside += f'<span class="ci">[{ends}]</span>' if ends else ""
    plain = f"{cell.value:.6f}" if math.isfinite(cell.value) else ""
    css = "n first" if is_first else "n"
    return f"<td{attributes(class_=css, data_value=plain, title=_compared(cell, metric))}>{inside}</td>"


def _compared(cell: Cell, metric: str) -> str | None:
    """Say on hover how the cell compares with the baseline."""
    if cell.difference is None:
        return None
    low, high = (shown(end, metric) for end in cell.difference.interval)
    by = f"{shown(cell.difference.value, metric)} [{low}, {high}]"
    return f"against the baseline: {by}, p = {cell.p_adjusted:.3g} after Holm's correction"


def _beside(name: str, note: str, numbers: Mapping[Column, float], columns: Sequence[Column]) -> str:
    cells = []
    for column in columns:
        css = "n first" if column[1] == columns[0][1] else "n"
        cells.append(f'<td class="{css}">{shown(numbers[column], column[1]) if column in numbers else ""}</td>')
    return f'<tr><th scope="row">{escape(name)}<span class="ci">{escape(note)}</span></th>{"".join(cells)}</tr>'


# Published numbers


def published_rows(axes: Sequence[str]) -> list[dict[str, str]]:
    """Return the published numbers of the corpus that has these axes; none for another corpus."""
    corpus = next((name for name, its in CORPORA.items() if set(axes) & set(its)), "")
    lines = files("lightning_aqa.report").joinpath("published.csv").read_text(encoding="utf-8").splitlines()
    return [row for row in csv.DictReader(lines) if row["corpus"] == corpus and row["axis"] in axes]


def published(rows: Sequence[Mapping[str, str]], is_simulated: bool) -> str:
    """Return the published numbers, one table per split and level, saying whose they are."""
    if not rows:
        return ""
    corpus = rows[0]["corpus"]
    told = f"Published by others, on {corpus}; none of these numbers was measured here."
    if is_simulated:
        told += " The scores of this report's own corpus are simulated: nothing here can be set beside them."
    blocks = list(dict.fromkeys((row["split"], row["level"]) for row in rows))
    tables = "".join(
        f"<h3>{escape(capital(split))}, {LEVELS[level]}</h3>"
        + _published_table([row for row in rows if (row["split"], row["level"]) == (split, level)])
        for split, level in blocks
    )
    note = PUBLISHED_NOTES.get(corpus, "")
    return f'<p class="note warn">{escape(told)}</p>{tables}' + (f'<p class="note">{escape(note)}</p>' if note else "")


def _published_table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(dict.fromkeys((row["axis"], row["metric"]) for row in rows))
    systems = list(dict.fromkeys((row["system"], row["source"]) for row in rows))
    values = {(row["system"], row["axis"], row["metric"]): row["value"] for row in rows}
    heads = "".join(f'<th scope="col" class="n">{escape(axis)} {metric}</th>' for axis, metric in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(system)}</th>'
        + "".join(f'<td class="n">{values.get((system, *column), DASH)}</td>' for column in columns)
        + f"<td>{escape(source)}</td></tr>"
        for system, source in systems
    )
    head = f'<thead><tr><th scope="col">Published</th>{heads}<th scope="col">Source</th></tr></thead>'
    return (
        '<div class="box" tabindex="0" role="region" aria-label="Published numbers"><table>'
        f"{head}<tbody>{body}</tbody></table></div>"
    )


# The answer


def answer(evidence: Evidence, block: Block) -> str:
    """Say in words which variant is best, by how much, how sure that is, and what it shares the place with."""
    column = headline(block)
    cells = [row[column] for row in block.rows]
    name = f"{column[1]} at {LEVELS[block.level]}" + (", mean over the axes" if column[0] == MEAN else "")
    defined = [v for v, cell in enumerate(cells) if math.isfinite(cell.value)]
    if not defined:
        return f"<p>{escape(name)} is undefined for every variant.</p>"
    best = next(v for v in defined if cells[v].is_best)
    cell = cells[best]
    value = f"{shown(cell.value, column[1])} [{shown_interval(cell.interval, column[1])}]"
    if len(cells) == 1:
        return f"<p>{escape(name)}: <b>{value}</b>. {_ceiling(block, column)}</p>"
    tied = [v for v in defined if cells[v].is_tied and v != best]
    text = f"{escape(name)}: <b>{escape(evidence.variants[best].name)}</b> is highest with {value}. "
    if tied:
        text += f"Not told apart from it: {escape(names_of(evidence, tied))}. "
    else:
        text += "It is told apart from every other variant. "
    return f"<p>{text}{_ceiling(block, column)}</p><p>{_against_baseline(evidence, cells, column[1])}</p>"


def _ceiling(block: Block, column: Column) -> str:
    """Say how far any predictor can get, where single listeners' ratings tell."""
    values = [numbers.get(column, math.nan) for name, _, numbers in block.beside if name == "Ceiling"]
    known = values and math.isfinite(values[0])
    return f"These ratings let no predictor come further than {shown(values[0], column[1])}." if known else ""


def _against_baseline(evidence: Evidence, cells: Sequence[Cell], metric: str) -> str:
    sure = [v for v, cell in enumerate(cells) if cell.is_sure]
    baseline = escape(evidence.variants[0].name)
    if not sure:
        widest = max((c.difference for c in cells if c.difference), key=lambda d: abs(d.value), default=None)
        far = ""
        if widest is not None and math.isfinite(widest.value):
            low, high = (shown(end, metric) for end in widest.interval)
            far = f" The largest difference is {shown(widest.value, metric)} [{low}, {high}]."
        return f"No variant differs from the baseline, {baseline}, after Holm's correction.{far}"
    sign = 1 if higher_is_better(metric) else -1
    parts = []
    for words, chosen in (
        ("Better", [v for v in sure if sign * _value(cells[v]) > 0]),
        ("Worse", [v for v in sure if sign * _value(cells[v]) < 0]),
    ):
        if chosen:
            parts.append(
                f"{words} than the baseline, {baseline}, after Holm's correction: {escape(names_of(evidence, chosen))}."
            )
    return " ".join(parts)


def _value(cell: Cell) -> float:
    return cell.difference.value if cell.difference else 0.0
