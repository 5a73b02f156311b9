"""QAMRO: rank pairs of clips by a margin that grows with their gap and a weight that grows with their quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from lightning_aqa.batch import Axis, Batch, Output
from lightning_aqa.objectives.axis_reduction import AxisReduction, check_axis_reduction, reduce_axes
from lightning_aqa.objectives.embedding_memory import EmbeddingMemory
from lightning_aqa.objectives.pairwise import Join, as_columns, check_at_least_zero, pair_hinge
from lightning_aqa.objectives.space import ScaledObjective, Space
from lightning_aqa.utils.renamed import renamed_argument

Quality = Literal["minmax", "interval", "none"]

# Quality of the interval [k, k + 1) of score points, the last one being [9, 10], in units of 9.5: the released
# Track 2 weighting. It ranks intervals by how many clips fall into them. Index 0 is the interval [1, 2).
INTERVAL_QUALITY = {
    "PQ": (0.0, 0.0, 4.5, 6.5, 7.5, 9.5, 8.5, 5.5, 0.0),
    "PC": (8.5, 6.5, 9.5, 7.5, 4.5, 5.5, 3.5, 0.0, 0.0),
    "CE": (0.0, 4.5, 7.5, 6.5, 8.5, 9.5, 5.5, 0.0, 0.0),
    "CU": (0.0, 0.0, 5.5, 6.5, 7.5, 9.5, 8.5, 4.5, 0.0),
}


def qamro_loss(
    scores: Tensor,
    targets: Tensor,
    *,
    margin_scale: float = 0.2,
    preference_factor: float = 7.0,
    quality: Quality = "minmax",
    axis: str | None = None,
    margin: float | None = None,
    tolerance: float = 0.0,
    num_new: int | None = None,
    scale: Tensor | float = 1.0,
) -> Tensor:
    r"""Rank every pair of clips in a batch by a margin that grows with the gap of their scores.

    .. math:: \frac{1}{|P|} \sum_{(i, j) \in P} \bigl(1 + (\beta - 1) \max(q_i, q_j)\bigr)
        \max\bigl(0,\; \alpha\,(y_i - y_j) - (p_i - p_j)\bigr), \quad P = \{(i, j) : y_i > y_j\}

    The quality q of a clip lies between 0 and 1. ``minmax``: its position between the lowest and the highest target of
    the batch. ``interval``: looked up by its axis and the one-point interval of its target; pairs with a target
    outside [1, 10] are left out. ``none``: 0, so that all pairs weigh the same.

    Args:
        scores: Predictions p, shape ``(B,)`` or ``(B, 1)``, in score points.
        targets: Mean opinion scores y, of the same shape, in score points; a clip with NaN is left out.
        margin_scale: Margin per score point of gap, alpha (dimensionless).
        preference_factor: Weight of a pair whose better clip has quality 1, beta (dimensionless).
        quality: How the quality of a clip is found.
        axis: PQ, PC, CE or CU in any case, for ``interval``.
        margin: One margin for all pairs, in the unit of ``scale``, in place of the one that grows; None keeps that.
        tolerance: Pairs at most this far apart, in the unit of ``scale``, count as tied: neither summed nor counted.
        num_new: Only pairs that hold one of the first so many clips; None takes all pairs.
        scale: Unit in which scores and targets are compared, in score points; the quality is found in score points.

    Returns:
        Scalar loss. Zero, with a graph, where no pair is left.

    Raises:
        ValueError: If the shapes differ, an option is negative, or ``interval`` has no table for the axis.

    Example:
        >>> qamro_loss(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]))
        tensor(9.8000)

    Reference:
        "QAMRO: Quality-aware Adaptive Margin Ranking Optimization for Human-aligned Assessment of Audio Generation
        Systems", ASRU 2025, https://arxiv.org/abs/2508.08957, and the released losses of both tracks. Differs:
        vectorised; one clip, NaN and all ties are defined and keep a graph; the margin can be fixed and near ties
        ignored.
    """
    _check_options(margin_scale, preference_factor, tolerance, margin, quality)
    scores_B, targets_B = as_columns(scores, targets)
    weights_B: Tensor | None = None
    join: Join | None = None
    if quality == "interval":
        table = interval_table(axis)
        targets_B = torch.where((targets_B >= 1) & (targets_B <= 10), targets_B, math.nan)
        weights_B = _interval_weights(targets_B, table, preference_factor)
        join = torch.maximum if preference_factor >= 1 else torch.minimum
    elif quality == "minmax":
        weights_B = _minmax_weights(targets_B, preference_factor)
    margins = {"margin_scale": margin_scale} if margin is None else {"margin": margin}
    return pair_hinge(
        scores_B / scale, targets_B / scale, weights_B, join, **margins, tolerance=tolerance, num_new=num_new
    )


def _check_options(
    margin_scale: float, preference_factor: float, tolerance: float, margin: float | None, quality: str
) -> None:
    check_at_least_zero(margin_scale=margin_scale, preference_factor=preference_factor, tolerance=tolerance)
    check_at_least_zero(margin=0.0 if margin is None else margin)
    if quality not in get_args(Quality):
        raise ValueError(f"quality must be 'minmax', 'interval' or 'none', got {quality!r}.")


def interval_table(axis: str | None) -> tuple[float, ...]:
    """Return the quality of the intervals of an axis, or raise a ValueError saying which axes have one."""
    table = INTERVAL_QUALITY.get((axis or "").upper())
    if table is None:
        raise ValueError(
            f"quality='interval' has tables for the axes {', '.join(INTERVAL_QUALITY)}, got {axis!r}; "
            "use quality='minmax' for other axes."
        )
    return table


def _minmax_weights(targets_B: Tensor, preference_factor: float) -> Tensor:
    """Weigh clips by their position in the batch; the better clip of a pair has the higher quality of the two."""
    low = targets_B.nan_to_num(nan=math.inf).amin()
    high = targets_B.nan_to_num(nan=-math.inf).amax()
    weights_B = torch.addcdiv(torch.ones_like(low), targets_B - low, high - low, value=preference_factor - 1)
    return weights_B.nan_to_num_(nan=1.0)


def _interval_weights(targets_B: Tensor, table: Sequence[float], preference_factor: float) -> Tensor:
    """Weigh clips by the table of their axis."""
    index_B = targets_B.nan_to_num(nan=1.0).floor_().clamp_(1, 9).long() - 1
    weights = [1 + (preference_factor - 1) * value / 9.5 for value in table]
    return targets_B.new_tensor(weights)[index_B]


class QAMRO(ScaledObjective):
    """Rank the clips of a batch on each axis with ``qamro_loss``.

    It ignores a common shift of the scores, so it stands beside a regression loss.

    With a memory a small batch has more pairs: each of its clips is also compared with the newest clips of earlier
    batches, by the scores that these were given then, without a graph. The loss is the mean over all pairs that hold a
    clip of the batch, and ``minmax`` ranks clips among both. A batch enters the memory once its training step is over,
    and validation neither reads nor fills it. Outside of a Trainer, call ``past.commit()`` after each step.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        margin_scale: Margin per unit of gap (dimensionless).
        preference_factor: Weight of a pair whose better clip has quality 1 (dimensionless).
        quality: ``minmax`` weighs a pair by its better clip's position in the batch, ``interval`` by the released
            tables of AES-Natural, ``none`` weighs all pairs the same.
        margin: One margin for all pairs, in the unit of ``space``; None lets it grow with the gap.
        tolerance: Pairs at most this far apart, in the unit of ``space``, are ignored as rating noise.
        axis_reduction: ``sum`` over the axes, as released, or ``mean`` over those that are rated.
        memory_size: How many clips of earlier batches to compare with; 0 compares within the batch alone, as published.
        memory: Old name of ``memory_size``.
        space: ``points`` takes gaps in score points, ``standardised`` in standard deviations of the training scores;
            ``interval`` looks its tables up in score points in both.

    Raises:
        ValueError: If an option is negative or unknown; when a fit starts, if ``interval`` has no table for an axis.

    Example:
        >>> QAMRO(weight=0.5, quality="none").weight
        0.5
    """

    def __init__(
        self,
        weight: float = 1.0,
        margin_scale: float = 0.2,
        preference_factor: float = 7.0,
        quality: Quality = "minmax",
        margin: float | None = None,
        tolerance: float = 0.0,
        axis_reduction: AxisReduction = "sum",
        memory_size: int = 0,
        memory: int | None = None,
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        memory_size = renamed_argument(self, "memory", memory, memory_size)
        _check_options(margin_scale, preference_factor, tolerance, margin, quality)
        check_axis_reduction(axis_reduction)
        self.margin_scale, self.preference_factor, self.quality = margin_scale, preference_factor, quality
        self.margin, self.tolerance, self.axis_reduction = margin, tolerance, axis_reduction
        check_at_least_zero(memory_size=memory_size)
        self.memory_size = memory_size
        self.past = EmbeddingMemory(memory_size) if memory_size else None
        self.axis_names: list[str] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the scale of the training scores; learn the names of the axes, which ``interval`` has its tables by."""
        super().on_fit_start(trainer, pl_module)
        if self.quality == "interval":
            self.axis_names = [axis.name for axis in cast(Sequence[Axis], pl_module.axes)]
            for name in self.axis_names:
                interval_table(name)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the axes, reduced over them."""
        if self.quality == "interval" and self.axis_names is None:
            raise ValueError(
                "quality='interval' needs the names of the axes, which it learns when a fit or a validation starts."
            )
        scores_NA, targets_NA = self._with_past(output.scores, batch.scores)
        scale_A = torch.as_tensor(self.scale()).expand(batch.scores.shape[1])
        losses = [
            qamro_loss(
                scores_NA[:, a],
                targets_NA[:, a],
                margin_scale=self.margin_scale,
                preference_factor=self.preference_factor,
                quality=self.quality,
                axis=self.axis_names[a] if self.axis_names else None,
                margin=self.margin,
                tolerance=self.tolerance,
                num_new=len(batch.scores),
                scale=scale_A[a],
            )
            for a in range(batch.scores.shape[1])
        ]
        return reduce_axes(torch.stack(losses), batch.scores, self.axis_reduction)

    def _with_past(self, scores_BA: Tensor, targets_BA: Tensor) -> tuple[Tensor, Tensor]:
        """Put the memory behind the batch, in training."""
        if self.past is None or not torch.is_grad_enabled():
            return scores_BA, targets_BA
        self.past.stage(scores_BA, targets_BA)
        if len(self.past) == 0:
            return scores_BA, targets_BA
        past_scores_NA, past_targets_NA = self.past.embedding.to(scores_BA), self.past.scores.to(targets_BA)
        return torch.cat([scores_BA, past_scores_NA]), torch.cat([targets_BA, past_targets_NA])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        """Push the batch whose step is over."""
        if self.past is not None:
            self.past.commit()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the memory."""
        return self.past.state_dict() if self.past is not None else {}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take over a saved memory."""
        if self.past is not None:
            self.past.load_state_dict(state_dict)
