import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from lightning_aqa.objectives.margin_ranking import MarginRanking, margin_ranking_loss

NAN = math.nan


def random_pair(size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = 4 * torch.rand(size, generator=generator, dtype=torch.float64) + 1
    targets = (8 * torch.rand(size, generator=generator, dtype=torch.float64)).round() / 2 + 1
    return scores.requires_grad_(), targets


def torch_reference(scores, targets, margin, tolerance):
    pairs = [
        (i, j) for i, j in combinations(range(len(scores)), 2) if (targets[i] - targets[j]).abs().item() > tolerance
    ]
    first, second = (torch.tensor(column) for column in zip(*pairs, strict=True))
    better = (targets[first] - targets[second]).sign()
    return F.margin_ranking_loss(scores[first], scores[second], better, margin=margin)


def test_margin_ranking_of_three_clips_is_worked_by_hand():
    # Pairs (better, other): (2, 1) 0.5 - 1 < 0, (3, 2) 0.5 + 1 = 1.5, (3, 1) 0.5 - 0 = 0.5; mean 2 / 3.
    loss = margin_ranking_loss(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 3.0]), margin=0.5)
    assert loss.item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("margin", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("tolerance", [0.0, 0.5, 1.5])
def test_margin_ranking_equals_that_of_torch_over_the_untied_pairs(margin, tolerance):
    scores, targets = random_pair()
    ours = margin_ranking_loss(scores, targets, margin=margin, tolerance=tolerance)
    expected = torch_reference(scores, targets, margin, tolerance)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


def test_margin_ranking_sees_only_the_order_of_the_targets():
    scores, targets = random_pair()
    torch.testing.assert_close(margin_ranking_loss(scores, targets**3), margin_ranking_loss(scores, targets))


def test_margin_ranking_ignores_unrated_clips():
    kept = margin_ranking_loss(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]))
    assert margin_ranking_loss(torch.tensor([1.0, NAN, 2.0]), torch.tensor([2.0, NAN, 1.0])) == kept


def test_margin_ranking_gradient_is_that_of_its_value():
    scores, targets = random_pair(6)
    assert torch.autograd.gradcheck(lambda p: margin_ranking_loss(p, targets, margin=0.3), (scores,))


def test_margin_ranking_refuses_a_negative_margin():
    with pytest.raises(ValueError, match=r"margin must be a number of at least 0, got -0\.1"):
        margin_ranking_loss(torch.zeros(2), torch.zeros(2), margin=-0.1)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 1.1 + 0.6), ("mean", (1.1 + 0.6) / 2)])
def test_margin_ranking_class_reduces_over_the_axes_that_are_rated(make_step, reduction, expected):
    scores, targets = [[2.0, 1.5, 9.0], [1.0, 1.0, 0.0]], [[1.0, 2.0, NAN], [3.0, 3.0, NAN]]
    objective = MarginRanking(axis_reduction=reduction)
    assert objective.loss(*make_step(scores, targets)).item() == pytest.approx(expected)
