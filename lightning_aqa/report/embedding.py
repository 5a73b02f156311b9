"""The embeddings of variants side by side, by rating and by domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_aqa.report.html import chooser, figure, legend, shown_for
from lightning_aqa.report.maps import Map, agreement, draw_map, read_map
from lightning_aqa.report.plots import colour
from lightning_aqa.results.tables import shown
from lightning_aqa.results.variants import SharedClips


def embedding_maps(evidence: SharedClips, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
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


def _different(evidence: SharedClips, maps: Sequence[tuple[int, Map]]) -> list[tuple[str, Map]]:
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
