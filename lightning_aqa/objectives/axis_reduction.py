"""From one value per clip and axis to one scalar, where some axes of some clips are not rated."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

AxisReduction = Literal["sum", "mean"]


def as_table(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores and targets in one dtype, zero where not rated, and where they are rated.

    Args:
        scores: Predictions, shape ``(B, A)``, in score points; what stands where not rated is never read.
        targets: Mean opinion scores, shape ``(B, A)``, in score points; NaN where not rated.

    Returns:
        Scores, targets without a graph, both in the dtype of the scores and at least float32, and True where rated,
        each of shape ``(B, A)``.

    Raises:
        ValueError: If the shapes differ or are not ``(B, A)``.

    Example:
        >>> as_table(torch.tensor([[2.0], [9.0]]), torch.tensor([[3.0], [torch.nan]]))[:2]
        (tensor([[2.],
                [0.]]), tensor([[3.],
                [0.]]))
    """
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            f"scores and targets must have one shape (B, A), got {tuple(scores.shape)} and {tuple(targets.shape)}."
        )
    dtype = torch.promote_types(scores.dtype, torch.float32)
    rated_BA = ~targets.isnan()
    scores_BA, targets_BA = (torch.where(rated_BA, table.to(dtype), 0.0) for table in (scores, targets.detach()))
    return scores_BA, targets_BA, rated_BA


def reduce_axes(losses_A: Tensor, targets_BA: Tensor, reduction: AxisReduction) -> Tensor:
    """Sum the losses of the axes, or average them over the axes that at least one clip is rated on.

    Args:
        losses_A: Loss of each axis, shape ``(A,)``; zero where nobody is rated.
        targets_BA: Mean opinion scores, shape ``(B, A)``, in score points; NaN where not rated.
        reduction: ``sum`` or ``mean``.

    Returns:
        Scalar; zero with a graph where nothing is rated.

    Example:
        >>> from torch import tensor
        >>> reduce_axes(tensor([2.0, 0.0]), tensor([[3.5, float("nan")]]), "mean")
        tensor(2.)
    """
    if reduction == "sum":
        return losses_A.sum()
    return losses_A.sum() / targets_BA.isnan().logical_not().any(0).sum().clamp(min=1)


def mean_over_rated(values_BA: Tensor, rated_BA: Tensor) -> Tensor:
    """Average over the rated clips of each axis, shape ``(A,)``; zero with a graph where there are none.

    Args:
        values_BA: Finite values, shape ``(B, A)``, zero where not rated.
        rated_BA: True where a clip is rated, shape ``(B, A)``, bool.
    """
    return values_BA.sum(0) / rated_BA.sum(0).clamp(min=1)


def check_axis_reduction(reduction: str) -> None:
    """Raise a ValueError unless ``reduction`` is one that ``reduce_axes`` knows."""
    if reduction not in ("sum", "mean"):
        raise ValueError(f"axis_reduction must be 'sum' or 'mean', got {reduction!r}.")
