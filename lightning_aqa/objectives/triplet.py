"""Triplet loss: clips of similar score lie closer in the embedding than clips of different score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from lightning_aqa.batch import Axis, Batch, Output
from lightning_aqa.objectives.embedding_memory import EmbeddingMemory
from lightning_aqa.objectives.pairwise import check_at_least_zero, closest_gap
from lightning_aqa.objectives.space import ScaledObjective, Space


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    r"""Ask that an anchor lies closer to its positive than to its negative by a margin.

    .. math:: \frac{1}{B} \sum_b \max(0,\; \|a_b - p_b\|^2 - \|a_b - n_b\|^2 + m)

    Args:
        anchor: a, shape ``(B, E)``.
        positive: p, shape ``(B, E)``.
        negative: n, shape ``(B, E)``.
        margin: m, in squared units of the embedding.

    Returns:
        Scalar loss; zero with a graph for no anchors.

    Example:
        >>> triplet_loss(torch.zeros(1, 2), torch.ones(1, 2), 2 * torch.ones(1, 2), margin=7.0)
        tensor(1.)

    Reference:
        AESA-Net, https://arxiv.org/abs/2509.03292, equation of its triplet term: squared Euclidean distances.
    """
    near_B = (anchor - positive).square().sum(1)
    far_B = (anchor - negative).square().sum(1)
    return (near_B - far_B + margin).relu().sum() / max(len(anchor), 1)


def score_distance(scores: Tensor, others: Tensor) -> Tensor:
    """Average the distance of two sets of clips over the axes that both clips of a pair are rated on.

    Args:
        scores: Mean opinion scores, shape ``(B, A)``, in score points; NaN where not rated.
        others: The same of other clips, shape ``(N, A)``.

    Returns:
        Distances in score points, shape ``(B, N)``; NaN where no axis is rated on both sides.

    Example:
        >>> score_distance(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, torch.nan], [2.0, 2.0]]))
        tensor([[3.0000, 0.5000]])
    """
    return (scores[:, None, :] - others[None, :, :]).abs().nanmean(-1)


def draw_one(allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one allowed column of each row, all with the same chance; rows without any get an arbitrary one.

    Args:
        allowed: True where a column may be drawn, shape ``(B, N)``, bool, N at least 1.
        generator: Source of randomness, on the CPU, so that it does not depend on the device of ``allowed``.

    Returns:
        Column indices, shape ``(B,)``, int64.
    """
    device = "cpu" if allowed.device.type == "mps" else allowed.device  # which has no float64
    keys = torch.rand(allowed.shape, generator=generator, dtype=torch.float64).to(device)
    return keys.masked_fill_(~allowed.to(device), -1.0).argmax(1).to(allowed.device)


class Triplet(ScaledObjective):
    """Draw a positive and a negative for every clip of the batch from a memory of earlier clips.

    Positive is a clip whose score lies at most ``epsilon`` away, negative one further away, both in score points. The
    loss is the mean over the clips that have both. A batch enters the memory, without its graph, once its training
    step is over: in ``on_train_batch_end``, so exactly once per training batch, under gradient accumulation as well,
    and never from validation. Under several processes all of them see the same gathered rows, so their memories and
    draws are the same. Outside of a Trainer, call ``memory.commit()`` after each step.

    The paper publishes neither ``epsilon``, ``margin`` and ``memory_size`` nor which embedding it compares; those
    defaults, and the head's clip embedding, are guesses.

    Args:
        weight: Factor of this term in the sum (dimensionless); the paper's alpha.
        epsilon: How far apart two clips of similar score are at most, in the unit of ``space`` (a guess).
        margin: Margin in squared units of the embedding (a guess).
        memory_size: How many clips the memory keeps (a guess).
        axis: Name of the axis whose score decides; None averages the distance over the axes that both clips are
            rated on.
        seed: Seed of the draws; their state is saved with the memory, so a resumed run draws the same.
        space: ``points`` takes epsilon in score points, ``standardised`` in deviations of the training scores.

    Raises:
        ValueError: If an option is negative; when a fit starts, if there is no such axis.
    """

    reads_scores_alone = False

    def __init__(
        self,
        weight: float = 0.2,
        epsilon: float = 0.5,
        margin: float = 1.0,
        memory_size: int = 256,
        axis: str | None = None,
        seed: int = 0,
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        check_at_least_zero(epsilon=epsilon, margin=margin)
        self.epsilon, self.margin, self.axis = epsilon, margin, axis
        self.memory = EmbeddingMemory(memory_size)
        self.generator = torch.Generator().manual_seed(seed)
        self.column: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the scale of the training scores, and find the column of the axis whose score decides."""
        super().on_fit_start(trainer, pl_module)
        if self.axis is not None:
            names = [axis.name for axis in cast(Sequence[Axis], pl_module.axes)]
            if self.axis not in names:
                raise ValueError(f"axis of Triplet must be one of {', '.join(names)}, got {self.axis!r}.")
            self.column = names.index(self.axis)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the clips that have a positive and a negative in the memory."""
        scores_BK = self._deciding(batch.scores)
        if torch.is_grad_enabled():
            self.memory.stage(output.embedding, batch.scores)
        if len(self.memory) == 0:
            return output.embedding[:0].sum()
        memory_NE, others_NK = (
            self.memory.embedding.to(output.embedding),
            self._deciding(self.memory.scores.to(batch.scores)),
        )
        distance_BN = score_distance(scores_BK, others_NK)
        # NaN compares false on both sides: a pair without a common axis is neither.
        near_BN, far_BN = distance_BN <= closest_gap(self.epsilon), distance_BN > closest_gap(self.epsilon)
        positive_B, negative_B = draw_one(near_BN, self.generator), draw_one(far_BN, self.generator)
        found_B = near_BN.any(1) & far_BN.any(1)
        anchor, positive, negative = output.embedding, memory_NE[positive_B], memory_NE[negative_B]
        return triplet_loss(anchor[found_B], positive[found_B], negative[found_B], self.margin)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        """Push the batch whose step is over."""
        self.memory.commit(self.column)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the memory and the state of the draws."""
        return {**self.memory.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take over a saved memory and the state of the draws."""
        self.memory.load_state_dict(state_dict)
        self.generator.set_state(state_dict["generator"].cpu())

    def _deciding(self, scores_BA: Tensor) -> Tensor:
        """Return the columns whose scores decide, in the unit of ``space``."""
        (scores_BA,) = self.in_space(scores_BA)
        if self.axis is None:
            return scores_BA
        if self.column is None:
            raise ValueError(f"Triplet with axis={self.axis!r} needs the axes, which it learns when a fit starts.")
        return scores_BA[:, self.column, None]
