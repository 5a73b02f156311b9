"""One minus the concordance correlation coefficient."""

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
from lightning_aqa.objectives.base import Objective


def ccc_loss(scores: Tensor, targets: Tensor, *, axis_reduction: AxisReduction = "mean") -> Tensor:
    r"""Return one minus the concordance correlation coefficient, which is the squared error over its expectation.

    .. math:: 1 - \frac{2 s_{py}}{s_p^2 + s_y^2 + (\bar p - \bar y)^2}
        = \frac{\frac{1}{B} \sum_i (p_i - y_i)^2}{s_p^2 + s_y^2 + (\bar p - \bar y)^2}

    with variances and covariance divided by B. The right side is what is computed: it is exactly 0 for p = y, and 1
    with a gradient where all scores are equal.

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss, for an axis between 0 and 2; zero with a graph where the coefficient says nothing: for one clip,
        for targets that all tie and where nothing is rated.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> ccc_loss(torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [3.0]]))
        tensor(0.3333)

    Reference:
        Lin, "A Concordance Correlation Coefficient to Evaluate Reproducibility", Biometrics 45, 1989.
    """
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    (mean_A, spread_A), (wanted_A, wanted_spread_A) = (_moments(x, rated_BA) for x in (scores_BA, targets_BA))
    expected_A = spread_A + wanted_spread_A + (mean_A - wanted_A).square()
    error_A = mean_over_rated((scores_BA - targets_BA).square(), rated_BA)
    high_A = torch.where(rated_BA, targets_BA, -math.inf).amax(0)
    varies_A = high_A > torch.where(rated_BA, targets_BA, math.inf).amin(0)
    losses_A = torch.where(varies_A, error_A / torch.where(varies_A, expected_A, 1.0), 0.0 * error_A)
    return reduce_axes(losses_A, targets, axis_reduction)


def _moments(values_BA: Tensor, rated_BA: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and population variance over the rated clips of each axis."""
    mean_A = mean_over_rated(values_BA, rated_BA)
    centred_BA = torch.where(rated_BA, values_BA - mean_A, 0.0)
    return mean_A, mean_over_rated(centred_BA.square(), rated_BA)


class CCC(Objective):
    """Raise the agreement of scores and targets in a batch, in order, shift and scale, with ``ccc_loss``.

    It needs no regression loss beside it. Batches of one clip say nothing.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Raises:
        ValueError: If an option is negative or unknown.
    """

    def __init__(self, weight: float = 1.0, axis_reduction: AxisReduction = "mean") -> None:
        super().__init__(weight)
        check_axis_reduction(axis_reduction)
        self.axis_reduction = axis_reduction

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return one minus the coefficient of the axes, reduced over them."""
        return ccc_loss(output.scores, batch.scores, axis_reduction=self.axis_reduction)
