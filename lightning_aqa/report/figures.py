"""The pictures of the page in their sections, each with a caption that says what to see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

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
    panels_of,
)
from lightning_aqa.report.grids import draw_grid, find_grids
from lightning_aqa.report.html import chooser, escape, figure, legend, shown_for
from lightning_aqa.report.plots import (
    colour,
    draw_accuracy,
)
from lightning_aqa.results.comparison import ComparisonCell, ComparisonTable
from lightning_aqa.results.tables import LEVELS, axes_of
from lightning_aqa.results.variants import SharedClips

Array = NDArray[np.float64]


def effects(evidence: SharedClips, blocks: Sequence[ComparisonTable], titles: Mapping[str, str]) -> str:
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


def _effects(evidence: SharedClips, block: ComparisonTable, metric: str, titles: Mapping[str, str]) -> str:
    side = "right is better" if higher_is_better(metric) else "left is better"
    panels = []
    for axis in axes_of(block):
        title = "Mean over axes" if axis == MEAN else titles.get(axis, axis)
        rows = [row[axis, metric] for row in block.rows[1:]]
        drawn = [_effect(variant.name, cell) for variant, cell in zip(evidence.variants[1:], rows, strict=True)]
        label = f"Differences in {metric} from the baseline, {title}, {LEVELS[block.level]}"
        panels.append(figure(title, side, draw_effects(drawn, f"difference in {metric}", label)))
    return "".join(panels)


def _effect(name: str, cell: ComparisonCell) -> Effect:
    if cell.difference is None:
        return Effect(name, math.nan, math.nan, math.nan, False, "")
    ends = cell.difference.interval
    note = f"{name}: {cell.difference.value:+.4f} [{ends.low:.4f}, {ends.high:.4f}], p = {cell.p_adjusted:.3g}"
    return Effect(name, cell.difference.value, ends.low, ends.high, cell.is_sure, note)


def heat_maps(evidence: SharedClips, blocks: Sequence[ComparisonTable], titles: Mapping[str, str]) -> str:
    """Return metrics over pairs of settings, where a sweep varies two together."""
    plain = [block for block in blocks if not block.domain]
    settings = _settings(evidence)
    if not settings:
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


def _settings(evidence: SharedClips) -> list[dict[str, Any]]:
    """Return the settings of each variant, those of the sweep or else of the configs; none where they form no grid."""
    values = [0.0] * len(evidence.variants)
    of_sweep = [variant.settings for variant in evidence.variants]
    of_config = [dict(variant.runs[0].tried) for variant in evidence.variants]
    return next((settings for settings in (of_sweep, of_config) if find_grids(settings, values)), [])


def learning_curves(evidence: SharedClips) -> str:
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


def _variant_legend(evidence: SharedClips, kind: str = "") -> str:
    if len(evidence.variants) == 1:
        return ""
    entries = [(colour(v), variant.name) for v, variant in enumerate(evidence.variants[:MAX_COLOURED])]
    rest = len(evidence.variants) - MAX_COLOURED
    return legend([*entries, *([("rest", f"{rest} more")] if rest > 0 else [])], kind)


def pairs_by_gap(evidence: SharedClips, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
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
