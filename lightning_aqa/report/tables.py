"""The results as HTML: the paper-style table, the published numbers, and the answer in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightning_aqa.metrics.levels import MEAN, higher_is_better
from lightning_aqa.report.html import attributes, chooser, escape, shown_for
from lightning_aqa.results.comparison import Column, ComparisonCell, ComparisonTable
from lightning_aqa.results.tables import (
    LEVELS,
    MARKS,
    axes_of,
    metrics_of,
    shown,
    shown_interval,
)
from lightning_aqa.results.variants import SharedClips, Variant


def results(evidence: SharedClips, blocks: Sequence[ComparisonTable], titles: Mapping[str, str]) -> str:
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


def _table(evidence: SharedClips, block: ComparisonTable, titles: Mapping[str, str]) -> str:
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
        _row(v, variant, row, block.columns, _tags(evidence, v))
        for v, (variant, row) in enumerate(zip(evidence.variants, block.rows, strict=True))
    )
    beside = "".join(_beside(*row, block.columns) for row in block.beside)
    label = f"Results, {LEVELS[block.level]}{', ' + block.domain if block.domain else ''}"
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{escape(label)}"><table class="sortable">'
        f"<thead><tr>{name}{groups}</tr><tr>{heads}</tr></thead><tbody>{body}</tbody>"
        f"{f'<tbody class=beside>{beside}</tbody>' if beside else ''}</table></div>"
    )


def _tags(evidence: SharedClips, v: int) -> list[str]:
    """Say which variant is the baseline, and how many seeds it has where variants differ in that."""
    counts = [len(variant.runs) for variant in evidence.variants]
    seeds = [f"{counts[v]} seed{'' if counts[v] == 1 else 's'}"] if len(set(counts)) > 1 else []
    return (["baseline"] if v == 0 and len(counts) > 1 else []) + seeds


def _axis_title(axis: str, titles: Mapping[str, str]) -> str:
    return "Mean over axes" if axis == MEAN else titles.get(axis, axis)


def _n(block: ComparisonTable, axis: str) -> str:
    what = "clips" if block.level == "utterance" else "systems"
    return f' <span class="sd">{block.n[axis]} {what}</span>' if axis in block.n else ""


def _row(
    v: int, variant: Variant, row: Mapping[Column, ComparisonCell], columns: Sequence[Column], tags: Sequence[str]
) -> str:
    name = f'<a href="#config-{v}">{escape(variant.name)}</a>'
    name += "".join(f' <span class="tag">{escape(tag)}</span>' for tag in tags)
    cells = "".join(_cell(row[column], column[1], column[1] == columns[0][1]) for column in columns)
    return f'<tr><th scope="row" data-value="{escape(variant.name)}">{name}</th>{cells}</tr>'


def _cell(cell: ComparisonCell, metric: str, is_first: bool) -> str:
    value = shown(cell.value, metric)
    inside = f'<span class="best">{value}</span>' if cell.is_tied and math.isfinite(cell.value) else value
    inside += f'<span class="star">{"*" if cell.is_sure else ""}</span>' if cell.is_compared else ""
    if math.isfinite(cell.deviation):
        inside += f' <span class="sd">± {shown(cell.deviation, metric)}</span>'
    ends = shown_interval(cell.interval, metric)
    inside += f'<span class="ci">[{ends}]</span>' if ends else ""
    plain = f"{cell.value:.6f}" if math.isfinite(cell.value) else ""
    css = "n first" if is_first else "n"
    return f"<td{attributes(class_=css, data_value=plain, title=_compared(cell, metric))}>{inside}</td>"


def _compared(cell: ComparisonCell, metric: str) -> str | None:
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
