"""Auxiliary supervision: every frame's score is regressed on the score of its clip."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import mean_over_rated, reduce_axes
from lightning_aqa.objectives.space import ScaledObjective, Space


def frame_score_loss(
    frame_scores: Tensor, frame_mask: Tensor, targets: Tensor, *, scale: Tensor | float = 1.0
) -> Tensor:
    r"""Average the squared error of frame scores over valid frames, then rated clips, then rated axes.

    .. math:: \frac{1}{A} \sum_a \frac{1}{B} \sum_b \frac{1}{F_b} \sum_f
        \left(\frac{s_{bfa} - y_{ba}}{\sigma_a}\right)^2

    Args:
        frame_scores: s, shape ``(B, F, A)``, in score points; anything where a frame is not valid.
        frame_mask: True where a frame is valid, shape ``(B, F)``, bool.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        scale: sigma, one number or shape ``(A,)``, in score points.

    Returns:
        Scalar loss; zero with a graph where nothing is rated.

    Example:
        >>> frames = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> frame_score_loss(frames, torch.tensor([[True, True, False]]), torch.tensor([[2.0]]))
        tensor(1.)

    Reference:
        "MOSNet: Deep Learning based Objective Assessment for Voice Conversion", Interspeech 2019,
        https://arxiv.org/abs/1904.08352. Differs: padded frames do not count.
    """
    rated_BA = ~targets.isnan()
    used_BFA = frame_mask[:, :, None] & rated_BA[:, None, :]
    errors_BFA = torch.where(used_BFA, frame_scores - targets[:, None, :], 0.0) / scale
    errors_BA = errors_BFA.square().sum(1) / frame_mask.sum(1).clamp(min=1)[:, None]
    return reduce_axes(mean_over_rated(errors_BA, rated_BA), targets, "mean")


class FrameScores(ScaledObjective):
    """Fit the score of every valid frame to the mean opinion score of its clip, for heads that score frames.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        space: ``points`` takes errors in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option is negative or unknown; in ``loss``, if the head gives no frame scores.
    """

    reads_scores_alone = False

    def __init__(self, weight: float = 1.0, space: Space = "points") -> None:
        super().__init__(weight, space)
        self.head_name = "The head"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn the scale of the training scores, and the head's name for the error message."""
        super().on_fit_start(trainer, pl_module)
        self.head_name = type(pl_module.get_submodule("head")).__name__

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the mean squared error of the frame scores."""
        if output.frame_scores is None or output.frame_mask is None:
            raise ValueError(
                f"{self.head_name} gives no frame scores, which FrameScores regresses; take a head that does, such as "
                f"AESANet, or drop the objective with --objectives.{self.name}=null."
            )
        return frame_score_loss(output.frame_scores, output.frame_mask, batch.scores, scale=self.scale())
