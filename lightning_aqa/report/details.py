"""The pictures of the scores of single variants: clips, systems, their ranking, the error by rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_aqa.report.html import chooser, escape, figure, legend, shown_for
from lightning_aqa.report.plots import SystemMeans, colour, draw_calibration, draw_clips, draw_ranking, draw_systems
from lightning_aqa.results.comparison import ComparisonCell, ComparisonTable
from lightning_aqa.results.tables import shown
from lightning_aqa.results.variants import SharedClips


def predictions(
    evidence: SharedClips, detailed: Sequence[int], blocks: Sequence[ComparisonTable], titles: Mapping[str, str]
) -> str:
    """Return the pictures of the scores of each detailed variant."""
    names = [(str(v), evidence.variants[v].name) for v in detailed]
    controls = f'<div class="controls">{chooser("Variant", "detail", names)}</div>' if len(names) > 1 else ""
    keys = [(colour(i), domain) for i, domain in enumerate(sorted(set(evidence.domains)))]
    domains = f'<p class="note">Clips by domain:</p>{legend(keys)}' if evidence.named_domains else ""
    shown_ones = "".join(shown_for("detail", str(v), _details(evidence, v, blocks, titles)) for v in detailed)
    return controls + domains + shown_ones


NOTES = {
    "Clips": "",
    "Systems": "Thin lines: 95 % intervals of a system's mean over its clips.",
    "Ranking of systems": "",
    "Error by rating": "Six bins of equal count: mean error with its 95 % interval (thick) and the middle 80 % of the "
    "errors (thin). Any predictor that is not perfect over-rates the worst and under-rates the best.",
}
KEYS = {
    "Ranking of systems": legend(
        [("ink", "rated"), ("c0 diamond", "predicted"), ("none", "▲▼ places gained or lost in the prediction")]
    )
}


def _details(evidence: SharedClips, v: int, blocks: Sequence[ComparisonTable], titles: Mapping[str, str]) -> str:
    variant = evidence.variants[v]
    rows: dict[str, list[str]] = {heading: [] for heading in NOTES}
    for a, axis in enumerate(evidence.axes):
        for heading, picture in _pictures(evidence, v, a, blocks, titles.get(axis, axis)).items():
            rows[heading].append(picture)
    seeds = f"Pictures show each clip's score averaged over {len(variant.runs)} seeds; numbers are those of the table."
    told = f'<p class="note">{seeds}</p>' if len(variant.runs) > 1 else ""
    return told + (_beside(rows) if len(evidence.axes) == 1 else _below(rows))


def _pictures(
    evidence: SharedClips, v: int, a: int, blocks: Sequence[ComparisonTable], title: str
) -> dict[str, str]:  # fmt: skip
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


def _beside(rows: Mapping[str, Sequence[str]]) -> str:
    """Set the pictures of a single axis side by side, what is to be said of them below."""
    pictures = "".join(
        f"<div><h3>{heading}</h3>{KEYS.get(heading, '')}{figures[0]}</div>"
        for heading, figures in rows.items()
        if figures
    )
    told = "".join(
        f'<p class="note">{heading}: {escape(NOTES[heading])}</p>'
        for heading in rows
        if rows[heading] and NOTES[heading]
    )
    return f'<div class="grid wide">{pictures}</div>{told}' if pictures else ""


def _below(rows: Mapping[str, Sequence[str]]) -> str:
    """Set the axes side by side, kind of picture below kind of picture."""
    parts = []
    for heading, figures in rows.items():
        if figures:
            told = f'<p class="note">{escape(NOTES[heading])}</p>' if NOTES[heading] else ""
            css = "grid wide" if heading == "Ranking of systems" else "grid"
            inside = "".join(figures)
            parts.append(f'<h3>{heading}</h3>{told}{KEYS.get(heading, "")}<div class="{css}">{inside}</div>')
    return "".join(parts)


def _numbers(row: Mapping[tuple[str, str], ComparisonCell], axis: str) -> str:
    return ", ".join(f"{metric} {shown(row[axis, metric].value, metric)}" for metric in ("MSE", "LCC", "SRCC"))
