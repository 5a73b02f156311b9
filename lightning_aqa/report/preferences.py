"""The section on pairs that listeners judged: how often the model agrees, and whether its probabilities hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_aqa.metrics.levels import MEAN, PAIR_METRICS
from lightning_aqa.metrics.preferences import evaluate_pairs
from lightning_aqa.report.figures import figure
from lightning_aqa.report.plots import colour
from lightning_aqa.report.svg import NUM_COLOURS, Panel, Span
from lightning_aqa.report.templating import render
from lightning_aqa.results.variants import SharedClips

Entry = Mapping[str, Any]
TITLES = {"accuracy": "Accuracy", "log_loss": "Log loss", "ECE": "ECE"}


def judged_pairs(evidence: SharedClips, titles: Mapping[str, str]) -> str:
    """Return accuracy, log loss and calibration of each run on its pairs; empty where no run has pairs of the split.

    Args:
        evidence: The variants.
        titles: Title of each axis.
    """
    found = list(_runs(evidence))
    if not found:
        return ""
    axes = list(dict.fromkeys(axis for _, _, entries in found for axis in entries if axis != MEAN))
    rows = [
        _row(name, titles.get(axis, axis), entries[axis])
        for axis in axes
        for _, name, entries in found
        if axis in entries
    ]
    drawn = [
        figure(
            titles.get(axis, axis), "", _reliability([(v, name, of[axis]) for v, name, of in found if axis in of], axis)
        )
        for axis in axes
        if any(of[axis]["bins"] for _, _, of in found if axis in of)
    ]
    units = sorted({row["unit"] for row in rows})
    return render("preferences", heads=list(TITLES.values()), rows=rows, figures=drawn, units=" or ".join(units))


def _runs(evidence: SharedClips) -> Iterator[tuple[int, str, dict[str, dict[str, Any]]]]:
    for v, variant in enumerate(evidence.variants):
        for run in variant.runs:
            name = variant.name if len(variant.runs) == 1 else f"{variant.name}, {run.name}"
            entries = evaluate_pairs(run.pairs.get(evidence.split, []), evidence.axes)
            if entries:
                yield v, name, entries


def _row(name: str, title: str, entry: Entry) -> dict[str, Any]:
    numbers = [(entry[metric], *entry["ci"][metric]) for metric in PAIR_METRICS]
    kept = {key: entry[key] for key in ("n", "clips", "ties", "unit")}
    predicted = entry["ties_predicted"]
    return {
        "name": name, "axis": title, "numbers": numbers, "chance": entry["ECE_chance"],
        "ties_predicted": f"{predicted:.0f}" if math.isfinite(predicted) else "", **kept,
    }  # fmt: skip


def _reliability(lines: Sequence[tuple[int, str, Entry]], axis: str) -> str:
    """Plot how often the predicted winner won over how probable it was, a line per run."""
    panel = Panel(Span(0.5, 1.0), Span(0.0, 1.02), width=320, height=260)
    panel.x_axis("probability of the predicted winner")
    panel.y_axis("share that won")
    panel.line((0.5, 1.0), (0.5, 1.0), "identity")
    for variant, name, entry in reversed(lines):
        css = colour(variant) if variant < NUM_COLOURS else "rest"
        predicted, right = ([bin_[key] for bin_ in entry["bins"]] for key in ("predicted", "right"))
        panel.line(predicted, right, css, name)
        for x, y, bin_ in zip(predicted, right, entry["bins"], strict=True):
            panel.mark(x, y, css, f"{name}: {y:.3f} of {bin_['n']} pairs at {x:.3f}", radius=3)
    return panel.svg(f"Reliability of the probabilities of pairs, {axis}")
