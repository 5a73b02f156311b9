"""The contrastive loss of UTMOS: the gap of two scores is that of their targets, up to a margin."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import AxisReduction, as_table, check_axis_reduction, reduce_axes
from lightning_aqa.objectives.pairwise import check_at_least_zero
from lightning_aqa.objectives.space import ScaledObjective, Space


def contrastive_loss(
    scores: Tensor, targets: Tensor, *, margin: float = 0.2, axis_reduction: AxisReduction = "mean"
) -> Tensor:
    r"""Average over all pairs by how much the gap of the scores misses the gap of the targets.

    .. math:: \frac{2}{B (B - 1)} \sum_{i < j} \max\bigl(0,\; |(p_i - p_j) - (y_i - y_j)| - m\bigr)

    Pairs with equal targets count: their scores should be equal too. With the errors :math:`e = p - y` in rising order
    a pair has the term :math:`e_i - e_j - m`, so counting for each clip how many errors lie more than m below and above
    its own is all it takes: B log B steps and no matrix of pairs.

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        margin: m, in score points.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss in score points; zero with a graph for one clip and where nothing is rated.

    Raises:
        ValueError: If the shapes differ or the margin is negative.

    Example:
        >>> contrastive_loss(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]]), margin=0.5)
        tensor(1.5000)

    Reference:
        "UTMOS: UTokyo-SaruLab System for VoiceMOS Challenge 2022", https://arxiv.org/abs/2204.02152. Its released
        configuration has a margin of 0.1 and a weight of 0.5 on scores :math:`(y - 3) / 2`; 0.2 score points are the
        same margin. Differs: the released code divides by :math:`B^2`, about half of this for the same scores.
    """
    check_at_least_zero(margin=margin)
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    count_A = rated_BA.sum(0)
    # Unrated clips come last, behind all that is compared; a score that is not a number comes behind them and shows.
    errors_BA = torch.where(rated_BA, scores_BA - targets_BA, math.inf)
    sorted_AB, order_AB = errors_BA.T.sort(dim=1)
    num_below_AB, num_above_AB = _count_beyond(sorted_AB.detach().contiguous(), count_A, margin)
    compared_AB = rated_BA.T.gather(1, order_AB)
    terms_AB = torch.where(compared_AB, sorted_AB, 0.0) * (num_below_AB - num_above_AB)
    num_pairs_A = torch.where(compared_AB, num_below_AB, 0).sum(1).to(terms_AB.dtype)
    total_A = terms_AB.sum(1) - margin * num_pairs_A
    return reduce_axes(total_A / (count_A * (count_A - 1) // 2).clamp(min=1), targets, axis_reduction)


def _count_beyond(sorted_AB: Tensor, count_A: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Count for each of the rising errors how many lie more than the margin below and above it.

    The second is counted from the first, not from the errors: rounding at the margin cannot make them disagree.
    """
    num_below_AB = torch.searchsorted(sorted_AB, sorted_AB - margin)
    place_AB = torch.arange(sorted_AB.shape[1], device=sorted_AB.device).expand_as(sorted_AB).contiguous()
    return num_below_AB, count_A[:, None] - torch.searchsorted(num_below_AB, place_AB, right=True)


class Contrastive(ScaledObjective):
    """Fit the gaps between the clips of a batch with ``contrastive_loss``.

    It ignores a common shift of the scores, so it stands beside a regression loss.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        margin: By how much a gap may miss, in the unit of ``space``.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` takes scores in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option is negative or unknown.
    """

    def __init__(
        self,
        weight: float = 1.0,
        margin: float = 0.2,
        axis_reduction: AxisReduction = "mean",
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        check_at_least_zero(margin=margin)
        check_axis_reduction(axis_reduction)
        self.margin, self.axis_reduction = margin, axis_reduction

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the axes, reduced over them."""
        scores_BA, targets_BA = self.in_space(output.scores, batch.scores)
        return contrastive_loss(scores_BA, targets_BA, margin=self.margin, axis_reduction=self.axis_reduction)
