import math
from itertools import combinations

import pytest
import torch

from lightning_aqa.objectives.contrastive import Contrastive, contrastive_loss

NAN = math.nan


def random_table(size=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = 4 * torch.rand(size, 2, generator=generator, dtype=torch.float64) + 1
    targets = (8 * torch.rand(size, 2, generator=generator, dtype=torch.float64)).round() / 2 + 1
    targets[:3, 1] = NAN
    return scores.requires_grad_(), targets


def reference(scores, targets, margin):
    """One pair at a time, averaged over the axes."""
    losses = []
    for p, y in zip(scores.T, targets.T, strict=True):
        p, y = p[~y.isnan()], y[~y.isnan()]
        gaps = [((p[i] - p[j]) - (y[i] - y[j])).abs() for i, j in combinations(range(len(p)), 2)]
        losses.append(torch.relu(torch.stack(gaps) - margin).mean())
    return torch.stack(losses).mean()


def test_contrastive_of_three_clips_is_worked_by_hand():
    # Errors 1, -1 and 0: gaps 2, 1 and 1, beyond the margin 1.5, .5 and .5.
    loss = contrastive_loss(torch.tensor([[2.0], [2.0], [5.0]]), torch.tensor([[1.0], [3.0], [5.0]]), margin=0.5)
    assert loss.item() == pytest.approx(2.5 / 3)


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_contrastive_equals_a_loop_over_pairs(margin, seed):
    scores, targets = random_table(12, seed)
    ours, expected = contrastive_loss(scores, targets, margin=margin), reference(scores, targets, margin)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-14)


def test_contrastive_is_exact_where_gaps_lie_on_the_margin_but_for_rounding():
    # Means of five ratings at a common score, as a head starts: a fifth of all gaps is .2 up to rounding.
    targets = 1 + torch.arange(21)[torch.randperm(21, generator=torch.Generator().manual_seed(0))][:, None] / 5
    scores = torch.full_like(targets, 3.3)
    expected = reference(scores.double(), (targets.double() * 5).round() / 5, 0.2)
    assert contrastive_loss(scores, targets, margin=0.2).item() == pytest.approx(expected.item(), rel=1e-5)


def test_contrastive_does_not_change_when_all_scores_shift():
    scores, targets = random_table(seed=4)
    torch.testing.assert_close(contrastive_loss(scores + 3, targets), contrastive_loss(scores, targets))


def test_contrastive_counts_ties():
    assert contrastive_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [3.0]])).item() == pytest.approx(0.8)


def test_contrastive_of_perfect_scores_is_zero():
    _, targets = random_table(seed=5)
    assert contrastive_loss(targets + 2, targets).item() == 0


@pytest.mark.parametrize("targets", [[2.0, NAN, NAN], [NAN, NAN, NAN]])
def test_where_there_is_no_pair_the_loss_is_zero_without_a_gradient(targets):
    scores = torch.tensor([[3.0], [1.0], [2.0]], requires_grad=True)
    loss = contrastive_loss(scores, torch.tensor(targets)[:, None])
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_contrastive_gradient_is_that_of_its_value():
    scores, targets = random_table(7, seed=6)
    assert torch.autograd.gradcheck(lambda p: contrastive_loss(p, targets, margin=0.3), (scores,))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"margin must be a number of at least 0, got -0\.1"):
        Contrastive(margin=-0.1)
    with pytest.raises(ValueError, match="axis_reduction must be 'sum' or 'mean', got 'max'"):
        Contrastive(axis_reduction="max")
    with pytest.raises(ValueError, match=r"one shape \(B, A\), got \(2, 1\) and \(3, 1\)"):
        contrastive_loss(torch.zeros(2, 1), torch.zeros(3, 1))


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 2), ("mean", 1)])
def test_contrastive_class_reduces_over_the_axes_that_are_rated(make_step, reduction, factor):
    scores, targets = random_table(seed=7)
    tables = [torch.cat([table.detach(), torch.full((9, 1), NAN)], 1) for table in (scores, targets)]
    loss = Contrastive(margin=0.6, axis_reduction=reduction).loss(*make_step(*tables))
    assert loss.item() == pytest.approx(factor * contrastive_loss(scores, targets, margin=0.6).item(), rel=1e-5)
