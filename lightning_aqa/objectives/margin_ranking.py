"""The conventional ranking loss with one fixed margin, which QAMRO is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import AxisReduction, check_axis_reduction, reduce_axes
from lightning_aqa.objectives.pairwise import as_columns, check_at_least_zero, pair_hinge
from lightning_aqa.objectives.space import ScaledObjective, Space


def margin_ranking_loss(scores: Tensor, targets: Tensor, *, margin: float = 0.1, tolerance: float = 0.0) -> Tensor:
    r"""Ask of every pair of clips that the better one scores higher by a fixed margin.

    .. math:: \frac{1}{|P|} \sum_{(i, j) \in P} \max(0,\; m - (p_i - p_j)), \quad P = \{(i, j) : y_i - y_j > t\}

    Args:
        scores: Predictions p, shape ``(B,)`` or ``(B, 1)``, in score points.
        targets: Mean opinion scores y, of the same shape, in score points; a clip with NaN is left out.
        margin: m, in score points.
        tolerance: t: pairs at most this far apart, in score points, count as tied: neither summed nor counted.

    Returns:
        Scalar loss. Zero, with a graph, where no pair is left.

    Raises:
        ValueError: If the shapes differ or an option is negative.

    Example:
        >>> margin_ranking_loss(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]))
        tensor(1.1000)
    """
    check_at_least_zero(margin=margin, tolerance=tolerance)
    return pair_hinge(*as_columns(scores, targets), margin=margin, tolerance=tolerance)


class MarginRanking(ScaledObjective):
    """Rank the clips of a batch on each axis with ``margin_ranking_loss``.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        margin: By how much the better clip of a pair has to score higher, in the unit of ``space``.
        tolerance: Pairs at most this far apart, in the unit of ``space``, are ignored as rating noise.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` takes scores in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option is negative or unknown.
    """

    def __init__(
        self,
        weight: float = 1.0,
        margin: float = 0.1,
        tolerance: float = 0.0,
        axis_reduction: AxisReduction = "sum",
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        check_at_least_zero(margin=margin, tolerance=tolerance)
        check_axis_reduction(axis_reduction)
        self.margin, self.tolerance, self.axis_reduction = margin, tolerance, axis_reduction

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the axes, reduced over them."""
        scores_BA, targets_BA = self.in_space(output.scores, batch.scores)
        losses = [
            margin_ranking_loss(scores_B, targets_B, margin=self.margin, tolerance=self.tolerance)
            for scores_B, targets_B in zip(scores_BA.unbind(1), targets_BA.unbind(1), strict=True)
        ]
        return reduce_axes(torch.stack(losses), batch.scores, self.axis_reduction)
