"""Regression of the scores on the mean opinion scores."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import AxisReduction, check_axis_reduction, mean_over_rated, reduce_axes
from lightning_aqa.objectives.space import ScaledObjective, Space

Kind = Literal["mse", "mae", "huber", "mse+mae"]


def regression_loss(
    scores: Tensor,
    targets: Tensor,
    *,
    kind: Kind = "mse",
    delta: float = 1.0,
    scale: Tensor | float = 1.0,
    axis_reduction: AxisReduction = "mean",
) -> Tensor:
    r"""Penalise the errors :math:`e = (p - y) / \sigma`, averaged over the rated clips of each axis.

    .. math:: \mathrm{mse}: e^2 \quad \mathrm{mae}: |e| \quad
        \mathrm{huber}: e^2 / 2 \text{ where } |e| \le \delta, \text{ else } \delta (|e| - \delta / 2)

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        kind: The penalty; ``mse+mae`` is the sum of the two.
        delta: Where ``huber`` turns from square to straight, in the unit of e.
        scale: sigma, one number or shape ``(A,)``, in score points.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss; zero with a graph where nothing is rated.

    Raises:
        ValueError: If the shapes differ or the kind is unknown.

    Example:
        >>> regression_loss(torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [float("nan")]]), kind="mse+mae")
        tensor(6.)
    """
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            f"scores and targets must have one shape (B, A), got {tuple(scores.shape)} and {tuple(targets.shape)}."
        )
    rated_BA = ~targets.isnan()
    errors_BA = torch.where(rated_BA, scores - targets, 0.0) / scale
    losses_A = mean_over_rated(_penalty(errors_BA, kind, delta), rated_BA)
    return reduce_axes(losses_A, targets, axis_reduction)


def _penalty(errors: Tensor, kind: Kind, delta: float) -> Tensor:
    if kind == "mse":
        return errors.square()
    if kind == "mae":
        return errors.abs()
    if kind == "huber":
        return F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=delta)
    if kind == "mse+mae":
        return errors.square() + errors.abs()
    raise ValueError(f"kind must be 'mse', 'mae', 'huber' or 'mse+mae', got {kind!r}.")


class Regression(ScaledObjective):
    """Fit the scores to the mean opinion scores with ``regression_loss``.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        kind: ``mse``, ``mae``, ``huber``, or ``mse+mae``, the sum of the two.
        delta: Where ``huber`` turns from square to straight, in the unit of ``space``.
        space: ``points`` takes errors in score points, ``standardised`` in standard deviations of the training scores.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Raises:
        ValueError: If an option is negative or unknown; in ``loss``, if ``standardised`` is used before a fit starts.
    """

    def __init__(
        self,
        weight: float = 1.0,
        kind: Kind = "mse",
        delta: float = 1.0,
        space: Space = "points",
        axis_reduction: AxisReduction = "mean",
    ) -> None:
        super().__init__(weight, space)
        check_axis_reduction(axis_reduction)
        if kind not in ("mse", "mae", "huber", "mse+mae"):
            raise ValueError(f"kind must be 'mse', 'mae', 'huber' or 'mse+mae', got {kind!r}.")
        if not delta > 0:
            raise ValueError(f"delta must be above 0, got {delta}.")
        self.kind, self.delta, self.axis_reduction = kind, delta, axis_reduction

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the axes, reduced over them."""
        return regression_loss(
            output.scores,
            batch.scores,
            kind=self.kind,
            delta=self.delta,
            scale=self.scale(),
            axis_reduction=self.axis_reduction,
        )
