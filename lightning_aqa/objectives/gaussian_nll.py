"""Fit score and predicted deviation together: the likelihood of the rating under a normal distribution."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import (
    AxisReduction,
    as_table,
    check_axis_reduction,
    mean_over_rated,
    reduce_axes,
)
from lightning_aqa.objectives.space import ScaledObjective, Space


def gaussian_nll_loss(
    scores: Tensor,
    deviation: Tensor,
    targets: Tensor,
    *,
    beta: float = 0.0,
    axis_reduction: AxisReduction = "mean",
) -> Tensor:
    r"""Average the negative log-likelihood of the targets, but for a constant, over the rated clips of each axis.

    .. math:: \lfloor\sigma^{2 \beta}\rfloor
        \left(\log \sigma + \frac{(y - p)^2}{2 \sigma^2}\right)

    The factor is a constant for the gradient. With beta 0 a clip whose deviation is large hardly moves its score; with
    beta 1 all scores are moved as by the squared error.

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        deviation: Predicted standard deviations sigma, above 0, shape ``(B, A)``, in score points.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        beta: From 0, the likelihood, to 1 (dimensionless).
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss, which can be below 0; zero with a graph where nothing is rated.

    Raises:
        ValueError: If the shapes differ or beta is not between 0 and 1.

    Example:
        >>> gaussian_nll_loss(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([[4.0]]))
        tensor(2.)

    Reference:
        Nix, Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994. beta:
        Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural Networks",
        ICLR 2022, https://arxiv.org/abs/2203.09168, which recommends 0.5.
    """
    check_beta(beta)
    if deviation.shape != scores.shape:
        raise ValueError(
            f"scores and deviation must have one shape (B, A), got {tuple(scores.shape)} and {tuple(deviation.shape)}."
        )
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    deviation_BA = torch.where(rated_BA, deviation.to(scores_BA.dtype), 1.0)
    # Where a clip is not rated, error and logarithm are 0.
    terms_BA = deviation_BA.log() + ((scores_BA - targets_BA) / deviation_BA).square() / 2
    if beta > 0:
        terms_BA = deviation_BA.detach() ** (2 * beta) * terms_BA
    return reduce_axes(mean_over_rated(terms_BA, rated_BA), targets, axis_reduction)


def check_beta(beta: float) -> None:
    """Raise a ValueError unless beta is between 0 and 1."""
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be between 0 and 1, got {beta}.")


class GaussianNLL(ScaledObjective):
    """Fit score and deviation to the rating with ``gaussian_nll_loss``, for heads that give a deviation.

    It needs no regression loss beside it.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        beta: How much the deviation is kept from slowing the scores: 0 is the likelihood, 0.5 a usual value, with 1 the
            scores move as by the squared error (dimensionless).
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` takes scores in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option is negative or unknown; in ``loss``, if the head gives no deviation.
    """

    reads_scores_alone = False

    def __init__(
        self,
        weight: float = 1.0,
        beta: float = 0.0,
        axis_reduction: AxisReduction = "mean",
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        check_beta(beta)
        check_axis_reduction(axis_reduction)
        self.beta, self.axis_reduction = beta, axis_reduction
        self.head_name = "The head"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn the scale of the training scores, and the head's name for the error message."""
        super().on_fit_start(trainer, pl_module)
        self.head_name = type(pl_module.get_submodule("head")).__name__

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of the axes, reduced over them."""
        if output.deviation is None:
            raise ValueError(
                f"{self.head_name} gives no deviation, which GaussianNLL reads; take a head that does, such as MLP "
                f"with --model.head.deviation=true, or drop the objective with --objectives.{self.name}=null."
            )
        scores_BA, deviation_BA, targets_BA = self.in_space(output.scores, output.deviation, batch.scores)
        return gaussian_nll_loss(
            scores_BA, deviation_BA, targets_BA, beta=self.beta, axis_reduction=self.axis_reduction
        )
