"""The sections of pictures that set variants side by side, each with what to see in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lightning_aqa.metrics.levels import MEAN, higher_is_better
from lightning_aqa.report.comparisons import (
    MAX_COLOURED,
    Effect,
    RunHistory,
    curves_of,
    draw_curves,
    draw_effects,
    draw_grid,
    find_grids,
    panels_of,
)
from lightning_aqa.report.plots import colour
from lightning_aqa.report.tables import axis_title
from lightning_aqa.report.templating import phrase, picture, render
from lightning_aqa.results.comparison import ONE_SEED, ComparisonCell, ComparisonTable
from lightning_aqa.results.history import kept_epoch
from lightning_aqa.results.runs import Run
from lightning_aqa.results.tables import (
    LEVELS,
    METRICS_SHOWN,
    axes_of,
    shown,
    signed,
)
from lightning_aqa.results.variants import SharedClips


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


def gallery(panels: Sequence[FigurePanel], message: str = "", **more: Any) -> str:
    """Return panels of figures below what is said of them; the rest is for the template."""
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
        FigurePanel(f"{block.level}|{metric}", "grid broad", _effects(evidence, block, metric, titles))
        for block in plain
        for metric in METRICS_SHOWN
    ]
    message = phrase(
        "Each variant minus the baseline, <b>{}</b>, on the same clips; lines are 95 % intervals, corrected for the "
        "number of variants. ",
        evidence.variants[0].name,
    ) + _shapes(plain[0])
    return gallery(panels, message, choosers=_choosers(plain), group="effects")


def _shapes(block: ComparisonTable) -> str:
    if block.one_seed:
        return ONE_SEED
    equal = " A diamond: equal to it within the grey band." if block.equivalence is not None else ""
    return f"A full dot: differs from the baseline. An open dot: not shown to differ.{equal}"


def _effects(evidence: SharedClips, block: ComparisonTable, metric: str, titles: Mapping[str, str]) -> list[Figure]:
    side = "right is better" if higher_is_better(metric) else "left is better"
    found = []
    for axis in axes_of(block):
        if metric not in {of for of_axis, of in block.columns if of_axis == axis}:
            continue
        title, rows = axis_title(axis, titles), [row[axis, metric] for row in block.rows[1:]]
        drawn = [_effect(variant.name, cell, metric) for variant, cell in zip(evidence.variants[1:], rows, strict=True)]
        label = f"Differences in {metric} from the baseline, {title}, {LEVELS[block.level]}"
        found.append(figure(title, side, draw_effects(drawn, f"difference in {metric}", label, block.equivalence)))
    return found


def _effect(name: str, cell: ComparisonCell, metric: str) -> Effect:
    if cell.difference is None:
        return Effect(name, math.nan, math.nan, math.nan, "", "", "")
    value, ends = cell.difference.value, cell.difference.interval
    inside = f"[{ends.low:.4f}, {ends.high:.4f}]" if math.isfinite(ends.low) else f"no interval: {cell.why}"
    note = f"{name}: {value:+.4f} {inside}" + (f", p = {cell.p_adjusted:.3g}" if math.isfinite(cell.p_adjusted) else "")
    note += f", the smallest that this test could show is {cell.difference.smallest:.4f}"
    note = note if math.isfinite(cell.difference.smallest) else note.rsplit(", the", 1)[0]
    low, high = (shown(end, metric) for end in ends)
    written = f"{signed(value, metric)} [{low}, {high}]" if math.isfinite(ends.low) else signed(value, metric)
    return Effect(name, value, ends.low, ends.high, cell.verdict, note, written)


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
                cells = [row[axis, metric] for row in block.rows if (axis, metric) in row]
                for grid in find_grids(settings, [cell.value for cell in cells]) if cells else []:
                    label, step = f"{metric}, {title}, over {grid.row_name} and {grid.column_name}", _noise(cells)
                    note = f"shades of {shown(step, metric)}" if math.isfinite(step) else ""
                    drawn.append(figure(title, note, draw_grid(grid, higher_is_better(metric), label, step)))
            panels.append(FigurePanel(f"{block.level}|{metric}", "grid", drawn))
    message = (
        "Mean over seeds, and over other settings where these vary too. The darker (on dark: the brighter), the "
        "better: a shade less is worse by the half width of the 95 % interval of a difference, so that cells of one "
        "shade may well be equal. \u201cnot set\u201d: the setting is null."
    )
    return gallery(panels, message, choosers=_choosers(plain), group="heat")


def _noise(cells: Sequence[ComparisonCell]) -> float:
    """Return the mean half width of the intervals of differences, or of the values where there are none."""
    differences = [cell.difference.interval for cell in cells if cell.difference is not None]
    for intervals in (differences, [cell.interval for cell in cells]):
        halves = [(of.high - of.low) / 2 for of in intervals if math.isfinite(of.high - of.low)]
        if halves:
            return float(np.mean(halves))
    return math.nan


def _settings(evidence: SharedClips) -> list[dict[str, Any]]:
    """Return the settings of each variant, those of the sweep or else of the configs; none where they form no grid."""
    values = [0.0] * len(evidence.variants)
    of_sweep = [variant.settings for variant in evidence.variants]
    of_config = [dict(variant.runs[0].tried) for variant in evidence.variants]
    return next((settings for settings in (of_sweep, of_config) if find_grids(settings, values)), [])


def learning_curves(evidence: SharedClips) -> str:
    """Return what the runs logged over their epochs, where they left a history."""
    histories = [
        RunHistory(v, f"{variant.name}, {run.name}", run.history, _kept(run))
        for v, variant in enumerate(evidence.variants)
        for run in variant.runs
    ]
    names = panels_of(name for of in histories for row in of.rows for name in row)
    found = [(name, curves) for name in names if (curves := curves_of(histories, name))]
    drawn = [
        figure(_logged(name), "", draw_curves(curves, _unit(name), f"Learning curve of {name}"))
        for name, curves in found
    ]
    if not drawn:
        return ""
    has_seeds = len(histories) > len(evidence.variants)
    message = "Mean over seeds; the seeds are the thin lines. " if has_seeds else ""
    message += "A dot is the epoch whose weights were kept." if any(of.kept for of in histories) else ""
    return gallery([FigurePanel("", "grid", drawn)], message.strip(), keys=variant_keys(evidence), kind="line")


def _kept(run: Run) -> float | None:
    """Return the epoch that a run kept, from 1; None where its config does not say by what it chose."""
    if "monitor" not in run.config:
        return None
    monitor = run.config["monitor"]
    epoch = kept_epoch(run.history, None if monitor is None else str(monitor))
    return None if epoch is None else epoch + 1


def _unit(name: str) -> str:
    """Name what a logged value is: a metric, or a loss."""
    return "SRCC" if name.endswith(f"/SRCC/{MEAN}") else "loss"


def _logged(name: str) -> str:
    stage, *rest = name.split("/")
    where = {"train": "training", "val": "validation"}.get(stage, stage)
    if rest[1:] == ["SRCC", "mean"]:
        return f"SRCC of {'clips' if rest[0] == 'utterance' else 'systems'}, {where}"
    return f"{'sum of the weighted losses' if rest == ['loss'] else '/'.join(rest)}, {where}"


def variant_keys(evidence: SharedClips) -> list[tuple[str, str]]:
    """Return the colour of each variant; none for one alone."""
    if len(evidence.variants) == 1:
        return []
    entries = [(colour(v), variant.name) for v, variant in enumerate(evidence.variants[:MAX_COLOURED])]
    rest = len(evidence.variants) - MAX_COLOURED
    return [*entries, *([("rest", f"{rest} more")] if rest > 0 else [])]


def domain_keys(evidence: SharedClips) -> list[tuple[str, str]]:
    """Return the colour of each domain."""
    return [(colour(i), domain) for i, domain in enumerate(sorted(set(evidence.domains)))]
