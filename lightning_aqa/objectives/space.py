"""The common part of the objectives that read scores in score points: the unit in which they compare them."""

from __future__ import annotations

from abc import ABC
from typing import Literal, get_args

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_aqa.objectives.base import Objective

Space = Literal["points", "standardised"]


class ScaledObjective(Objective, ABC):
    """Compare scores in score points, or in standard deviations of the training scores of each axis.

    In standard deviations neither the loss nor its balance with other terms depends on the scale that clips were rated
    on, and axes of different scales count the same; margins, tolerances and temperatures are in that unit too.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        space: ``points`` leaves scores in score points; ``standardised`` divides them by the head's ``scale_A``.
    """

    def __init__(self, weight: float = 1.0, space: Space = "points") -> None:
        super().__init__(weight)
        if space not in get_args(Space):
            raise ValueError(f"space must be 'points' or 'standardised', got {space!r}.")
        self.space = space
        self.scale_A: Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the scale of the training scores from the head."""
        if self.space == "standardised":
            self.scale_A = pl_module.get_submodule("head").get_buffer("scale_A")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the same where a split is validated without a fit."""
        self.on_fit_start(trainer, pl_module)

    def scale(self) -> Tensor | float:
        """Return what is divided by: one, or the standard deviation of each axis, shape ``(A,)``, in score points."""
        if self.space == "points":
            return 1.0
        if self.scale_A is None:
            raise ValueError(
                f"{type(self).__name__} with space='standardised' needs the head's scale, which it takes when a fit "
                "or a validation starts; use space='points' outside of a Trainer."
            )
        return self.scale_A

    def in_space(self, *tables: Tensor) -> tuple[Tensor, ...]:
        """Return scores in the unit of ``space``.

        Args:
            tables: Each of shape ``(B, A)``, in score points.
        """
        return tables if self.space == "points" else tuple(table / self.scale() for table in tables)
