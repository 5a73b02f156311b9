"""One minus Spearman's rank correlation, with ranks that have a gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import (
    AxisReduction,
    as_table,
    check_axis_reduction,
    mean_over_rated,
    reduce_axes,
)
from lightning_aqa.objectives.pairwise import BLOCK_PAIRS, check_above_zero
from lightning_aqa.objectives.space import ScaledObjective, Space

SMALLEST_SPREAD = 0.01
"""Least deviation of soft ranks, per clip: the gradient stays finite where all scores are equal, as at a start."""


def soft_ranks(scores: Tensor, rated: Tensor, temperature: float) -> Tensor:
    r"""Count for each clip how many are below it, each to the degree that it is.

    .. math:: r_i = \tfrac12 + \sum_j \sigma\left(\frac{p_i - p_j}{\tau}\right)

    As the temperature goes to 0 these become the ranks 1 to B, and their average where scores tie. Their mean is
    (B + 1) / 2 at any temperature.

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points; finite where not rated.
        rated: True where a clip counts, shape ``(B, A)``, bool.
        temperature: tau, in score points.

    Returns:
        r, shape ``(B, A)``; any number where not rated.

    Example:
        >>> soft_ranks(torch.tensor([[3.0], [1.0], [3.0]]), torch.ones(3, 1, dtype=torch.bool), 0.01).flatten()
        tensor([2.5000, 1.0000, 2.5000])
    """
    step = max(BLOCK_PAIRS // max(scores.numel(), 1), 1)
    counts = []
    for start in range(0, len(scores), step):
        above_RBA = ((scores[start : start + step, None] - scores) / temperature).sigmoid()
        counts.append(torch.where(rated, above_RBA, 0.0).sum(1))
    return torch.cat(counts) + 0.5


def average_ranks(targets: Tensor, rated: Tensor) -> Tensor:
    """Rank the rated clips of each axis from 1; clips that tie get the average of their ranks.

    Args:
        targets: Shape ``(B, A)``; finite where not rated.
        rated: True where a clip counts, shape ``(B, A)``, bool.

    Returns:
        Ranks, shape ``(B, A)``; any number where not rated.

    Example:
        >>> average_ranks(torch.tensor([[3.0], [1.0], [3.0]]), torch.ones(3, 1, dtype=torch.bool)).flatten()
        tensor([2.5000, 1.0000, 2.5000])
    """
    levels_AB = torch.where(rated, targets, math.inf).T.contiguous()
    sorted_AB = levels_AB.sort(dim=1).values
    below_AB, up_to_AB = (torch.searchsorted(sorted_AB, levels_AB, right=right) for right in (False, True))
    return ((below_AB + up_to_AB + 1).to(targets.dtype) / 2).T


def soft_spearman_loss(
    scores: Tensor, targets: Tensor, *, temperature: float = 0.25, axis_reduction: AxisReduction = "mean"
) -> Tensor:
    r"""Return one minus the correlation of the soft ranks r of the scores with the ranks R of the targets.

    .. math:: 1 - \frac{\sum_i (r_i - \bar r)(R_i - \bar R)}{\sqrt{\sum_i (r_i - \bar r)^2 \sum_i (R_i - \bar R)^2}}

    The deviation of r counts as 0.01 B at least. As the temperature goes to 0 the loss becomes 1 - SRCC but loses its
    gradient; where it is far above the spread of the scores, r follows the scores themselves.

    Args:
        scores: Predictions, shape ``(B, A)``, in score points.
        targets: Mean opinion scores, shape ``(B, A)``, in score points; NaN where not rated.
        temperature: tau of ``soft_ranks``, in score points.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss, for an axis between 0 and 2; zero with a graph for one clip, for targets that all tie and where
        nothing is rated.

    Raises:
        ValueError: If the shapes differ or the temperature is not above 0.

    Example:
        >>> soft_spearman_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]]))
        tensor(2.)

    Reference:
        Qin, Liu, Li, "A general approximation framework for direct optimization of information retrieval measures",
        Information Retrieval 13, 2010: ranks by pairwise sigmoids. Blondel, Teboul, Berthet, Djolonga, "Fast
        Differentiable Sorting and Ranking", ICML 2020, https://arxiv.org/abs/2002.08871: Spearman's correlation of soft
        ranks as a loss. Differs: ranks of the first in the loss of the second.
    """
    check_above_zero(temperature=temperature)
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    count_A = rated_BA.sum(0)
    ranks = soft_ranks(scores_BA, rated_BA, temperature), average_ranks(targets_BA, rated_BA)
    soft_BA, hard_BA = (torch.where(rated_BA, ranks_BA - (count_A + 1) / 2, 0.0) for ranks_BA in ranks)
    soft_A, hard_A, both_A = (
        mean_over_rated(product_BA, rated_BA) for product_BA in (soft_BA.square(), hard_BA.square(), soft_BA * hard_BA)
    )
    varies_A = hard_A > 0
    least_A = (SMALLEST_SPREAD * count_A.clamp(min=1)).square()
    correlation_A = both_A / (soft_A.maximum(least_A) * torch.where(varies_A, hard_A, 1.0)).sqrt()
    return reduce_axes(torch.where(varies_A, 1 - correlation_A, 0.0 * both_A), targets, axis_reduction)


class SoftSpearman(ScaledObjective):
    """Raise the rank correlation of scores and targets in a batch with ``soft_spearman_loss``.

    It ignores a common shift of the scores, so it stands beside a regression loss. A correlation of few clips is noisy:
    it wants large batches.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        temperature: How far apart scores are that count as ranked, in the unit of ``space``.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` takes scores in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option is negative or unknown.
    """

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 0.25,
        axis_reduction: AxisReduction = "mean",
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        check_above_zero(temperature=temperature)
        check_axis_reduction(axis_reduction)
        self.temperature, self.axis_reduction = temperature, axis_reduction

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return one minus the correlation of the axes, reduced over them."""
        scores_BA, targets_BA = self.in_space(output.scores, batch.scores)
        return soft_spearman_loss(
            scores_BA, targets_BA, temperature=self.temperature, axis_reduction=self.axis_reduction
        )
