"""The pictures of the page in their sections, each with a caption that says what to see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.levels import MEAN, METRICS, higher_is_better
from lightning_aqa.metrics.pairwise import accuracy_by_gap
from lightning_aqa.report.comparisons import (
    MAX_COLOURED,
    Effect,
    curves_of,
    draw_curves,
    draw_effects,
    draw_grid,
    find_grids,
    panels_of,
)
from lightning_aqa.report.formats import LEVELS, axes_of, shown
from lightning_aqa.report.html import chooser, escape, figure, legend, shown_for
from lightning_aqa.report.maps import Map, agreement, draw_map, read_map
from lightning_aqa.report.plots import (
    SystemMeans,
    colour,
    draw_accuracy,
    draw_calibration,
    draw_clips,
    draw_ranking,
    draw_systems,
)
from lightning_aqa.report.results import Block, Cell
from lightning_aqa.report.variants import Evidence

Array = NDArray[np.float64]


def effects(evidence: Evidence, blocks: Sequence[Block], titles: Mapping[str, str]) -> str:
    """Return the differences from the baseline, per metric and level."""
    if len(evidence.variants) < 2:
        return ""
    plain = [block for block in blocks if not block.domain]
    metrics = ["SRCC", *(metric for metric in METRICS if metric != "SRCC")]
    controls = chooser("Level", "effects", [(block.level, LEVELS[block.level]) for block in plain])
    controls += chooser("Metric", "effects", [(metric, metric) for metric in metrics])
    panels = "".join(
        shown_for("effects", f"{block.level}|{metric}", _effects(evidence, block, metric, titles), css="grid wide")
        for block in plain
        for metric in metrics
    )
    baseline = escape(evidence.variants[0].name)
    told = (
        f'<p class="note">Each variant minus the baseline, <b>{baseline}</b>: the same resamples of clips (or systems) '
        "for both, seeds of their own; lines are 95 % intervals. A full dot differs from the baseline after Holm's "
        "correction over the variants, an open one does not.</p>"
    )
    return f'{told}<div class="controls">{controls}</div>{panels}'


def _effects(evidence: Evidence, block: Block, metric: str, titles: Mapping[str, str]) -> str:
    side = "right is better" if higher_is_better(metric) else "left is better"
    panels = []
    for axis in axes_of(block):
        title = "Mean over axes" if axis == MEAN else titles.get(axis, axis)
        rows = [row[axis, metric] for row in block.rows[1:]]
        drawn = [_effect(variant.name, cell) for variant, cell in zip(evidence.variants[1:], rows, strict=True)]
        label = f"Differences in {metric} from the baseline, {title}, {LEVELS[block.level]}"
        panels.append(figure(title, side, draw_effects(drawn, f"difference in {metric}", label)))
    return "".join(panels)


def _effect(name: str, cell: Cell) -> Effect:
    if cell.difference is None:
        return Effect(name, math.nan, math.nan, math.nan, False, "")
    ends = cell.difference.interval
    note = f"{name}: {cell.difference.value:+.4f} [{ends.low:.4f}, {ends.high:.4f}], p = {cell.p_adjusted:.3g}"
    return Effect(name, cell.difference.value, ends.low, ends.high, cell.is_sure, note)


def heat_maps(evidence: Evidence, blocks: Sequence[Block], titles: Mapping[str, str]) -> str:
    """Return metrics over pairs of settings, where a sweep varies two together."""
    settings = [variant.settings for variant in evidence.variants]
    plain = [block for block in blocks if not block.domain]
    if not plain or not find_grids(settings, [0.0] * len(settings)):
        return ""
    metrics = ["SRCC", *(metric for metric in METRICS if metric != "SRCC")]
    controls = chooser("Level", "heat", [(block.level, LEVELS[block.level]) for block in plain])
    controls += chooser("Metric", "heat", [(metric, metric) for metric in metrics])
    panels = []
    for block in plain:
        for metric in metrics:
            drawn = []
            for axis in axes_of(block):
                values = [row[axis, metric].value for row in block.rows]
                title = "Mean over axes" if axis == MEAN else titles.get(axis, axis)
                for grid in find_grids(settings, values):
                    label = f"{metric}, {title}, over {grid.row_name} and {grid.column_name}"
                    drawn.append(figure(title, "", draw_grid(grid, higher_is_better(metric), label)))
            panels.append(shown_for("heat", f"{block.level}|{metric}", "".join(drawn), css="grid"))
    told = (
        '<p class="note">Mean over seeds, and over other settings where these vary too. The darker (on dark: the '
        "brighter), the better. Each panel has shades of its own, from its worst to its best cell.</p>"
    )
    return f'{told}<div class="controls">{controls}</div>{"".join(panels)}'


def learning_curves(evidence: Evidence) -> str:
    """Return what the runs logged over their epochs, where they left a history."""
    histories = [
        (v, f"{variant.name}, {run.name}", run.history)
        for v, variant in enumerate(evidence.variants)
        for run in variant.runs
    ]
    names = panels_of(name for _, _, rows in histories for row in rows for name in row)
    drawn = []
    for name in names:
        curves = curves_of(histories, name)
        if curves:
            drawn.append(figure(_logged(name), "", draw_curves(curves, f"Learning curve of {name}")))
    if not drawn:
        return ""
    has_seeds = len(histories) > len(evidence.variants)
    told = '<p class="note">Mean over seeds; the seeds are the thin lines.</p>' if has_seeds else ""
    return f'{told}{_variant_legend(evidence, "line")}<div class="grid">{"".join(drawn)}</div>'


def _logged(name: str) -> str:
    stage, *rest = name.split("/")
    where = {"train": "training", "val": "validation"}.get(stage, stage)
    if rest[1:] == ["SRCC", "mean"]:
        return f"SRCC of {'clips' if rest[0] == 'utterance' else 'systems'}, {where}"
    return f"{'sum of the weighted losses' if rest == ['loss'] else '/'.join(rest)}, {where}"


def _variant_legend(evidence: Evidence, kind: str = "") -> str:
    if len(evidence.variants) == 1:
        return ""
    entries = [(colour(v), variant.name) for v, variant in enumerate(evidence.variants[:MAX_COLOURED])]
    rest = len(evidence.variants) - MAX_COLOURED
    return legend([*entries, *([("rest", f"{rest} more")] if rest > 0 else [])], kind)


def predictions(evidence: Evidence, detailed: Sequence[int], blocks: Sequence[Block], titles: Mapping[str, str]) -> str:
    """Return the pictures of the scores of each detailed variant."""
    names = [(str(v), evidence.variants[v].name) for v in detailed]
    controls = f'<div class="controls">{chooser("Variant", "detail", names)}</div>' if len(names) > 1 else ""
    keys = [(colour(i), domain) for i, domain in enumerate(sorted(set(evidence.domains)))]
    domains = f'<p class="note">Clips by domain:</p>{legend(keys)}' if evidence.named_domains else ""
    shown_ones = "".join(
        shown_for("detail", str(v), _details(evidence, v, blocks, titles)) for v in detailed
    )  # fmt: skip
    return controls + domains + shown_ones


def _details(evidence: Evidence, v: int, blocks: Sequence[Block], titles: Mapping[str, str]) -> str:
    variant = evidence.variants[v]
    plain = {block.level: block for block in blocks if not block.domain}
    parts = []
    if len(variant.runs) > 1:
        told = (
            f"Pictures show each clip's score averaged over {len(variant.runs)} seeds; numbers are those of the table."
        )
        parts.append(f'<p class="note">{told}</p>')
    rows: dict[str, list[str]] = {"Clips": [], "Systems": [], "Ranking of systems": [], "Error by rating": []}
    for a, axis in enumerate(evidence.axes):
        targets, scores, title = evidence.targets[:, a], variant.mean_scores[:, a], titles.get(axis, axis)
        if not (np.isfinite(targets) & np.isfinite(scores)).any():
            continue
        name = f"{title}, {variant.name}"
        note = _numbers(plain["utterance"].rows[v], axis)
        picture = draw_clips(targets, scores, evidence.domains, f"Predicted against rated clips, {name}")
        rows["Clips"].append(figure(title, note, picture))
        picture = draw_calibration(targets, scores, f"Error by rating, {name}")
        rows["Error by rating"].append(figure(title, "", picture))
        if "system" in plain:
            means = SystemMeans(targets, scores, evidence.systems)
            note = _numbers(plain["system"].rows[v], axis)
            rows["Systems"].append(figure(title, note, draw_systems(means, f"Predicted against rated systems, {name}")))
            rows["Ranking of systems"].append(figure(title, "", draw_ranking(means, f"Systems as rated, {name}")))
    notes = {
        "Clips": "",
        "Systems": "Thin lines: 95 % intervals of a system's mean over its clips.",
        "Ranking of systems": "",
        "Error by rating": "Six bins of equal count: mean error with its 95 % interval (thick) and the middle 80 % of "
        "the errors (thin). Any predictor that is not perfect over-rates the worst and under-rates the best.",
    }
    if len(evidence.axes) == 1:
        beside = "".join(
            f"<div><h3>{heading}</h3>{_KEYS if heading == 'Ranking of systems' else ''}{figures[0]}</div>"
            for heading, figures in rows.items()
            if figures
        )
        told = "".join(f'<p class="note">{heading}: {escape(note)}</p>' for heading, note in notes.items() if note)
        return "".join([*parts, f'<div class="grid wide">{beside}</div>', told])
    for heading, figures in rows.items():
        if figures:
            is_ranking = heading == "Ranking of systems"
            told = f'<p class="note">{escape(notes[heading])}</p>' if notes[heading] else ""
            css = "grid wide" if is_ranking else "grid"
            parts.append(f'<h3>{heading}</h3>{told}{_KEYS * is_ranking}<div class="{css}">{"".join(figures)}</div>')
    return "".join(parts)


_KEYS = legend([("ink", "rated"), ("c0 diamond", "predicted"), ("none", "▲▼ places gained or lost in the prediction")])


def _numbers(row: Mapping[tuple[str, str], Cell], axis: str) -> str:
    return ", ".join(f"{metric} {shown(row[axis, metric].value, metric)}" for metric in ("MSE", "LCC", "SRCC"))


def pairs_by_gap(evidence: Evidence, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
    """Return how often the better of two clips is found, by how much better it is rated."""
    drawn = []
    for a, axis in enumerate(evidence.axes):
        targets = evidence.targets[:, a]
        if np.isfinite(targets).sum() < 3:
            continue
        lines = [
            (v, evidence.variants[v].name, accuracy_by_gap(evidence.variants[v].mean_scores[:, a], targets))
            for v in detailed
        ]
        title = titles.get(axis, axis)
        drawn.append(figure(title, "", draw_accuracy(lines, f"Pairs in the right order by gap, {title}")))
    told = (
        '<p class="note">Share of pairs of clips that the scores put in the right order, by the gap of their ratings; '
        "one half is chance. Small gaps are close to the noise of the ratings.</p>"
    )
    return f'{told}{_variant_legend(evidence, "line")}<div class="grid">{"".join(drawn)}</div>' if drawn else ""


def embedding_maps(evidence: Evidence, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
    """Return the embeddings of each detailed variant's first run, coloured by rating and by domain."""
    place = {id_: i for i, id_ in enumerate(evidence.ids)}
    maps = [(v, read_map(evidence.variants[v].runs[0].folder, evidence.split)) for v in detailed]
    found = [(v, of) for v, of in maps if of is not None and all(id_ in place for id_ in of.ids)]
    if not found:
        return ""
    ways = [(axis, f"rating, {titles.get(axis, axis)}") for axis in evidence.axes]
    ways += [("", "domain")] if evidence.named_domains else []
    parts = []
    for way, words in ways:
        figures = []
        for names, of in _different(evidence, found):
            rows = [place[id_] for id_ in of.ids]
            a = list(evidence.axes).index(way) if way else 0
            targets = evidence.targets[rows, a]
            domains = None if way else [evidence.domains[row] for row in rows]
            note = f"distance against rating: {shown(agreement(of.embeddings, targets), 'SRCC')}" if way else ""
            label = f"Embedding of {names}, coloured by {words}"
            figures.append(figure(names, note, draw_map(of, targets, domains, label)))
        keys = [(colour(i), domain) for i, domain in enumerate(sorted(set(evidence.domains)))]
        key = legend(keys) if not way else '<ul class="legend"><li>low <span class="key ramp"></span>high</li></ul>'
        parts.append(shown_for("maps", way, f'{key}<div class="grid">{"".join(figures)}</div>'))
    told = (
        '<p class="note">Clip embeddings of the first seed, on their two directions of largest variance (PCA); what '
        "these explain stands at the sides. A triplet loss should lay clips of similar rating side by side: the number "
        "is the rank correlation, over all pairs of clips, of the distance of two embeddings with that of their "
        "ratings.</p>"
    )
    return f'{told}<div class="controls">{chooser("Colour", "maps", ways)}</div>{"".join(parts)}'


def _different(evidence: Evidence, maps: Sequence[tuple[int, Map]]) -> list[tuple[str, Map]]:
    """Join the names of variants whose embeddings are the same, as under a linear head on a frozen encoder."""
    joined: list[tuple[str, Map]] = []
    for v, of in maps:
        name = evidence.variants[v].name
        for i, (names, other) in enumerate(joined):
            if np.array_equal(of.embeddings, other.embeddings):
                joined[i] = f"{names}, {name}", other
                break
        else:
            joined.append((name, of))
    return joined
