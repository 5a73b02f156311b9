"""The answer in words: which variant is best, by how much, how sure that is, and how far anyone can get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from lightning_aqa.metrics.levels import MEAN, METRICS, higher_is_better
from lightning_aqa.report.templating import render
from lightning_aqa.results.comparison import CEILING, ONE_SEED, SYSTEM_MEAN, Column, ComparisonCell, ComparisonTable
from lightning_aqa.results.tables import (
    LEVELS,
    beside_of,
    columns_of,
    headline,
    many,
    named,
    shown,
    shown_interval,
    signed,
)
from lightning_aqa.results.variants import SharedClips

OF_LEVEL = {"utterance": "of clips", "system": "of systems", "system_mos": "of systems against published scores"}
WANTED = 0.01
"""Difference of a correlation that people would like to see, ``.01`` in words."""
BY_LUCK = 0.05
MOST_NAMED = 4


def answer(evidence: SharedClips, blocks: Sequence[ComparisonTable], warning: str = "") -> str:
    """Say in words what the tables of all clips show.

    Args:
        evidence: The variants.
        blocks: Their tables, the one that is spoken of first at the front.
        warning: What the reader has to know before all else.
    """
    names = [variant.name for variant in evidence.variants]
    plain = [block for block in blocks if not block.domain]
    column = headline(plain[0])
    best = best_of(plain[0], column)
    one_seed = ONE_SEED if len(names) > 1 and plain[0].one_seed else ""
    return render(
        "summary",
        warnings=[text for text in (warning, one_seed) if text],
        name=f"{column[1]} at {LEVELS[plain[0].level]}" + (", mean over axes" if column[0] == MEAN else ""),
        best=None if best is None or len(names) < 2 else names[best],
        side="highest" if higher_is_better(column[1]) else "lowest",
        value=None if best is None else shown(plain[0].rows[best][column].value, column[1]),
        known="" if best is None else how_known(plain[0], column, best),
        sentences=sentences(names, plain),
    )


def best_of(block: ComparisonTable, column: Column) -> int | None:
    """Return the number of the best variant of a column; None where the metric is undefined for all."""
    cells = [row[column] for row in block.rows]
    return next((v for v, cell in enumerate(cells) if cell.is_best and math.isfinite(cell.value)), None)


def how_known(block: ComparisonTable, column: Column, v: int) -> str:
    """Say how well a number is known: its interval, over how many units and seeds, or why it has none."""
    cell = block.rows[v][column]
    ends = shown_interval(cell.interval, column[1], " to ")
    sizes = set(block.n.values()) if column[0] == MEAN else {block.n[column[0]]}
    unit = "clip" if block.level == "utterance" else "system"
    parts = [f"95 % interval {ends}" if ends else f"no interval: {cell.why}" if cell.why else "no interval"]
    if len(sizes) == 1 and ends:
        parts.append(many(sizes.pop(), unit))
    parts += [many(cell.num_seeds, "seed")] if cell.num_seeds > 1 else []
    return ", ".join(parts)


def sentences(names: Sequence[str], blocks: Sequence[ComparisonTable]) -> list[str]:
    """Return what is said below the headline, a sentence or two each.

    Args:
        names: Names of the variants, the baseline first.
        blocks: Tables of all clips, the one of the headline first.
    """
    column = headline(blocks[0])
    compares = len(names) > 1 and not blocks[0].one_seed and best_of(blocks[0], column) is not None
    found = _compared(names, blocks) if compares else []
    return [text for text in [*found, ceiling(blocks[0], column), system_alone(blocks)] if text]


def _compared(names: Sequence[str], blocks: Sequence[ComparisonTable]) -> list[str]:
    found = [told_apart(names, blocks[0], headline(blocks[0]))]
    found += [against_baseline(names, block, headline(block)) for block in blocks if _is_told(block)]
    return [*dict.fromkeys(found), elsewhere(names, blocks), what_it_takes(blocks[0], headline(blocks[0]))]


def _is_told(block: ComparisonTable) -> bool:
    """Tell whether the headline of a table is spoken of; published scores of systems are one more column."""
    return block.level != "system_mos"


def told_apart(names: Sequence[str], block: ComparisonTable, column: Column) -> str:
    """Say which variants are not told apart from the best, and what difference would have been seen."""
    best, cells = best_of(block, column), [row[column] for row in block.rows]
    if best is None or not _is_tested(cells):
        return ""
    tied = [v for v, cell in enumerate(cells) if cell.is_tied and v != best and math.isfinite(cell.value)]
    if not tied:
        return "It is told apart from every other variant."
    smallest = _smallest(block, column, best, tied)
    size = f" (the smallest difference that this test could show is {smallest})" if smallest else ""
    return f"Not told apart from it: {named([names[v] for v in tied])}{size}."


def _is_tested(cells: Sequence[ComparisonCell]) -> bool:
    return any(cell.verdict for cell in cells)


def _smallest(block: ComparisonTable, column: Column, best: int, others: Sequence[int]) -> str:
    """Write the smallest difference from the best that its tests could show: one number, or a range."""
    rows = block.pairs.get(column)
    sizes = [pair.smallest for v in others if rows and (pair := rows[best][v]) and math.isfinite(pair.smallest)]
    ends = list(dict.fromkeys(shown(end, column[1]) for end in (min(sizes), max(sizes)))) if sizes else []
    return " to ".join(ends)


def against_baseline(names: Sequence[str], block: ComparisonTable, column: Column) -> str:
    """Say of each variant whether it is better or worse than the baseline, equal to it, or not shown to differ."""
    cells = [row[column] for row in block.rows]
    what = f"{column[1]} {OF_LEVEL[block.level]}" + (", mean over axes" if column[0] == MEAN else "")
    if not _is_tested(cells):
        whys = list(dict.fromkeys(cell.why for cell in cells if cell.why))
        reason = f": {whys[0]}" if whys else ""
        return f"Of differences in {what} nothing can be said{reason}."
    groups = {verdict: [v for v, cell in enumerate(cells) if v and cell.verdict == verdict] for verdict in VERDICTS}
    if not any(groups[verdict] for verdict in ("better", "worse", "equal")):
        return _nothing_shown(names, cells, column[1], what)
    baseline = f"the baseline, {names[0]}, in {what}"
    parts: list[str] = []
    for verdict, chosen in groups.items():
        if chosen:
            than = baseline if not parts else "it"
            margin = shown(block.equivalence or math.nan, column[1])
            parts.append(VERDICTS[verdict].format(than=than, margin=margin) + _listed(names, cells, chosen, column[1]))
    return " ".join(parts)


VERDICTS = {
    "better": "Better than {than}: ",
    "worse": "Worse than {than}: ",
    "equal": "Equal to {than} within {margin}: ",
    "undecided": "Not shown to differ from {than}: ",
}


def _listed(names: Sequence[str], cells: Sequence[ComparisonCell], chosen: Sequence[int], metric: str) -> str:
    return named([f"{names[v]} ({_difference(cells[v], metric)})" for v in chosen]) + "."


def _difference(cell: ComparisonCell, metric: str) -> str:
    if cell.difference is None or not math.isfinite(cell.difference.value):
        return "undefined"
    low, high = (shown(end, metric) for end in cell.difference.interval)
    return f"{signed(cell.difference.value, metric)} [{low}, {high}]"


def _nothing_shown(names: Sequence[str], cells: Sequence[ComparisonCell], metric: str, what: str) -> str:
    """Name a null as what it is: not shown, with what can be excluded and what could have been seen."""
    known = {v: cell.difference for v, cell in enumerate(cells) if cell.difference is not None}
    known = {v: of for v, of in known.items() if math.isfinite(of.value)}
    text = f"No difference from the baseline, {names[0]}, was shown in {what}"
    if not known:
        return f"{text}."
    far = max(known, key=lambda v: abs(known[v].value))
    parts = [f"the largest is {_difference(cells[far], metric)} of {names[far]}"]
    ends = [abs(end) for of in known.values() for end in of.interval]
    if all(map(math.isfinite, ends)):
        parts.append(f"differences above {shown(max(ends), metric)} can be excluded")
    sizes = [of.smallest for of in known.values() if math.isfinite(of.smallest)]
    if sizes:
        parts.append(f"the smallest that this test could show is {shown(max(sizes), metric)}")
    return f"{text}: {'; '.join(parts)}."


def elsewhere(names: Sequence[str], blocks: Sequence[ComparisonTable]) -> str:
    """Say in which other columns, of every level, a variant differs from the baseline, and how many are luck."""
    others = [(b, c) for b in blocks for c in columns_of(b) if not (_is_told(b) and c == headline(b))]
    others = [(b, c) for b, c in others if _is_tested([row[c] for row in b.rows])]
    if not others:
        return ""
    luck = round(BY_LUCK * len(others))
    found = [text for v in range(1, len(names)) if (text := _where(names[v], v, others))]
    count = many(len(others), "other column")
    if not found:
        return (
            f"None of the {count} shows a difference either." if _no_headline(blocks) else f"None of the {count} does."
        )
    more = f", and {len(found) - MOST_NAMED} more variants" if len(found) > MOST_NAMED else ""
    by_luck = f" By luck about {luck} of these {len(others)} columns would show some difference." if luck else ""
    return f"In other columns: {'; '.join(found[:MOST_NAMED])}{more}.{by_luck}"


def _no_headline(blocks: Sequence[ComparisonTable]) -> bool:
    return not any(row[headline(block)].is_sure for block in blocks if _is_told(block) for row in block.rows)


def _where(name: str, v: int, others: Sequence[tuple[ComparisonTable, Column]]) -> str:
    """Say where one variant is better and where it is worse, such as ``a is worse in LCC, MSE (PQ) of clips``."""
    has_axes = len({axis for _, (axis, _) in others}) > 1
    sides = []
    for verdict in ("better", "worse"):
        levels: dict[str, dict[str, list[str]]] = {}
        for block, (axis, metric) in others:
            if block.rows[v][axis, metric].verdict == verdict:
                levels.setdefault(OF_LEVEL[block.level], {}).setdefault(metric, []).append(axis)
        told = [
            ", ".join(f"{metric} ({', '.join(axes)})" if has_axes else metric for metric, axes in of.items())
            + f" {level}"
            for level, of in levels.items()
        ]
        sides += [f"{verdict} in {' and '.join(told)}"] if told else []
    return f"{name} is {' and '.join(sides)}" if sides else ""


def what_it_takes(block: ComparisonTable, column: Column) -> str:
    """Say how much more data a small difference would take: a standard error falls with the square root."""
    cells = [row[column] for row in block.rows]
    sizes = [cell.difference.smallest for cell in cells if cell.difference and cell.verdict == "undecided"]
    sizes = [size for size in sizes if math.isfinite(size)]
    if not sizes or median(sizes) <= WANTED:
        return ""
    times = (median(sizes) / WANTED) ** 2
    rounded = f"{times:.1f}" if times < 10 else f"{float(f'{times:.2g}'):,.0f}".replace(",", "\u202f")
    units = "clips" if block.level == "utterance" else "systems"
    text = f"To show a difference of .01 would take about {rounded} times the {units}"
    has_seeds = cells[0].num_seeds > 1
    return f"{text} and seeds; the subcommand plan tells how many of each." if has_seeds else f"{text}."


def ceiling(block: ComparisonTable, column: Column) -> str:
    """Say how far any predictor can be expected to get, where single listeners' ratings tell."""
    value = beside_of(block, CEILING, column)
    if not math.isfinite(value):
        return ""
    reached = shown(value, column[1])
    return f"A predictor that knew the true quality would be expected to reach about {reached}."


def system_alone(blocks: Sequence[ComparisonTable]) -> str:
    """Say where knowing the system of a clip alone does better than every variant."""
    found = []
    for block in (block for block in blocks if block.level == "utterance"):
        for metric in METRICS:
            for axis in block.n:
                alone, sign = beside_of(block, SYSTEM_MEAN, (axis, metric)), 1 if higher_is_better(metric) else -1
                values = [row[axis, metric].value for row in block.rows if (axis, metric) in row]
                values = [value for value in values if math.isfinite(value)]
                if values and math.isfinite(alone) and sign * alone > max(sign * value for value in values):
                    top = sign * max(sign * value for value in values)
                    against = f"({shown(alone, metric)} against {shown(top, metric)})"
                    found.append(f"{metric} {against}" if len(block.n) == 1 else f"{metric} of {axis} {against}")
    if not found:
        return ""
    return f"Knowing only which system made a clip, its true mean, beats every variant in {named(found)}."
