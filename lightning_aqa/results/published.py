"""Numbers that others published, in one file with their sources."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.resources import files

FILE = "published.csv"
"""Columns: corpus, split, level, system, axis, metric, value, n (clips or systems; empty where not told), source."""
CORPORA = {"MusicEval": ("MI", "TA"), "AES-Natural": ("PQ", "PC", "CE", "CU")}
"""Corpora that a report finds by the axes of its runs."""


def read_published() -> list[dict[str, str]]:
    """Return all published numbers, as texts by column."""
    text = files("lightning_aqa.results").joinpath(FILE).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def published_rows(axes: Sequence[str]) -> list[dict[str, str]]:
    """Return the published numbers of the corpus that has these axes; none for another corpus."""
    corpus = next((name for name, its in CORPORA.items() if set(axes) & set(its)), "")
    return published_of(corpus, axes)


def published_of(corpus: str, axes: Sequence[str]) -> list[dict[str, str]]:
    """Return the published numbers of a corpus or a challenge on some axes.

    Example:
        >>> sorted({row["level"] for row in published_of("AES-Natural", ["PQ"])})
        ['system']
    """
    return [row for row in read_published() if row["corpus"] == corpus and row["axis"] in axes]
