"""A hinge over every pair of clips in a batch: the machinery of the ranking objectives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Means of ratings such as 3.2 and 3.0 do not lie exactly 0.2 apart in binary, least of all in float32.
ROUNDING_SLACK = 1e-5
# Pairs compared at a time where these are taken in blocks: 64 MiB of float32.
BLOCK_PAIRS = 2**24

Join = Callable[[Tensor, Tensor], Tensor]


def closest_gap(tolerance: float) -> float:
    """Return the largest gap that still counts as at most ``tolerance``, both in score points."""
    return tolerance + ROUNDING_SLACK if tolerance > 0 else 0.0


def check_at_least_zero(**values: float) -> None:
    """Raise a ValueError naming the first of ``values`` that is negative or not a number."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be a number of at least 0, got {value}.")


def check_above_zero(**values: float) -> None:
    """Raise a ValueError naming the first of ``values`` that is zero, negative or not a number."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be a number above 0, got {value}.")


def as_columns(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores and targets as ``(B,)`` tensors of one dtype, that of the scores and at least float32.

    Raises:
        ValueError: If they are not both of shape ``(B,)`` or ``(B, 1)`` with the same B.
    """
    scores_B = scores.squeeze(1) if scores.ndim == 2 and scores.shape[1] == 1 else scores
    targets_B = targets.squeeze(1) if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if scores_B.ndim != 1 or scores_B.shape != targets_B.shape:
        raise ValueError(
            f"scores and targets must both be (B,) or (B, 1), got {tuple(scores.shape)} and {tuple(targets.shape)}; "
            "call once per axis."
        )
    dtype = torch.promote_types(scores.dtype, torch.float32)
    return scores_B.to(dtype), targets_B.detach().to(dtype)


def pair_hinge(
    scores: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    join: Join | None = None,
    *,
    margin_scale: float = 0.0,
    margin: float = 0.0,
    tolerance: float = 0.0,
    num_new: int | None = None,
) -> Tensor:
    r"""Average a weighted hinge over the pairs of a batch whose targets differ.

    .. math:: \frac{1}{|P|} \sum_{(i, j) \in P} w_{ij} \max(0,\; p_j - p_i + a\,(y_i - y_j) + m), \quad
        P = \{(i, j) : y_i - y_j > t\}

    A pair counts once, with i its better clip. A pair with a NaN target is in no P.

    Args:
        scores: Predictions p, shape ``(B,)``, in score points.
        targets: Mean opinion scores y, shape ``(B,)``, in score points, of the dtype of ``scores``.
        weights: Weight of each clip, shape ``(B,)``, dimensionless; None is all ones.
        join: Makes the weight w of a pair from those of its better and its other clip; None takes the better's.
        margin_scale: a, margin per score point of the pair's gap (dimensionless).
        margin: m, margin in score points.
        tolerance: t, the widest gap in score points at which a pair still counts as tied.
        num_new: P has only pairs that hold one of the first so many clips; None takes all.

    Returns:
        Scalar; zero with a graph where P is empty.

    Example:
        >>> pair_hinge(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 2.0]), margin=0.5)
        tensor(2.5000)
    """
    raised_B = margin_scale * targets - scores  # with s = a y - p the hinge is s_i - s_j + m
    hinge_BB = (raised_B[:, None] - raised_B + margin).relu()
    mask_BB = targets[:, None] - closest_gap(tolerance) > targets  # NaN compares false
    if num_new is not None:
        mask_BB[num_new:, num_new:] = False
    if weights is not None:
        hinge_BB = hinge_BB * (join(weights[:, None], weights) if join else weights[:, None])
    return torch.where(mask_BB, hinge_BB, 0.0).sum() / mask_BB.sum().clamp(min=1)
