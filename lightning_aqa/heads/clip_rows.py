"""Rows to fit in closed form: the windows of each clip, and each clip as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_aqa.heads.pooling import SMALLEST_STD

MOST_ROWS = 1000
"""Rows up to which clips give their windows too, beside the one that stands for the whole clip."""


def rows_of_clips(
    ids: Sequence[str], pooled: Tensor, weights: Tensor, scores: Tensor, block_sizes: Sequence[int]
) -> tuple[list[str], Tensor, Tensor]:
    r"""Return what a fit reads of some windows: for each clip the whole and, where it has several, windows of it.

    Windows vary within a clip in what says nothing of its score, so a fit that sees them learns what to overlook. The
    moments of the whole clip are exact: with windows of weight w, mean m and deviation s,

    .. math:: M = \sum w m, \quad S^2 = \sum w (s^2 + m^2) - M^2.

    A window that is there twice, as when each process reads all clips, counts once; the order of windows does not
    matter.

    Args:
        ids: Clip of each window.
        pooled: Means and deviations, block after block in turn, shape ``(R, E)``, float64.
        weights: Weight of each window in its clip, shape ``(R,)``.
        scores: Scores of its clip, shape ``(R, A)``.
        block_sizes: Sizes of the blocks, each size twice: means, then deviations.

    Returns:
        Clip of each row, rows ``(N, E)`` and scores ``(N, A)``; first the clips in the order of ids, then windows.

    Example:
        >>> windows = torch.tensor([[1.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
        >>> rows_of_clips(["a", "a"], windows, torch.ones(2), torch.ones(2, 1), [1, 1])[1]
        tensor([[2., 1.],
                [3., 0.],
                [1., 0.]], dtype=torch.float64)
    """
    found = {(name, row.numpy().tobytes()): number for number, (name, row) in enumerate(zip(ids, pooled, strict=True))}
    windows: dict[str, list[int]] = {}
    for key in sorted(found):
        windows.setdefault(key[0], []).append(found[key])
    names = list(windows)
    whole_NE = torch.stack([_whole(pooled[own], weights[own], block_sizes) for own in windows.values()])
    most = max(0, MOST_ROWS // len(names) - 1)
    kept = [(name, row) for name, own in windows.items() if len(own) > 1 for row in _even(own, most)]
    rows = [row for _, row in kept]
    firsts = [own[0] for own in windows.values()]
    return (
        [*names, *(name for name, _ in kept)],
        torch.cat([whole_NE, pooled[rows]]),
        torch.cat([scores[firsts], scores[rows]]),
    )


def _whole(pooled: Tensor, weights: Tensor, block_sizes: Sequence[int]) -> Tensor:
    if len(pooled) == 1:
        return pooled[0]
    share_W1 = (weights / weights.sum())[:, None].to(pooled)
    blocks = torch.split(pooled, list(block_sizes), 1)
    found = []
    for mean_WD, std_WD in zip(blocks[::2], blocks[1::2], strict=True):
        mean_D = (share_W1 * mean_WD).sum(dim=0)
        variance_D = (share_W1 * (std_WD.square() + (mean_WD - mean_D).square())).sum(dim=0)
        found += [mean_D, variance_D.clamp(min=SMALLEST_STD**2).sqrt()]
    return torch.cat(found)


def _even(rows: Sequence[int], most: int) -> list[int]:
    """Return at most so many, evenly spaced."""
    size = min(most, len(rows))
    return [rows[int((i + 0.5) * len(rows) / size)] for i in range(size)]
