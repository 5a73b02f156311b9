import math

import numpy as np
import pytest
import torch

from lightning_aqa.objectives.concordance import CCC, ccc_loss

NAN = math.nan


def random_table(size=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores, targets = 4 * torch.rand(2, size, 2, generator=generator, dtype=torch.float64) + 1
    targets[:3, 1] = NAN
    return scores.requires_grad_(), targets


def reference(p, y):
    """As Lin defines it."""
    covariance = np.cov(p, y, ddof=0)
    return 1 - 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (p.mean() - y.mean()) ** 2)


def test_ccc_of_three_clips_is_worked_by_hand():
    # Scores 1, 2, 3 and targets 2, 4, 6: variances 2 / 3 and 8 / 3, covariance 4 / 3, means 2 and 4.
    loss = ccc_loss(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2.0], [4.0], [6.0]]))
    assert loss.item() == pytest.approx(1 - (8 / 3) / (2 / 3 + 8 / 3 + 4))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_ccc_equals_its_definition_on_the_rated_clips_of_each_axis(reduction):
    scores, targets = random_table()
    tables = zip(scores.detach().T, targets.T, strict=True)
    expected = sum(reference(p[~y.isnan()].numpy(), y[~y.isnan()].numpy()) for p, y in tables)
    loss = ccc_loss(scores, targets, axis_reduction=reduction).item()
    assert loss == pytest.approx(expected / (2 if reduction == "mean" else 1), rel=1e-12)


def test_ccc_does_not_change_with_the_unit_or_the_zero_of_both():
    scores, targets = random_table(seed=1)
    torch.testing.assert_close(ccc_loss(-2 * scores + 7, -2 * targets + 7), ccc_loss(scores, targets))


def test_ccc_is_zero_for_the_targets_themselves_and_two_for_their_mirror_image():
    targets = torch.tensor([[1.0], [2.0], [4.5]])
    assert ccc_loss(targets, targets).item() == 0
    assert ccc_loss(2 * targets.mean() - targets, targets).item() == pytest.approx(2.0)


def test_ccc_punishes_a_shift_and_a_wrong_scale():
    targets = torch.tensor([[1.0], [2.0], [4.5]])
    assert ccc_loss(targets + 1, targets) > 0.1
    assert ccc_loss(2 * targets - targets.mean(), targets) > 0.1


def test_equal_scores_give_one_and_a_gradient_that_parts_them():
    scores = torch.full((3, 1), 2.5, requires_grad=True)
    loss = ccc_loss(scores, torch.tensor([[1.0], [2.0], [4.5]]))
    loss.backward()
    assert loss.item() == 1
    assert (scores.grad.diff(dim=0) < 0).all()


@pytest.mark.parametrize("targets", [[2.0, NAN, NAN], [3.2, 3.2, 3.2], [NAN, NAN, NAN]])
@pytest.mark.parametrize("scores", [[2.0, 1.0, 4.0], [3.2, 3.2, 3.2]])
def test_where_targets_do_not_vary_the_loss_is_zero_without_a_gradient(scores, targets):
    scores = torch.tensor(scores)[:, None].requires_grad_()
    loss = ccc_loss(scores, torch.tensor(targets)[:, None])
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.tolist() == [[0.0]] * 3


def test_ccc_gradient_is_that_of_its_value():
    scores, targets = random_table(6, seed=2)
    assert torch.autograd.gradcheck(lambda p: ccc_loss(p, targets), (scores,))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="axis_reduction must be 'sum' or 'mean', got 'max'"):
        CCC(axis_reduction="max")
    with pytest.raises(ValueError, match=r"one shape \(B, A\), got \(2, 1\) and \(3, 1\)"):
        ccc_loss(torch.zeros(2, 1), torch.zeros(3, 1))


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 2), ("mean", 1)])
def test_ccc_class_reduces_over_the_axes_that_are_rated(make_step, reduction, factor):
    scores, targets = random_table(seed=3)
    tables = [torch.cat([table.detach(), torch.full((9, 1), NAN)], 1) for table in (scores, targets)]
    loss = CCC(axis_reduction=reduction).loss(*make_step(*tables))
    assert loss.item() == pytest.approx(factor * ccc_loss(scores, targets).item(), rel=1e-5)
