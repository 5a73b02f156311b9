"""Numbers beside the four metrics: calibration, the best systems, correlations inside groups, coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.calibration import calibration, coverage
from lightning_aqa.metrics.correlation import exact_mean, rows_of_systems
from lightning_aqa.metrics.pairwise import top_k_accuracy, within_groups
from lightning_aqa.report.html import chooser, escape, shown_for
from lightning_aqa.results.tables import shown
from lightning_aqa.results.variants import SharedClips

Array = NDArray[np.float64]
TOP = 3
COLUMNS = {
    "bias": ("Bias", "mean of predicted minus rated, in score points"),
    "slope": (
        "Slope",
        "of the line from predicted to rated: below 1 the scores are spread too far, above 1 too little",
    ),
    "top": (f"Top {TOP}", f"share of the {TOP} best systems that are among the {TOP} best predicted"),
    "systems": ("SRCC in systems", "mean over systems of the SRCC of their clips: what is left without the system"),
    "prompts": ("SRCC in prompts", "mean over prompts of the SRCC of the clips made from them"),
    "68": ("68 % covers", "share of ratings inside the interval that the predicted deviation gives for 68 %"),
    "95": ("95 % covers", "the same for 95 %"),
}


def further(evidence: SharedClips, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
    """Return a table of these numbers per axis, of the detailed variants, each the mean over seeds."""
    tables = []
    for a, axis in enumerate(evidence.axes):
        rows = {v: numbers_of(evidence, v, a) for v in detailed}
        used = [key for key in COLUMNS if any(math.isfinite(row[key]) for row in rows.values())]
        tables.append(shown_for("further", axis, _table(evidence, rows, used)))
    controls = chooser("Axis", "further", [(axis, titles.get(axis, axis)) for axis in evidence.axes])
    return f'<div class="controls">{controls}</div>{"".join(tables)}'


def numbers_of(evidence: SharedClips, v: int, a: int) -> dict[str, float]:
    """Compute the numbers of a variant on an axis, mean over seeds; NaN where undefined."""
    variant, targets = evidence.variants[v], evidence.targets[:, a]
    found = []
    for seed in range(len(variant.runs)):
        scores = variant.scores[seed, :, a]
        fit = calibration(scores, targets)
        row = {"bias": fit.bias, "slope": fit.slope, "top": _top(evidence, scores, targets)}
        row["systems"] = within_groups(scores, targets, evidence.systems).srcc
        row["prompts"] = within_groups(scores, targets, evidence.prompts).srcc
        covered = {0.68: math.nan, 0.95: math.nan}
        if variant.deviations is not None:
            covered = coverage(scores, targets, variant.deviations[seed, :, a]).covered
        found.append({**row, "68": covered[0.68], "95": covered[0.95]})
    return {key: float(np.mean([row[key] for row in found])) for key in COLUMNS}


def _top(evidence: SharedClips, scores: Array, targets: Array) -> float:
    rated = np.flatnonzero(np.isfinite(targets))
    rows = [rated[of] for of in rows_of_systems([evidence.systems[i] for i in rated.tolist()]).values()]
    if len(rows) <= TOP:
        return math.nan
    means = [np.array([exact_mean(values[of]) for of in rows]) for values in (scores, targets)]
    return top_k_accuracy(means[0], means[1], TOP)


def _table(evidence: SharedClips, rows: Mapping[int, Mapping[str, float]], used: Sequence[str]) -> str:
    heads = "".join(
        f'<th scope="col" class="n" data-column="{i}" title="{escape(COLUMNS[key][1])}">'
        f'<button type="button" class="sort">{escape(COLUMNS[key][0])}</button></th>'
        for i, key in enumerate(used, start=1)
    )
    body = "".join(
        f'<tr><th scope="row" data-value="{escape(evidence.variants[v].name)}">{escape(evidence.variants[v].name)}</th>'
        + "".join(_cell(row[key], key) for key in used)
        + "</tr>"
        for v, row in rows.items()
    )
    name = '<th scope="col" data-column="0"><button type="button" class="sort">Variant</button></th>'
    told = "; ".join(f"{COLUMNS[key][0]}: {COLUMNS[key][1]}" for key in used)
    return (
        '<div class="box" tabindex="0" role="region" aria-label="Further numbers"><table class="sortable">'
        f'<thead><tr>{name}{heads}</tr></thead><tbody>{body}</tbody></table></div><p class="note">{escape(told)}.</p>'
    )


def _cell(value: float, key: str) -> str:
    plain = f"{value:.6f}" if math.isfinite(value) else ""
    return f'<td class="n" data-value="{plain}">{shown(value, "MSE" if key in ("bias", "slope") else "SRCC")}</td>'
