"""The sections that set scores against ratings: clips, systems, ranks, errors, pairs in the right order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lightning_aqa.batch import Axis
from lightning_aqa.report.figures import Figure, FigurePanel, domain_keys, figure, gallery, variant_keys
from lightning_aqa.report.plots import (
    SystemMeans,
    draw_accuracy,
    draw_calibration,
    draw_clips,
    draw_ranking,
    draw_systems,
    shared_span,
)
from lightning_aqa.report.svg import Span
from lightning_aqa.report.templating import render
from lightning_aqa.results.comparison import ComparisonCell, ComparisonTable
from lightning_aqa.results.further import pairs_in_order
from lightning_aqa.results.tables import shown
from lightning_aqa.results.variants import SharedClips

NOTES = {
    "Clips": "",
    "Systems": "Thin lines: 95 % intervals of a system's mean over its clips, within the scale.",
    "Ranking of systems": "",
    "Error by prediction": "Six bins of equal count: mean error with its 95 % interval (thick) and the middle 80 % of "
    "the errors (thin). Of a calibrated predictor every bin lies on the line.",
    "Error by rating": "The same by the rating. Any predictor that is not perfect over-rates the worst and under-rates "
    "the best.",
}


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
    return gallery([FigurePanel("", "grid", drawn)], message, keys=variant_keys(evidence), kind="line") if drawn else ""


def predictions(
    evidence: SharedClips,
    detailed: Sequence[int],
    blocks: Sequence[ComparisonTable],
    axes: Sequence[Axis],
    titles: Mapping[str, str],
) -> str:
    """Return the pictures of the scores of each detailed variant: clips, systems, ranks, errors.

    The sides of a picture are the same for all variants, so that they can be compared by eye.
    """
    drawn: dict[int, dict[str, list[Figure]]] = {v: {heading: [] for heading in NOTES} for v in detailed}
    for a, axis in enumerate(axes):
        for v, heading, picture in _pictures(evidence, detailed, a, axis, blocks, titles.get(axis.name, axis.name)):
            drawn[v][heading].append(picture)
    return render(
        "predictions",
        names=[(str(v), evidence.variants[v].name) for v in detailed],
        domains=domain_keys(evidence) if evidence.named_domains else [],
        variants=[
            {"value": str(v), "num_seeds": len(evidence.variants[v].runs), "figures": drawn[v]} for v in detailed
        ],
        is_single=len(evidence.axes) == 1,
        notes=NOTES,
    )


def _pictures(
    evidence: SharedClips,
    detailed: Sequence[int],
    a: int,
    axis: Axis,
    blocks: Sequence[ComparisonTable],
    title: str,
) -> Iterator[tuple[int, str, Figure]]:
    """Draw the pictures of all detailed variants on one axis: variant, heading, picture."""
    targets = evidence.targets[:, a]
    rated = np.isfinite(targets)
    scores = {v: evidence.variants[v].mean_scores[:, a] for v in detailed}
    known = [v for v in detailed if (rated & np.isfinite(scores[v])).any()]
    alike = [v for v in known if not _is_foreign(blocks, v, axis.name)]
    both = shared_span([targets[rated], *(scores[v][rated] for v in alike)])
    scale = Span(axis.low, axis.high)
    means = {v: SystemMeans(targets, scores[v], evidence.systems, scale) for v in alike if evidence.has_systems}
    of_systems = shared_span([np.zeros(0), *(part for of in means.values() for part in of.parts)])
    for v in known:
        name = f"{title}, {evidence.variants[v].name}"
        numbers = {block.level: _numbers(block.rows[v], axis.name) for block in blocks if not block.domain}
        if _is_foreign(blocks, v, axis.name):
            sides = shared_span([targets[rated]]), shared_span([scores[v][rated]])
            clips = draw_clips(targets, scores[v], evidence.domains, f"Predicted against rated clips, {name}", *sides)
            yield v, "Clips", figure(title, numbers["utterance"], clips)
            continue
        clips = draw_clips(targets, scores[v], evidence.domains, f"Predicted against rated clips, {name}", both, both)
        yield v, "Clips", figure(title, numbers["utterance"], clips)
        if "system" in numbers:
            systems = draw_systems(means[v], f"Predicted against rated systems, {name}", of_systems)
            yield v, "Systems", figure(title, numbers["system"], systems)
            ranking = draw_ranking(means[v], f"Systems as rated, {name}", of_systems)
            yield v, "Ranking of systems", figure(title, "", ranking)
        for by, heading in (("predicted", "Error by prediction"), ("rated", "Error by rating")):
            yield v, heading, figure(title, "", draw_calibration(targets, scores[v], f"{heading}, {name}", by))


def _is_foreign(blocks: Sequence[ComparisonTable], v: int, axis: str) -> bool:
    """Tell whether a variant scores on a scale of its own, so that its errors are undefined."""
    row = next(block.rows[v] for block in blocks if block.level == "utterance" and not block.domain)
    return math.isfinite(row[axis, "SRCC"].value) and not math.isfinite(row[axis, "MSE"].value)


def _numbers(row: Mapping[tuple[str, str], ComparisonCell], axis: str) -> str:
    return ", ".join(f"{metric} {shown(row[axis, metric].value, metric)}" for metric in ("SRCC", "LCC", "MSE"))
