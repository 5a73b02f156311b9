"""Losses on a predicted distribution over the bins of a scale: softened targets, and one question per threshold."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import AxisReduction, mean_over_rated, reduce_axes
from lightning_aqa.objectives.bins import BinObjective
from lightning_aqa.objectives.space import Space


def soft_targets(targets: Tensor, centres: Tensor, sigma: float = 0.25) -> Tensor:
    r"""Spread ratings over the bins by a Gaussian kernel.

    .. math:: q_k = \frac{\exp(-(c_k - y)^2 / 2 \sigma^2)}{\sum_j \exp(-(c_j - y)^2 / 2 \sigma^2)}

    The sum runs over the bins of the scale, so what the kernel has beyond its ends is shared out among them.

    Args:
        targets: y, shape ``(B, A)``, in score points; beyond the scale too.
        centres: c, shape ``(A, K)``, in score points.
        sigma: Width of the kernel, in score points.

    Returns:
        q, shape ``(B, A, K)``.

    Example:
        >>> soft_targets(torch.tensor([[2.0]]), torch.tensor([[1.0, 2.0, 3.0]]), sigma=1.0)
        tensor([[[0.2741, 0.4519, 0.2741]]])

    Reference:
        Winner of track 1 of the AudioMOS 2025 challenge, https://arxiv.org/abs/2507.09904: 20 bins, sigma = 0.25 on a
        scale of 1 to 5. Differs: the kernel is centred on the rating, not on the bin it falls in.
    """
    return _kernel(targets, centres, sigma).softmax(dim=-1)


def _kernel(targets_BA: Tensor, centres_AK: Tensor, sigma: float) -> Tensor:
    """Return the logarithm of the kernel at each bin, up to a constant."""
    return -((centres_AK - targets_BA[..., None]) / sigma).square() / 2


def soft_ordinal_loss(
    logits: Tensor, targets: Tensor, centres: Tensor, *, sigma: float = 0.25, axis_reduction: AxisReduction = "mean"
) -> Tensor:
    r"""Average the divergence of the predicted distribution from the softened rating over the rated clips of an axis.

    .. math:: \mathrm{KL}(q \,\|\, p) = \sum_k q_k \log \frac{q_k}{p_k} \quad p = \mathrm{softmax}(l)

    Args:
        logits: l, shape ``(B, A, K)``.
        targets: Mean opinion scores, shape ``(B, A)``, in score points; NaN where not rated.
        centres: Where the bins lie, shape ``(A, K)``, in score points.
        sigma: Width of the kernel of ``soft_targets``, in score points.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss in nats; zero with a graph where nothing is rated.

    Example:
        >>> centres = torch.tensor([[1.0, 2.0, 3.0]])
        >>> soft_ordinal_loss(-(centres - 2).square()[None] / 2, torch.tensor([[2.0]]), centres, sigma=1.0)
        tensor(0.)
    """
    rated_BA = ~targets.isnan()
    wanted_BAK = _kernel(targets.nan_to_num(0.0), centres, sigma).log_softmax(dim=-1)
    terms_BAK = wanted_BAK.exp() * (wanted_BAK - logits.log_softmax(dim=-1))
    losses_BA = torch.where(rated_BA, terms_BAK.sum(dim=-1), 0.0)
    return reduce_axes(mean_over_rated(losses_BA, rated_BA), targets, axis_reduction)


def threshold_logits(logits: Tensor) -> Tensor:
    r"""Return the logit of lying above each threshold between two bins.

    .. math:: z_k = \log \frac{P(y > k)}{P(y \le k)} = \log \sum_{j > k} e^{l_j} - \log \sum_{j \le k} e^{l_j}

    Args:
        logits: l, logits of the bins, shape ``(B, A, K)``.

    Returns:
        z, falling along the last dimension, shape ``(B, A, K - 1)``.

    Example:
        >>> threshold_logits(torch.tensor([[[0.5, 0.25, 0.25]]]).log()).sigmoid()
        tensor([[[0.5000, 0.2500]]])
    """
    at_most_BAJ = logits.logcumsumexp(dim=-1)[..., :-1]
    return logits.flip(-1).logcumsumexp(dim=-1).flip(-1)[..., 1:] - at_most_BAJ


def coral_loss(logits: Tensor, targets: Tensor, centres: Tensor, *, axis_reduction: AxisReduction = "mean") -> Tensor:
    r"""Ask at each threshold whether the rating lies above it; sum the cross-entropies of the answers.

    .. math:: -\sum_{k=0}^{K-2} t_k \log P(y > k) + (1 - t_k) \log P(y \le k) \quad
        t_k = \min\left(1, \max\left(0, \frac{y - c_k}{c_{k+1} - c_k}\right)\right)

    and averaged over the rated clips of an axis. For a rating that is a bin, t is a row of ones, then zeros. One
    between two bins puts its position between them on the threshold between them, so that the score of a perfect answer
    is the rating itself.

    Args:
        logits: Logits of the bins, shape ``(B, A, K)``; see ``threshold_logits``.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        centres: c, where the bins lie, rising, shape ``(A, K)``, in score points.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss in nats; zero with a graph where nothing is rated.

    Example:
        >>> coral_loss(torch.zeros(1, 1, 2), torch.tensor([[5.0]]), torch.tensor([[1.0, 5.0]]))
        tensor(0.6931)

    Reference:
        Cao, Mirjalili, Raschka, "Rank consistent ordinal regression for neural networks with application to age
        estimation", 2020, https://arxiv.org/abs/1901.07884, with all thresholds weighing 1. Differs: ratings between
        two ranks, and any distribution over the bins, not only one of ordered biases.
    """
    rated_BA = ~targets.isnan()
    place_BAJ = (targets.nan_to_num(0.0)[..., None] - centres[:, :-1]) / centres.diff(dim=1)
    above_BAJ = threshold_logits(logits)
    answers_BAJ = place_BAJ.clamp(0.0, 1.0).to(above_BAJ.dtype)
    terms_BAJ = F.binary_cross_entropy_with_logits(above_BAJ, answers_BAJ, reduction="none")
    losses_BA = torch.where(rated_BA, terms_BAJ.sum(dim=-1), 0.0)
    return reduce_axes(mean_over_rated(losses_BA, rated_BA), targets, axis_reduction)


class SoftOrdinal(BinObjective):
    """Fit the distribution over the bins to the rating softened by a Gaussian kernel, with ``soft_ordinal_loss``.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        sigma: Width of the kernel, in the unit of ``space``.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` takes sigma in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option cannot be; in ``loss``, if the head gives no logits or no fit has started.
    """

    def __init__(
        self,
        weight: float = 1.0,
        sigma: float = 0.25,
        axis_reduction: AxisReduction = "mean",
        space: Space = "points",
    ) -> None:
        super().__init__(weight, axis_reduction, space)
        if not sigma > 0:
            raise ValueError(f"sigma must be above 0, got {sigma}.")
        self.sigma = sigma

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the divergence from the softened ratings."""
        logits_BAK, targets_BA, centres_AK = self.read(output, batch)
        return soft_ordinal_loss(
            logits_BAK, targets_BA, centres_AK, sigma=self.sigma, axis_reduction=self.axis_reduction
        )


class Coral(BinObjective):
    """Fit the answers at all thresholds between bins to the rating, with ``coral_loss``.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Raises:
        ValueError: If an option cannot be; in ``loss``, if the head gives no logits or no fit has started.
    """

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the sum of the cross-entropies over the thresholds."""
        logits_BAK, targets_BA, centres_AK = self.read(output, batch)
        return coral_loss(logits_BAK, targets_BA, centres_AK, axis_reduction=self.axis_reduction)
