"""Draws of a training epoch from each corpus of a mix: in proportion to its clips, or more evenly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lightning_aqa.data.buckets import Order


def counts_at_temperature(sizes: Sequence[int], temperature: float) -> list[int]:
    r"""Share the draws of an epoch, as many as there are clips, among corpora.

    .. math:: m_c = N \frac{n_c^{1/T}}{\sum_d n_d^{1/T}}, \qquad N = \sum_d n_d

    Args:
        sizes: Clips n of each corpus, at least one.
        temperature: T, above 0: 1 draws in proportion to the clips, inf from all corpora alike.

    Returns:
        Draws m per corpus, whole numbers with the sum N by largest remainder; each corpus has one at least.

    Example:
        >>> counts_at_temperature([900, 100], 1.0), counts_at_temperature([900, 100], 2.0)
        ([900, 100], [750, 250])

    Reference:
        Arivazhagan et al., Massively multilingual neural machine translation in the wild, arXiv 1907.05019.
    """
    logs = np.log(np.asarray(sizes, np.float64)) / temperature
    shares = np.exp(logs - logs.max())
    wanted = shares / shares.sum() * sum(sizes)
    counts = np.maximum(np.floor(wanted), 1)
    while (rest := int(sum(sizes) - counts.sum())) != 0:
        excess = wanted - counts if rest > 0 else np.where(counts > 1, counts - wanted, -math.inf)
        counts[int(np.argmax(excess))] += math.copysign(1, rest)
    return [int(count) for count in counts]


class CorpusDraw:
    """Draw the clips of an epoch by ``counts_at_temperature``: of each corpus all as often as they go, then some.

    Args:
        corpora: Corpus of each clip.
        temperature: 1 draws each clip once, larger more evenly from the corpora.
    """

    def __init__(self, corpora: Sequence[str], temperature: float) -> None:
        names = list(dict.fromkeys(corpora))
        self.clips = [np.array([i for i, corpus in enumerate(corpora) if corpus == name]) for name in names]
        self.counts = counts_at_temperature([len(clips) for clips in self.clips], temperature)

    def __call__(self, random: np.random.Generator) -> Order:
        """Return as many clips as there are, in a random order."""
        drawn: list[Order] = []
        for clips, count in zip(self.clips, self.counts, strict=True):
            whole, rest = divmod(count, len(clips))
            drawn += [*([clips] * whole), random.permutation(clips)[:rest]]
        return random.permutation(np.concatenate(drawn))
