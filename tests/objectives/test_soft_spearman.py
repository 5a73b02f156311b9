import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_aqa.objectives import soft_spearman
from lightning_aqa.objectives.soft_spearman import SoftSpearman, average_ranks, soft_ranks, soft_spearman_loss

NAN = math.nan


def random_table(size=11, seed=0):
    """Scores and targets, both with ties, targets with gaps on the second axis."""
    generator = torch.Generator().manual_seed(seed)
    scores, targets = (8 * torch.rand(2, size, 2, generator=generator, dtype=torch.float64)).round() / 2 + 1
    targets[:3, 1] = NAN
    return scores.requires_grad_(), targets


def reference(scores, targets, temperature):
    """One pair at a time, averaged over the axes."""
    losses = []
    for p, y in zip(scores.detach().T, targets.T, strict=True):
        p, y = p[~y.isnan()].numpy(), y[~y.isnan()].numpy()
        ranks = [0.5 + sum(1 / (1 + math.exp((other - mine) / temperature)) for other in p) for mine in p]
        losses.append(1 - np.corrcoef(ranks, stats.rankdata(y))[0, 1])
    return np.mean(losses)


def column(values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


# A value worked by hand


def test_soft_spearman_of_three_clips_is_worked_by_hand():
    # sigmoid(log 3) = .75, so the ranks are 1.75, 1.75 and 2.5; those of the targets 1, 2 and 3:
    # (.25 * 1 + .5 * 1) / sqrt((2 * .0625 + .25) * 2) = .75 / sqrt(.75).
    scores = 0.5 * column([1.0, 1.0, 3.0]).log()
    torch.testing.assert_close(soft_ranks(scores, torch.ones(3, 1).bool(), 0.5), column([1.75, 1.75, 2.5]))
    loss = soft_spearman_loss(scores, column([1.0, 2.0, 4.0]), temperature=0.5)
    assert loss.item() == pytest.approx(1 - math.sqrt(0.75))


# Independent references


@pytest.mark.parametrize("temperature", [0.05, 0.25, 2.0])
def test_soft_spearman_equals_a_loop_over_pairs(temperature):
    scores, targets = random_table()
    loss = soft_spearman_loss(scores, targets, temperature=temperature)
    assert loss.item() == pytest.approx(reference(scores, targets, temperature), rel=1e-12)


def test_soft_spearman_of_a_cold_temperature_is_that_of_scipy_ties_included():
    scores, targets = random_table(seed=1)
    expected = [
        1 - stats.spearmanr(p, y, nan_policy="omit")[0] for p, y in zip(scores.detach().T, targets.T, strict=True)
    ]
    assert soft_spearman_loss(scores, targets, temperature=1e-3).item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_soft_spearman_of_a_high_temperature_correlates_the_scores_with_the_ranks():
    # The deviation of such ranks is below the least one; within it, it is a common factor.
    scores, targets = random_table(seed=2)
    rated = targets[:, :1].isfinite()
    soft = soft_ranks(scores[:, :1], rated, 1e4)[:, 0].detach()
    assert stats.pearsonr(soft, scores[:, 0].detach())[0] == pytest.approx(1.0, abs=1e-6)


def test_ranks_of_targets_are_those_of_scipy():
    _, targets = random_table(seed=3)
    rated = targets.isfinite()
    ranks = average_ranks(targets.nan_to_num(0.0), rated)
    for a in range(2):
        np.testing.assert_array_equal(ranks[rated[:, a], a], stats.rankdata(targets[rated[:, a], a]))


# Invariances


def test_soft_spearman_does_not_change_when_all_scores_shift_or_targets_keep_their_order():
    scores, targets = random_table(seed=4)
    loss = soft_spearman_loss(scores, targets)
    torch.testing.assert_close(soft_spearman_loss(scores + 3, targets), loss)
    torch.testing.assert_close(soft_spearman_loss(scores, targets**3), loss)


def test_soft_spearman_does_not_depend_on_the_blocks_that_a_large_batch_is_cut_into(monkeypatch):
    scores, targets = random_table(seed=5)
    whole = soft_spearman_loss(scores, targets)
    # Blocks of 4, 4 and 3 clips.
    monkeypatch.setattr(soft_spearman, "BLOCK_PAIRS", 4 * scores.numel())
    cut = soft_spearman_loss(scores, targets)
    torch.testing.assert_close(cut, whole, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (cut, whole)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


# Edge cases


def test_equal_scores_give_one_and_a_gradient_that_parts_them():
    scores = torch.full((4, 1), 3.0, requires_grad=True)
    targets = torch.tensor([[1.0], [2.0], [4.0], [5.0]])
    loss = soft_spearman_loss(scores, targets)
    loss.backward()
    assert loss.item() == 1
    assert scores.grad.isfinite().all()
    assert (scores.grad.diff(dim=0) < 0).all()
    assert soft_spearman_loss(scores - 0.01 * scores.grad, targets) < 0.1


@pytest.mark.parametrize("targets", [[2.0, NAN, NAN], [2.0, 2.0, 2.0], [NAN, NAN, NAN]])
def test_where_there_is_no_order_the_loss_is_zero_without_a_gradient(targets):
    scores = torch.tensor([[3.0], [1.0], [2.0]], requires_grad=True)
    loss = soft_spearman_loss(scores, torch.tensor(targets)[:, None])
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


# Gradient


@pytest.mark.parametrize("temperature", [0.25, 2.0])
def test_soft_spearman_gradient_is_that_of_its_value(temperature):
    scores, targets = random_table(7, seed=6)
    assert torch.autograd.gradcheck(lambda p: soft_spearman_loss(p, targets, temperature=temperature), (scores,))


# Messages and the class


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="temperature must be a number above 0, got nan"):
        SoftSpearman(temperature=NAN)
    with pytest.raises(ValueError, match="axis_reduction must be 'sum' or 'mean', got 'max'"):
        SoftSpearman(axis_reduction="max")
    with pytest.raises(ValueError, match=r"one shape \(B, A\), got \(2,\) and \(2,\)"):
        soft_spearman_loss(torch.zeros(2), torch.zeros(2))


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 2), ("mean", 1)])
def test_class_reduces_over_the_axes_that_are_rated(make_step, reduction, factor):
    scores, targets = random_table(seed=7)
    tables = [torch.cat([table.detach(), torch.full((11, 1), NAN)], 1) for table in (scores, targets)]
    expected = factor * soft_spearman_loss(scores, targets, temperature=0.6).item()
    loss = SoftSpearman(temperature=0.6, axis_reduction=reduction).loss(*make_step(*tables))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
