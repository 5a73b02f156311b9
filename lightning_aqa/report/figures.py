"""The sections of pictures, each with what to see in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lightning_aqa.metrics.levels import METRICS, higher_is_better
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
from lightning_aqa.report.plots import (
    SystemMeans,
    colour,
    draw_accuracy,
    draw_calibration,
    draw_clips,
    draw_ranking,
    draw_systems,
)
from lightning_aqa.report.tables import axis_title
from lightning_aqa.report.templating import phrase, picture, render
from lightning_aqa.results.comparison import ComparisonCell, ComparisonTable
from lightning_aqa.results.further import pairs_in_order
from lightning_aqa.results.tables import LEVELS, axes_of, shown
from lightning_aqa.results.variants import SharedClips

METRICS_SHOWN = ["SRCC", *(metric for metric in METRICS if metric != "SRCC")]
NOTES = {
    "Clips": "",
    "Systems": "Thin lines: 95 % intervals of a system's mean over its clips.",
    "Ranking of systems": "",
    "Error by rating": "Six bins of equal count: mean error with its 95 % interval (thick) and the middle 80 % of the "
    "errors (thin). Any predictor that is not perfect over-rates the worst and under-rates the best.",
}


class Figure(NamedTuple):
    """A picture with its caption."""

    title: str
    note: str
    picture: str


def figure(title: str, note: str, svg: str) -> Figure:
    """Caption a picture of our own."""
    return Figure(title, note, picture(svg))


class FigurePanel(NamedTuple):
    """Figures that show for one value of a choice."""

    value: str
    css: str
    figures: list[Figure]


def _figures(panels: Sequence[FigurePanel], message: str = "", **more: Any) -> str:
    context = {"message": message, "keys": [], "kind": "", "choosers": [], "group": "", **more}
    return render("figures", panels=panels, **context)


def _choosers(blocks: Sequence[ComparisonTable]) -> list[tuple[str, list[tuple[str, str]]]]:
    levels = [(block.level, LEVELS[block.level]) for block in blocks]
    return [("Level", levels), ("Metric", [(metric, metric) for metric in METRICS_SHOWN])]


def effects(evidence: SharedClips, blocks: Sequence[ComparisonTable], titles: Mapping[str, str]) -> str:
    """Return the differences from the baseline, per metric and level."""
    if len(evidence.variants) < 2:
        return ""
    plain = [block for block in blocks if not block.domain]
    panels = [
        FigurePanel(f"{block.level}|{metric}", "grid wide", _effects(evidence, block, metric, titles))
        for block in plain
        for metric in METRICS_SHOWN
    ]
    message = phrase(
        "Each variant minus the baseline, <b>{}</b>: the same resamples of clips (or systems) for both, seeds of their "
        "own; lines are 95 % intervals. A full dot differs from the baseline after Holm's correction over the "
        "variants, an open one does not.",
        evidence.variants[0].name,
    )
    return _figures(panels, message, choosers=_choosers(plain), group="effects")


def _effects(evidence: SharedClips, block: ComparisonTable, metric: str, titles: Mapping[str, str]) -> list[Figure]:
    side = "right is better" if higher_is_better(metric) else "left is better"
    found = []
    for axis in axes_of(block):
        title, rows = axis_title(axis, titles), [row[axis, metric] for row in block.rows[1:]]
        drawn = [_effect(variant.name, cell) for variant, cell in zip(evidence.variants[1:], rows, strict=True)]
        label = f"Differences in {metric} from the baseline, {title}, {LEVELS[block.level]}"
        found.append(figure(title, side, draw_effects(drawn, f"difference in {metric}", label)))
    return found


def _effect(name: str, cell: ComparisonCell) -> Effect:
    if cell.difference is None:
        return Effect(name, math.nan, math.nan, math.nan, False, "")
    ends = cell.difference.interval
    note = f"{name}: {cell.difference.value:+.4f} [{ends.low:.4f}, {ends.high:.4f}], p = {cell.p_adjusted:.3g}"
    return Effect(name, cell.difference.value, ends.low, ends.high, cell.is_sure, note)


def heat_maps(evidence: SharedClips, blocks: Sequence[ComparisonTable], titles: Mapping[str, str]) -> str:
    """Return metrics over pairs of settings, where a sweep varies two together."""
    plain, settings = [block for block in blocks if not block.domain], _settings(evidence)
    if not settings:
        return ""
    panels = []
    for block in plain:
        for metric in METRICS_SHOWN:
            drawn = []
            for axis in axes_of(block):
                title = axis_title(axis, titles)
                for grid in find_grids(settings, [row[axis, metric].value for row in block.rows]):
                    label = f"{metric}, {title}, over {grid.row_name} and {grid.column_name}"
                    drawn.append(figure(title, "", draw_grid(grid, higher_is_better(metric), label)))
            panels.append(FigurePanel(f"{block.level}|{metric}", "grid", drawn))
    message = (
        "Mean over seeds, and over other settings where these vary too. The darker (on dark: the brighter), the "
        "better. Each panel has shades of its own, from its worst to its best cell."
    )
    return _figures(panels, message, choosers=_choosers(plain), group="heat")


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
    found = [(name, curves) for name in names if (curves := curves_of(histories, name))]
    drawn = [figure(_logged(name), "", draw_curves(curves, f"Learning curve of {name}")) for name, curves in found]
    if not drawn:
        return ""
    has_seeds = len(histories) > len(evidence.variants)
    message = "Mean over seeds; the seeds are the thin lines." if has_seeds else ""
    return _figures([FigurePanel("", "grid", drawn)], message, keys=_variant_keys(evidence), kind="line")


def _logged(name: str) -> str:
    stage, *rest = name.split("/")
    where = {"train": "training", "val": "validation"}.get(stage, stage)
    if rest[1:] == ["SRCC", "mean"]:
        return f"SRCC of {'clips' if rest[0] == 'utterance' else 'systems'}, {where}"
    return f"{'sum of the weighted losses' if rest == ['loss'] else '/'.join(rest)}, {where}"


def _variant_keys(evidence: SharedClips) -> list[tuple[str, str]]:
    if len(evidence.variants) == 1:
        return []
    entries = [(colour(v), variant.name) for v, variant in enumerate(evidence.variants[:MAX_COLOURED])]
    rest = len(evidence.variants) - MAX_COLOURED
    return [*entries, *([("rest", f"{rest} more")] if rest > 0 else [])]


def pairs_by_gap(evidence: SharedClips, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
    """Return how often the better of two clips is found, by how much better it is rated."""
    drawn = []
    for a, axis in enumerate(evidence.axes):
        targets, title = evidence.targets[:, a], titles.get(axis, axis)
        if np.isfinite(targets).sum() < 3:
            continue
        lines = [
            (v, evidence.variants[v].name, pairs_in_order(evidence.variants[v].mean_scores[:, a], targets))
            for v in detailed
        ]
        drawn.append(figure(title, "", draw_accuracy(lines, f"Pairs in the right order by gap, {title}")))
    message = (
        "Share of pairs of clips that the scores put in the right order, by the gap of their ratings; one half is "
        "chance. Small gaps are close to the noise of the ratings."
    )
    return (
        _figures([FigurePanel("", "grid", drawn)], message, keys=_variant_keys(evidence), kind="line") if drawn else ""
    )


def predictions(
    evidence: SharedClips, detailed: Sequence[int], blocks: Sequence[ComparisonTable], titles: Mapping[str, str]
) -> str:
    """Return the pictures of the scores of each detailed variant: clips, systems, ranks, the error by rating."""
    variants = []
    for v in detailed:
        figures: dict[str, list[Figure]] = {heading: [] for heading in NOTES}
        for a, axis in enumerate(evidence.axes):
            for heading, drawn in _pictures(evidence, v, a, blocks, titles.get(axis, axis)).items():
                figures[heading].append(drawn)
        variants.append({"value": str(v), "num_seeds": len(evidence.variants[v].runs), "figures": figures})
    return render(
        "predictions",
        names=[(str(v), evidence.variants[v].name) for v in detailed],
        domains=domain_keys(evidence) if evidence.named_domains else [],
        variants=variants,
        is_single=len(evidence.axes) == 1,
        notes=NOTES,
    )


def domain_keys(evidence: SharedClips) -> list[tuple[str, str]]:
    """Return the colour of each domain."""
    return [(colour(i), domain) for i, domain in enumerate(sorted(set(evidence.domains)))]


def _pictures(
    evidence: SharedClips, v: int, a: int, blocks: Sequence[ComparisonTable], title: str
) -> dict[str, Figure]:
    """Draw the pictures of one variant on one axis, under their headings."""
    variant, axis, targets = evidence.variants[v], evidence.axes[a], evidence.targets[:, a]
    scores, name = variant.mean_scores[:, a], f"{title}, {variant.name}"
    if not (np.isfinite(targets) & np.isfinite(scores)).any():
        return {}
    numbers = {block.level: _numbers(block.rows[v], axis) for block in blocks if not block.domain}
    clips = draw_clips(targets, scores, evidence.domains, f"Predicted against rated clips, {name}")
    errors = draw_calibration(targets, scores, f"Error by rating, {name}")
    drawn = {"Clips": figure(title, numbers["utterance"], clips), "Error by rating": figure(title, "", errors)}
    if "system" in numbers:
        means = SystemMeans(targets, scores, evidence.systems)
        systems = draw_systems(means, f"Predicted against rated systems, {name}")
        drawn["Systems"] = figure(title, numbers["system"], systems)
        drawn["Ranking of systems"] = figure(title, "", draw_ranking(means, f"Systems as rated, {name}"))
    return drawn


def _numbers(row: Mapping[tuple[str, str], ComparisonCell], axis: str) -> str:
    return ", ".join(f"{metric} {shown(row[axis, metric].value, metric)}" for metric in ("MSE", "LCC", "SRCC"))
