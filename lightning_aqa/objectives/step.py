"""The sum of the terms of a loss, their names in the log, and the values of a step for callbacks to read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor

from lightning_aqa.batch import Output
from lightning_aqa.objectives.base import Objective

DEFAULT_OBJECTIVE = (
    "No objective is among the callbacks, so the mean squared error is trained with; add another by "
    "L.Trainer(callbacks=[QAMRO()])."
)


class TrainingStep(NamedTuple):
    """Values of the last training step on the rows of all processes, without its graph, for callbacks to read.

    Args:
        total: Weighted sum of the terms, scalar.
        terms: The terms by the names of their objectives, scalars.
        output: What the terms were computed from.
        ids: The clips.
    """

    total: Tensor
    terms: dict[str, Tensor]
    output: Output
    ids: list[str]

    @classmethod
    def of(cls, total: Tensor, terms: Mapping[str, Tensor], output: Output, ids: list[str]) -> TrainingStep:
        """Return the values without their graph."""
        return cls(total.detach(), {name: term.detach() for name, term in terms.items()}, output.detach(), ids)


def weighted_sum(terms: Mapping[str, Tensor], objectives: Sequence[Objective]) -> Tensor:
    """Add up terms by the weights of their objectives."""
    weights = {objective.name: objective.weight for objective in objectives}
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def share_of_step(trainer: L.Trainer, batch_idx: int) -> float:
    """Return what makes the last step of an epoch a mean too, where it accumulates fewer batches than the others.

    Lightning divides the loss of every batch by the number of batches of a full step.
    """
    wanted, num_batches = trainer.accumulate_grad_batches, trainer.num_training_batches
    rest = 0 if math.isinf(num_batches) else int(num_batches) % wanted  # of an unknown number none is the last
    return wanted / rest if batch_idx >= num_batches - rest else 1.0


def named_losses(stage: str, terms: Mapping[str, Tensor], total: Tensor) -> dict[str, Tensor]:
    """Name terms and total as they are logged, without their graph."""
    return {f"{stage}/{name}": term.detach() for name, term in {**terms, "loss": total}.items()}


def compared_axes(objectives: Sequence[Objective], of_pairs: Iterable[str]) -> set[str]:
    """Return the names of the axes of whose pairs one of the objectives learns.

    Args:
        objectives: What is trained on.
        of_pairs: Name of the axis of each pair of training clips.
    """
    return set(of_pairs) if any(objective.reads_pairs for objective in objectives) else set()


def check_objectives(objectives: Sequence[Objective], *, has_ratings: bool = True) -> None:
    """Refuse two objectives of one name, and objectives of which none learns from data that has pairs alone.

    Args:
        objectives: The objectives.
        has_ratings: Whether a training clip is rated, or that is not known.

    Raises:
        ValueError: If there are.
    """
    if not has_ratings and not any(objective.reads_pairs for objective in objectives):
        named = ", ".join(type(objective).__name__ for objective in objectives)
        raise ValueError(
            f"The training data has pairs alone, of which {named} learns nothing: add --objectives.pairs=BradleyTerry."
        )
    names = [objective.name for objective in objectives]
    if len(set(names)) < len(names):
        raise ValueError(f"Objectives need names of their own, got {', '.join(names)}; set .name on each.")
