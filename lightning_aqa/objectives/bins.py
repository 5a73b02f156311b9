"""The common part of the objectives on a distribution over bins: where the bins of each axis lie."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_aqa.batch import Axis, Batch, Output
from lightning_aqa.objectives.axis_reduction import AxisReduction, check_axis_reduction
from lightning_aqa.objectives.space import ScaledObjective, Space


def bin_centres(low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    r"""Lay bins evenly from one end of each axis's scale to the other.

    .. math:: c_k = \mathrm{low} + k\,(\mathrm{high} - \mathrm{low}) / (K - 1)

    Args:
        low: Lower ends, shape ``(A,)``, in score points.
        high: Upper ends, shape ``(A,)``, in score points.
        num_bins: K.

    Returns:
        c, shape ``(A, K)``, in score points.

    Example:
        >>> bin_centres(torch.tensor([1.0]), torch.tensor([5.0]), 3)
        tensor([[1., 3., 5.]])
    """
    unit_K = torch.linspace(0.0, 1.0, num_bins, dtype=low.dtype, device=low.device)
    return low[:, None] + (high - low)[:, None] * unit_K


class BinObjective(ScaledObjective, ABC):
    """Read the logits of a head over bins that lie as ``bin_centres`` has them.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` has bins and ratings in score points, ``standardised`` in deviations of the training scores.
    """

    reads_scores_alone = False

    def __init__(self, weight: float = 1.0, axis_reduction: AxisReduction = "mean", space: Space = "points") -> None:
        super().__init__(weight, space)
        check_axis_reduction(axis_reduction)
        self.axis_reduction = axis_reduction
        self.axes: Sequence[Axis] | None = None
        self.head_name = "The head"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn the ends and the unit of each axis, and the head's name for the error message."""
        super().on_fit_start(trainer, pl_module)
        self.axes = cast(Sequence[Axis], pl_module.axes)
        self.head_name = type(pl_module.get_submodule("head")).__name__

    def read(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits ``(B, A, K)``, the ratings ``(B, A)`` and where the bins lie, ``(A, K)``, in the unit."""
        name = type(self).__name__
        if output.logits is None:
            raise ValueError(
                f"{self.head_name} gives no logits, which {name} reads; take a head that does, such as "
                f"--model.head=Ordinal, or drop the objective with --objectives.{self.name}=null."
            )
        if self.axes is None:
            raise ValueError(f"{name} needs the scale of each axis, which it learns when a fit starts.")
        low_A, high_A = (batch.scores.new_tensor([getattr(axis, end) for axis in self.axes]) for end in ("low", "high"))
        low_A, high_A, targets_BA = self.in_space(low_A, high_A, batch.scores)
        return output.logits, targets_BA, bin_centres(low_A, high_A, output.logits.shape[-1])
