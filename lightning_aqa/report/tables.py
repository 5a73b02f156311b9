"""The tables of the page: results, published numbers, and numbers beside the four metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.conformal import SHARE, IntervalCoverage, interval_coverage
from lightning_aqa.metrics.levels import MEAN
from lightning_aqa.metrics.pairwise import within_groups
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.report.templating import render
from lightning_aqa.results.clip_intervals import CALIBRATES
from lightning_aqa.results.comparison import ComparisonTable
from lightning_aqa.results.further import TOP, calibrated, top_systems
from lightning_aqa.results.runs import Run
from lightning_aqa.results.tables import (
    LEVELS,
    axes_of,
    beside_of,
    columns_of,
    headline,
    legend_of,
    many,
    marks_of,
    metrics_of,
    reasons_of,
    title_of,
)
from lightning_aqa.results.variants import SharedClips, Variant

Array = NDArray[np.float64]

REMARKS = {
    "AES-Natural": "An MSE over all systems lies between those of the domains. By Table I of the paper, AESA-Net's MSE "
    "of CE and CU in its Table II cannot come from the same predictions."
}
MOST = 1e12
FURTHER = {
    "bias": ("Bias", "mean of predicted minus rated, in score points"),
    "slope": (
        "Slope",
        "of the regression of ratings on predictions: 1 if calibrated, below 1 where predictions spread too far",
    ),
    "top": (f"Top {TOP}", f"share of the {TOP} best systems that are among the {TOP} best predicted"),
    "systems": ("SRCC within systems", "mean over systems of the SRCC of the clips of one"),
    "prompts": ("SRCC within prompts", "mean over prompts of the SRCC of the clips made from one"),
    "68": ("68 % covers", "share of ratings inside the interval that the predicted deviation gives for 68 %"),
    "95": ("95 % covers", "the same for 95 %"),
    "held": (f"{100 * SHARE:.0f} % intervals hold", "share of ratings between low and high of their clips"),
    "width": ("Width", "mean distance of low and high, in score points"),
}


def results(
    evidence: SharedClips, blocks: Sequence[ComparisonTable], titles: Mapping[str, str], unit: Unit | None
) -> str:
    """Return the tables, of which the reader chooses level and domain.

    Args:
        evidence: The variants.
        blocks: Their tables; the one that the text speaks of first.
        titles: Title of each axis.
        unit: What varied as one piece; None is clips at utterance and systems at system level.
    """
    levels = list(dict.fromkeys(block.level for block in blocks))
    domains = list(dict.fromkeys(block.domain for block in blocks))
    there = [f"{block.level}|{block.domain}" for block in blocks]
    every = [f"{level}|{domain}" for level in levels for domain in domains]
    names = [{"name": variant.name, "tags": _tags(evidence, v)} for v, variant in enumerate(evidence.variants)]
    return render(
        "results",
        levels=[(level, LEVELS[level]) for level in levels],
        domains=[(domain, domain or "all") for domain in domains],
        tables=[_laid_out(block, titles) for block in blocks],
        missing=[value for value in every if value not in there],
        variants=names,
        legend=legend_of(evidence, blocks, unit),
    )


def _laid_out(block: ComparisonTable, titles: Mapping[str, str]) -> dict[str, Any]:
    unit = "clip" if block.level == "utterance" else "system"
    groups = [
        {"title": axis_title(axis, titles), "n": _size(block, axis, unit), "num_metrics": len(metrics_of(block))}
        for axis in axes_of(block)
    ]
    columns = columns_of(block)
    marks = [{column: marks_of(block, v, column) for column in columns} for v in range(len(block.rows))]
    return {
        "block": block,
        "label": title_of(block),
        "groups": groups,
        "columns": columns,
        "marks": marks,
        "reasons": reasons_of(block),
        "beside": [
            (name, told, {column: beside_of(block, name, column) for column in columns})
            for name, told, _ in block.beside
        ],
    }


def _size(block: ComparisonTable, axis: str, unit: str) -> str:
    """Say over how many clips or systems an axis is, such as ``n = 36 clips``."""
    if axis not in block.n:
        return ""
    return f"n = {many(block.n[axis], unit)}" if block.n[axis] else "not rated"


def axis_title(axis: str, titles: Mapping[str, str]) -> str:
    """Return the title of an axis, or of the mean over them."""
    return "Mean over axes" if axis == MEAN else titles.get(axis, axis)


def _tags(evidence: SharedClips, v: int) -> list[str]:
    """Mark the baseline, and how many seeds a variant has where variants differ in that."""
    counts = [len(variant.runs) for variant in evidence.variants]
    seeds = [f"{counts[v]} seed{'' if counts[v] == 1 else 's'}"] if len(set(counts)) > 1 else []
    seeds = ["another tool"] if evidence.variants[v].is_fixed else seeds
    return (["baseline"] if v == 0 and len(counts) > 1 else []) + seeds


# Published by others


def published(rows: Sequence[Mapping[str, str]], is_simulated: bool) -> str:
    """Return the published numbers, one table per split and level, naming whose they are."""
    if not rows:
        return ""
    corpus = rows[0]["corpus"]
    warning = f"Published by others, on {corpus}; none of these numbers was measured here."
    if is_simulated:
        warning += " The scores of this report's own corpus are simulated: nothing here can be set beside them."
    keys = list(dict.fromkeys((row["split"], row["level"]) for row in rows))
    tables = [_published([row for row in rows if (row["split"], row["level"]) == key]) for key in keys]
    return render("published", warning=warning, tables=tables, remark=REMARKS.get(corpus, ""))


def _published(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    return {
        "split": rows[0]["split"],
        "level": rows[0]["level"],
        "columns": list(dict.fromkeys((row["axis"], row["metric"]) for row in rows)),
        "systems": list(dict.fromkeys((row["system"], row["source"]) for row in rows)),
        "numbers": {(row["system"], row["axis"], row["metric"]): row["value"] for row in rows},
    }


# Beside the four metrics: calibration, the best systems, correlations inside groups, coverage


def further(evidence: SharedClips, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
    """Return a table of further numbers per axis, of the detailed variants, each the mean over seeds."""
    tables = []
    for a, axis in enumerate(evidence.axes):
        rows = {evidence.variants[v].name: numbers_of(evidence, v, a) for v in detailed}
        used = [key for key in FURTHER if any(math.isfinite(row[key]) for row in rows.values())]
        numbers = [(name, [(row[key], _written_as(key)) for key in used]) for name, row in rows.items()]
        tables.append({"axis": axis, "heads": [FURTHER[key] for key in used], "rows": numbers})
    return render("further", axes=[(axis, titles.get(axis, axis)) for axis in evidence.axes], tables=tables)


def _written_as(key: str) -> str:
    return "MSE" if key in ("bias", "slope", "width") else "SRCC"


def numbers_of(evidence: SharedClips, v: int, a: int) -> dict[str, float]:
    """Compute the further numbers of a variant on an axis, mean over seeds; NaN where undefined."""
    variant, targets = evidence.variants[v], evidence.targets[:, a]
    found = []
    for seed in range(len(variant.runs)):
        scores = variant.scores[seed, :, a]
        deviations = None if variant.deviations is None else variant.deviations[seed, :, a]
        fit, covered = calibrated(scores, targets, deviations)
        row = {"bias": fit.bias, "slope": fit.slope, "top": top_systems(scores, targets, evidence.systems)}
        row["systems"] = within_groups(scores, targets, evidence.systems).srcc
        row["prompts"] = within_groups(scores, targets, evidence.prompts).srcc
        held = _interval_coverage(variant, seed, evidence.split, evidence.axes[a])
        shares = {"68": covered.covered[0.68], "95": covered.covered[0.95]}
        found.append({**row, **shares, "held": held.covered, "width": held.width})
    return {key: float(np.mean([row[key] for row in found])) for key in FURTHER}


def _interval_coverage(variant: Variant, seed: int, split: str, axis: str) -> IntervalCoverage:
    """Compute what the intervals of a run's clips hold; NaN where it has none, or the split calibrates them."""
    run = variant.runs[seed]
    table = None if variant.is_fixed or split == CALIBRATES else run.splits.get(split)
    if table is None or table.intervals is None:
        return IntervalCoverage(0, math.nan, math.nan)
    a = list(run.axes).index(axis)
    return interval_coverage(table.intervals[:, a], table.targets[:, a])


# Folds of a cross-validation


def folds(evidence: SharedClips) -> str:
    """Return the numbers of each fold and their spread; none where no run is a cross-validation."""
    rows = []
    for variant, run in ((of, run) for of in evidence.variants for run in of.runs):
        name = variant.name if len(variant.runs) == 1 else f"{variant.name}, {run.name}"
        of_folds = run.fold_results if run.folds_of(evidence.split) else []
        found = [fold.get("utterance", {}).get(MEAN, {}) for fold in of_folds]
        for metric in ("SRCC", "MSE") if len(found) > 1 else ():
            values = np.array([entry.get(metric, math.nan) for entry in found])
            rows.append((name, metric, values.tolist(), float(values.mean()), float(values.std(ddof=1))))
    return render("folds", rows=rows, most=max(len(row[2]) for row in rows)) if rows else ""


# Speed and memory


def costs(evidence: SharedClips, block: ComparisonTable) -> str:
    """Return what each variant takes beside its headline number; none where no run says so."""
    column = headline(block)
    found = [[_speed(run) for run in variant.runs] for variant in evidence.variants]
    times = [_mean([times for times, _, _ in of]) for of in found]
    megabytes = [_mean([megabytes for _, megabytes, _ in of]) for of in found]
    if not any(map(math.isfinite, [*times, *megabytes])):
        return ""
    rows = [
        {
            "name": variant.name,
            "value": block.rows[v][column].value,
            "times": times[v],
            "megabytes": megabytes[v],
            "device": ", ".join(dict.fromkeys(device for _, _, device in found[v] if device)),
        }
        for v, variant in enumerate(evidence.variants)
    ]
    return render("costs", rows=rows, metric=column[1], level=LEVELS[block.level])


def _speed(run: Run) -> tuple[float, float, str]:
    """Return seconds of audio in a second, megabytes and device as a run says; NaN where it does not."""
    of = run.facts.get("speed")
    of = of if isinstance(of, dict) else {}
    numbers = [float(x) if isinstance(x, int | float) and 0 < x < MOST else math.nan
               for x in (of.get("times_real_time"), of.get("peak_megabytes"))]  # fmt: skip
    return numbers[0], numbers[1], of["device"] if isinstance(of.get("device"), str) else ""


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
