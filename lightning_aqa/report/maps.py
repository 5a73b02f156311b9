"""Maps of clips: the embedding of a model in two dimensions, and its agreement with the ratings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import srcc
from lightning_aqa.report.figures import Figure, FigurePanel, domain_keys, figure
from lightning_aqa.report.plots import colour
from lightning_aqa.report.svg import NUM_SHADES, Panel, shade, span
from lightning_aqa.report.templating import render
from lightning_aqa.results.runs import Run
from lightning_aqa.results.tables import shown
from lightning_aqa.results.variants import SharedClips

Array = NDArray[np.float64]
MAX_FOR_DISTANCES = 400


class EmbeddingMap(NamedTuple):
    """Embeddings of some clips.

    Args:
        ids: The clips.
        points: Their two leading principal components, shape ``(N, 2)``.
        explained: Share of the variance that each of the two explains.
        embeddings: Shape ``(N, E)``.
    """

    ids: list[str]
    points: Array
    explained: tuple[float, float]
    embeddings: Array


def principal_components(embeddings: Array) -> tuple[Array, tuple[float, float]]:
    """Project onto the two directions of largest variance.

    Args:
        embeddings: Shape ``(N, E)``.

    Returns:
        The points, shape ``(N, 2)``, and the share of the variance that each direction explains. A direction is turned
        so that its largest weight is positive, which makes the picture the same on every machine.

    Example:
        >>> principal_components(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))[1]
        (1.0, 0.0)
    """
    centred_NE = embeddings - embeddings.mean(0)
    _, sizes_K, directions_KE = np.linalg.svd(centred_NE, full_matrices=False)
    first_2E = np.zeros((2, embeddings.shape[1]))
    first_2E[: len(directions_KE)] = directions_KE[:2]
    largest_2 = np.take_along_axis(first_2E, np.abs(first_2E).argmax(1)[:, None], 1)
    first_2E *= np.where(largest_2 < 0, -1.0, 1.0)
    total = float((sizes_K**2).sum()) or 1.0
    shares = [float(size**2) / total for size in sizes_K[:2]] + [0.0, 0.0]
    return centred_NE @ first_2E.T, (shares[0], shares[1])


def map_of(run: Run, split: str) -> EmbeddingMap | None:
    """Map the embeddings that a run left of the clips of a split; None where it left none."""
    if run.observed is None:
        return None
    chosen = [i for i, name in enumerate(run.observed.splits) if name == split]
    ids, embeddings = [run.observed.ids[i] for i in chosen], run.observed.embeddings[chosen].astype(np.float64)
    if len(ids) < 3 or not np.isfinite(embeddings).all():
        return None
    return EmbeddingMap(ids, *principal_components(embeddings), embeddings)


def frames_of(run: Run, split: str) -> dict[str, Array]:
    """Return the frame scores that a run left of the clips of a split, shape ``(F, A)`` per clip."""
    if run.observed is None or run.observed.frames.shape[2] != len(run.axes):
        return {}
    of = run.observed
    return {
        id_: scores_FA[np.isfinite(scores_FA).all(1)].astype(np.float64)
        for name, id_, scores_FA in zip(of.frame_splits, of.frame_ids, of.frames, strict=True)
        if name == split
    }


def agreement(embeddings: Array, targets: Array) -> float:
    """Rank correlation of the distances of embeddings with the distances of ratings, over all pairs of clips.

    1 where clips lie the further apart, the more their ratings differ. At most 400 clips are looked at.

    Args:
        embeddings: Shape ``(N, E)``.
        targets: Shape ``(N,)``; NaN where not rated.
    """
    rated = np.flatnonzero(np.isfinite(targets))
    if len(rated) > MAX_FOR_DISTANCES:
        rated = rated[:: math.ceil(len(rated) / MAX_FOR_DISTANCES)]
    if len(rated) < 3:
        return math.nan
    from scipy.spatial.distance import pdist

    return srcc(pdist(embeddings[rated]), pdist(targets[rated, None]))


def draw_map(of: EmbeddingMap, targets: Array, domains: Sequence[str] | None, label: str) -> str:
    """Plot the two components, coloured by rating, or by domain where domains are given.

    Args:
        of: The map.
        targets: Rating of each clip of it, shape ``(N,)``.
        domains: Domain of each; None colours by rating.
        label: What a screen reader says.
    """
    x, y = of.points.T
    panel = Panel(span(x), span(y), width=320, height=290, margins=(8, 8, 30, 24))
    panel.x_axis(f"component 1, {of.explained[0]:.0%} of the variance", at=[])
    panel.y_axis(f"component 2, {of.explained[1]:.0%}", at=[])
    size = 6.0 if len(x) < 300 else 4.5
    if domains is None:
        limits = span(targets, 0.0)
        shades = np.array([shade(value, limits) if np.isfinite(value) else -1 for value in targets])
        for level in range(NUM_SHADES):
            panel.dots(x[shades == level], y[shades == level], f"q{level}", size)
    else:
        for index, name in enumerate(sorted(set(domains))):
            chosen = np.array([domain == name for domain in domains])
            panel.dots(x[chosen], y[chosen], colour(index), size)
    return panel.svg(label)


def embedding_maps(evidence: SharedClips, detailed: Sequence[int], titles: Mapping[str, str]) -> str:
    """Return the embeddings of each detailed variant's first run, coloured by rating and by domain."""
    index = {id_: i for i, id_ in enumerate(evidence.ids)}
    maps = [(v, map_of(evidence.variants[v].runs[0], evidence.split)) for v in detailed]
    found = [(v, of) for v, of in maps if of is not None and all(id_ in index for id_ in of.ids)]
    if not found:
        return ""
    ways = [(axis, f"rating, {titles.get(axis, axis)}") for axis in evidence.axes]
    ways += [("", "domain")] if evidence.named_domains else []
    maps_of = _different(evidence, found)
    panels = [
        FigurePanel(
            axis,
            "",
            [_coloured(evidence, names, of, [index[id_] for id_ in of.ids], axis, words) for names, of in maps_of],
        )
        for axis, words in ways
    ]
    return render("maps", ways=ways, panels=panels, keys=domain_keys(evidence))


def _coloured(
    evidence: SharedClips, names: str, of: EmbeddingMap, rows: Sequence[int], axis: str, words: str
) -> Figure:
    """Draw a map coloured by the rating of an axis, or by domain where none is named."""
    targets = evidence.targets[rows, list(evidence.axes).index(axis) if axis else 0]
    domains = None if axis else [evidence.domains[row] for row in rows]
    note = f"distance against rating: {shown(agreement(of.embeddings, targets), 'SRCC')}" if axis else ""
    return figure(names, note, draw_map(of, targets, domains, f"Embedding of {names}, coloured by {words}"))


def _different(evidence: SharedClips, maps: Sequence[tuple[int, EmbeddingMap]]) -> list[tuple[str, EmbeddingMap]]:
    """Join the names of variants whose embeddings are the same, as under a linear head on a frozen encoder."""
    joined: list[tuple[str, EmbeddingMap]] = []
    for v, of in maps:
        name = evidence.variants[v].name
        for i, (names, other) in enumerate(joined):
            if np.array_equal(of.embeddings, other.embeddings):
                joined[i] = f"{names}, {name}", other
                break
        else:
            joined.append((name, of))
    return joined
