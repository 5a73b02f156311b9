"""A hinge over every pair of clips in a batch: the machinery of the ranking objectives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

# Means of ratings such as 3.2 and 3.0 do not lie exactly 0.2 apart in binary, least of all in float32.
ROUNDING_SLACK = 1e-5
# Pairs compared at a time: 64 MiB of float32, so a batch up to 4096 clips is one block.
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

    A pair counts once, with i its better clip. A pair with a NaN target is in no P. Value and gradient are formed
    together, in two ``(B, B)`` buffers and a mask (in blocks of rows where B is in the thousands), and only the
    ``(B,)`` gradient is kept for the backward pass.

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
    apply: Callable[..., Tensor] = _PairHinge.apply
    num_new = len(scores) if num_new is None else num_new
    return apply(scores, targets, weights, join, margin_scale, margin, closest_gap(tolerance), num_new)


class _PairHinge(torch.autograd.Function):
    """``pair_hinge``, with its gradient computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        scores_B: Tensor,
        targets_B: Tensor,
        weights_B: Tensor | None,
        join: Join | None,
        margin_scale: float,
        margin: float,
        smallest_gap: float,
        num_new: int,
    ) -> Tensor:
        # With s = a y - p the hinge is s_i - s_j + m: one difference instead of two.
        shifted_B = torch.add(scores_B.neg(), targets_B, alpha=margin_scale)
        raised_B = shifted_B + margin if margin else shifted_B
        lowered_B = targets_B - smallest_gap if smallest_gap else targets_B
        size = len(scores_B)
        step = max(BLOCK_PAIRS // max(size, 1), 1)
        totals, counts, better, other_B = [], [], [], None
        for rows in (slice(start, start + step) for start in range(0, max(size, 1), step)):
            hinge_RB = raised_B[rows].unsqueeze(1) - shifted_B
            # NaN compares false, so a clip without a target is masked whatever its score is.
            mask_RB = lowered_B[rows].unsqueeze(1) > targets_B
            if num_new < size:
                mask_RB[max(num_new - rows.start, 0) :, num_new:] = False
            counts.append(torch.count_nonzero(mask_RB))
            hinge_RB.masked_fill_(mask_RB.logical_not_(), 0.0).relu_()
            slope_RB = hinge_RB.sign()
            if weights_B is not None:
                weights_R1 = weights_B[rows].unsqueeze(1)
                slope_RB.mul_(join(weights_R1, weights_B) if join else weights_R1)
            better.append(slope_RB.sum(1))
            other_B = slope_RB.sum(0) if other_B is None else other_B.add_(slope_RB.sum(0))
            totals.append(hinge_RB.mul_(slope_RB).sum())
        count = _sum(counts).clamp_(min=1)
        better_B = better[0] if len(better) == 1 else torch.cat(better)
        assert other_B is not None
        ctx.save_for_backward(other_B.sub_(better_B).div_(count))
        return _sum(totals).div_(count)

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_B,) = ctx.saved_tensors
        return grad_output * gradient_B, None, None, None, None, None, None, None


def _sum(numbers: list[Tensor]) -> Tensor:
    return numbers[0] if len(numbers) == 1 else torch.stack(numbers).sum()
