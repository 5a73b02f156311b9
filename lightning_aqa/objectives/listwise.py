"""Rank all clips of a batch at once: ListNet and ListMLE."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import AxisReduction, as_table, check_axis_reduction, reduce_axes
from lightning_aqa.objectives.pairwise import check_above_zero, check_at_least_zero, closest_gap
from lightning_aqa.objectives.space import ScaledObjective, Space


def listnet_loss(
    scores: Tensor, targets: Tensor, *, temperature: float = 1.0, axis_reduction: AxisReduction = "mean"
) -> Tensor:
    r"""Compare how likely each clip is the best of its batch by the targets and by the scores.

    .. math:: -\sum_i q_i(y) \log q_i(p) \quad q_i(x) = \frac{\exp(x_i / \tau)}{\sum_j \exp(x_j / \tau)}

    Scores that are the targets, up to a common shift, have the smallest loss: the entropy of q(y).

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        temperature: tau, in score points: the lower, the more the best clips count.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss in nats; zero with a graph for one clip and where nothing is rated.

    Raises:
        ValueError: If the shapes differ or the temperature is not above 0.

    Example:
        >>> listnet_loss(torch.tensor([[2.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
        tensor(0.6931)

    Reference:
        Cao, Qin, Liu, Tsai, Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007: its
        top-one probability. Differs: a temperature; a batch is a list; unrated clips are not in it.
    """
    check_above_zero(temperature=temperature)
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    lowest = torch.finfo(scores_BA.dtype).min
    wanted_BA, given_BA = ((x / temperature).masked_fill(~rated_BA, lowest) for x in (targets_BA, scores_BA))
    terms_BA = torch.where(rated_BA, wanted_BA.softmax(0) * given_BA.log_softmax(0), 0.0)
    return reduce_axes(-terms_BA.sum(0), targets, axis_reduction)


def listmle_loss(
    scores: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    tolerance: float = 0.0,
    position_weights: bool = False,
    axis_reduction: AxisReduction = "mean",
) -> Tensor:
    r"""Average how unlikely it is that a clip is chosen before all clips that are worse than it.

    .. math:: -\frac{1}{\sum_i w_i} \sum_i w_i \log \frac{e^{p_i / \tau}}{e^{p_i / \tau} + \sum_{j \in W_i}
        e^{p_j / \tau}} \quad W_i = \{j : y_j < y_i - t\}

    over the clips with a worse one. Where no two targets are equal, the sum with w = 1 is the negative logarithm of the
    probability that the Plackett-Luce model with utilities :math:`p / \tau` gives to the order of the targets. Clips
    that tie are not compared: each is chosen among itself and what is worse, whatever order they come in. Every factor
    is a probability of the same model, so with ties it is a composite likelihood.

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        temperature: tau, in score points.
        tolerance: t: clips at most this far apart, in score points, count as tied.
        position_weights: Whether :math:`w_i = 1 / \log_2(2 + n_i)`, with n the number of better clips, else 1.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss in nats; zero with a graph for one clip, for all ties and where nothing is rated.

    Raises:
        ValueError: If the shapes differ, the temperature is not above 0 or the tolerance is negative.

    Example:
        >>> listmle_loss(torch.tensor([[2.0], [2.0], [2.0]]), torch.tensor([[1.0], [3.0], [3.0]]))
        tensor(0.6931)

    Reference:
        Xia, Liu, Wang, Zhang, Li, "Listwise Approach to Learning to Rank: Theory and Algorithm", ICML 2008; the weights
        after Lan et al., "Position-Aware ListMLE", UAI 2014. Differs: ties; a mean over clips, not a sum; the weights
        are the discounts of DCG, since those of the paper, :math:`2^{B - n} - 1`, overflow for a batch of 128.
    """
    check_above_zero(temperature=temperature)
    check_at_least_zero(tolerance=tolerance)
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    gap = closest_gap(tolerance)
    # Unrated clips are put above all others, where they are worse than none.
    levels_AB = torch.where(rated_BA, targets_BA, math.inf).T.contiguous()
    sorted_AB, order_AB = levels_AB.sort(dim=1)
    num_worse_AB = torch.searchsorted(sorted_AB, levels_AB - gap)
    utilities_AB = scores_BA.T / temperature
    up_to_AB = utilities_AB.gather(1, order_AB).logcumsumexp(dim=1)
    losses_AB = -F.logsigmoid(utilities_AB - up_to_AB.gather(1, (num_worse_AB - 1).clamp(min=0)))
    weights_AB = (rated_BA.T & (num_worse_AB > 0)).to(losses_AB.dtype)
    if position_weights:
        num_better_AB = rated_BA.sum(0)[:, None] - torch.searchsorted(sorted_AB, levels_AB + gap, right=True)
        weights_AB = weights_AB / (2 + num_better_AB.clamp(min=0)).to(weights_AB.dtype).log2()
    tiny = torch.finfo(weights_AB.dtype).tiny
    losses_A = (weights_AB * losses_AB).sum(1) / weights_AB.sum(1).clamp(min=tiny)
    return reduce_axes(losses_A, targets, axis_reduction)


class ListNet(ScaledObjective):
    """Fit the chance of each clip to be the best of its batch with ``listnet_loss``.

    It ignores a common shift of the scores, so it stands beside a regression loss.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        temperature: In the unit of ``space``: the lower, the more the best clips count.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` takes scores in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option is negative or unknown.
    """

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 1.0,
        axis_reduction: AxisReduction = "mean",
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        check_above_zero(temperature=temperature)
        check_axis_reduction(axis_reduction)
        self.temperature, self.axis_reduction = temperature, axis_reduction

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the cross-entropy of the axes, reduced over them."""
        scores_BA, targets_BA = self.in_space(output.scores, batch.scores)
        return listnet_loss(scores_BA, targets_BA, temperature=self.temperature, axis_reduction=self.axis_reduction)


class ListMLE(ScaledObjective):
    """Make the order of the clips of a batch likely with ``listmle_loss``.

    It sees only the order of the targets and falls without end as well-ordered scores move apart, so it stands beside
    a regression loss.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        temperature: How far apart scores are that make a choice clear, in the unit of ``space``.
        tolerance: Clips at most this far apart, in the unit of ``space``, are not ranked: rating noise.
        position_weights: Whether the choice of better clips weighs more.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.
        space: ``points`` takes scores in score points, ``standardised`` in standard deviations of the training scores.

    Raises:
        ValueError: If an option is negative or unknown.
    """

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 1.0,
        tolerance: float = 0.0,
        position_weights: bool = False,
        axis_reduction: AxisReduction = "mean",
        space: Space = "points",
    ) -> None:
        super().__init__(weight, space)
        check_above_zero(temperature=temperature)
        check_at_least_zero(tolerance=tolerance)
        check_axis_reduction(axis_reduction)
        self.temperature, self.tolerance, self.position_weights = temperature, tolerance, position_weights
        self.axis_reduction = axis_reduction

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of the axes, reduced over them."""
        scores_BA, targets_BA = self.in_space(output.scores, batch.scores)
        return listmle_loss(
            scores_BA,
            targets_BA,
            temperature=self.temperature,
            tolerance=self.tolerance,
            position_weights=self.position_weights,
            axis_reduction=self.axis_reduction,
        )
