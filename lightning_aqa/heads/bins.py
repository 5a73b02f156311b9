"""Distributions over bins of a scale: their mean and deviation, and one that is shaped like a normal distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_aqa.batch import Axis

SMALLEST_DEVIATION = 1e-4
"""Least deviation, in score points; it keeps the gradient finite where one bin has all the mass."""


def bins_of(axes: Sequence[Axis], num_bins: int) -> Tensor:
    """Return the bins of each axis, from one end of its scale to the other, shape ``(A, K)``, in score points.

    Raises:
        ValueError: If there are fewer than two.

    Example:
        >>> bins_of([Axis("MI", "Musical impression", 1, 5)], 5)
        tensor([[1., 2., 3., 4., 5.]])
    """
    if num_bins < 2:
        raise ValueError(f"num_bins must be at least 2, got {num_bins}.")
    return torch.stack([torch.linspace(axis.low, axis.high, num_bins) for axis in axes])


def standard_bins(centres: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    """Return how many deviations each bin lies from a mean; a deviation counts as a step of the bins at least.

    Args:
        centres: Bins, shape ``(A, K)``, in score points.
        location: Mean of each axis, shape ``(A,)``, in score points.
        scale: Deviation of each axis, shape ``(A,)``, in score points.

    Returns:
        Distances, shape ``(A, K)``; with x of them, ``-x ** 2 / 2`` are the logits of a normal distribution.

    Example:
        >>> standard_bins(torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([3.0]), torch.tensor([0.1]))
        tensor([[-1.,  0.,  1.]])
    """
    step_A1 = centres.diff(dim=1)[:, :1]
    return (centres - location[:, None]) / scale[:, None].maximum(step_A1)


def expectation(logits: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return mean and standard deviation of the distribution over the bins.

    .. math:: p = \mathrm{softmax}(l) \quad \mu = \sum_k p_k c_k \quad
        \sigma = \sqrt{\sum_k p_k (c_k - \mu)^2}, \text{ at least } 10^{-4}

    Args:
        logits: l, shape ``(B, A, K)``.
        centres: c, shape ``(A, K)``, in score points.

    Returns:
        Means and deviations in score points, each of shape ``(B, A)``.

    Example:
        >>> expectation(torch.zeros(1, 1, 2), torch.tensor([[1.0, 5.0]]))
        (tensor([[3.]]), tensor([[2.]]))
    """
    share_BAK = logits.softmax(dim=-1)
    mean_BA = (share_BAK * centres).sum(dim=-1)
    variance_BA = (share_BAK * (centres - mean_BA[..., None]).square()).sum(dim=-1)
    return mean_BA, variance_BA.clamp(min=SMALLEST_DEVIATION**2).sqrt()
