import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.gaussian_nll import GaussianNLL, gaussian_nll_loss

NAN = math.nan


def random_table(size=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores, targets = 4 * torch.rand(2, size, 2, generator=generator, dtype=torch.float64) + 1
    deviation = 0.2 + torch.rand(size, 2, generator=generator, dtype=torch.float64)
    targets[:3, 1] = NAN
    return scores.requires_grad_(), deviation.requires_grad_(), targets


def test_nll_of_one_clip_is_worked_by_hand():
    # log 2 + 3^2 / (2 * 2^2); with beta .5 times 2.
    clip = torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[4.0]])
    assert gaussian_nll_loss(*clip).item() == pytest.approx(math.log(2) + 9 / 8)
    assert gaussian_nll_loss(*clip, beta=0.5).item() == pytest.approx(2 * (math.log(2) + 9 / 8))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_nll_equals_that_of_torch_on_the_rated_clips_of_each_axis(reduction):
    scores, deviation, targets = random_table()
    axes = zip(scores.T, deviation.T, targets.T, strict=True)
    losses = [F.gaussian_nll_loss(p[r], y[r], s[r].square()) for p, s, y in axes for r in [~y.isnan()]]
    ours = gaussian_nll_loss(scores, deviation, targets, axis_reduction=reduction)
    torch.testing.assert_close(ours, sum(losses) / (2 if reduction == "mean" else 1), rtol=1e-12, atol=0)


def test_nll_is_the_likelihood_of_the_normal_distribution_but_for_a_constant():
    scores, deviation, targets = (table[:, :1] for table in random_table(seed=1))
    expected = -Normal(scores, deviation).log_prob(targets).mean() - math.log(2 * math.pi) / 2
    torch.testing.assert_close(gaussian_nll_loss(scores, deviation, targets), expected)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_gradient_of_a_score_is_its_error_over_a_power_of_its_deviation(beta):
    scores, deviation, targets = (table[:, :1] for table in random_table(seed=2))
    (gradient,) = torch.autograd.grad(gaussian_nll_loss(scores, deviation, targets, beta=beta), scores)
    torch.testing.assert_close(gradient, ((scores - targets) * deviation ** (2 * beta - 2) / 9).detach())


def test_nll_is_least_where_the_deviation_is_the_error():
    scores, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [3.5]])
    deviation = (scores - targets).abs().requires_grad_()
    (gradient,) = torch.autograd.grad(gaussian_nll_loss(scores, deviation, targets), deviation)
    assert gradient.abs().max() < 1e-6


def test_nll_ignores_what_stands_beside_unrated_clips():
    scores, deviation = torch.tensor([[1.0], [math.inf]]), torch.tensor([[2.0], [0.0]])
    scores.requires_grad_(), deviation.requires_grad_()
    loss = gaussian_nll_loss(scores, deviation, torch.tensor([[4.0], [NAN]]), beta=0.5)
    loss.backward()
    assert loss.item() == pytest.approx(2 * (math.log(2) + 9 / 8))
    assert (scores.grad[1].item(), deviation.grad[1].item()) == (0.0, 0.0)


def test_nll_gradient_is_that_of_its_value():
    scores, deviation, targets = random_table(5, seed=3)
    assert torch.autograd.gradcheck(lambda p, s: gaussian_nll_loss(p, s, targets), (scores, deviation))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"beta must be between 0 and 1, got 1\.5"):
        GaussianNLL(beta=1.5)
    with pytest.raises(ValueError, match="axis_reduction must be 'sum' or 'mean', got 'max'"):
        GaussianNLL(axis_reduction="max")
    with pytest.raises(ValueError, match=r"one shape \(B, A\), got \(2, 1\) and \(2,\)"):
        gaussian_nll_loss(torch.zeros(2, 1), torch.ones(2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"scores and targets must have one shape \(B, A\), got \(2, 1\) and \(2,\)"):
        gaussian_nll_loss(torch.zeros(2, 1), torch.ones(2, 1), torch.zeros(2))


def test_nll_names_the_head_that_gives_no_deviation(make_step, make_module):
    objective = GaussianNLL()
    objective.on_fit_start(None, make_module([Axis("MI", "", 1, 5)]))
    with pytest.raises(ValueError, match=r"FlatHead gives no deviation.*--objectives.gaussiannll=null"):
        objective.loss(*make_step([[1.0]], [[1.0]]))


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 2), ("mean", 1)])
def test_nll_class_reduces_over_the_axes_that_are_rated(make_step, reduction, factor):
    scores, deviation, targets = (table.detach() for table in random_table(seed=4))
    tables = [torch.cat([table, torch.full((9, 1), NAN)], 1) for table in (scores, targets, deviation)]
    loss = GaussianNLL(beta=0.3, axis_reduction=reduction).loss(*make_step(*tables[:2], deviation=tables[2]))
    expected = factor * gaussian_nll_loss(scores, deviation, targets, beta=0.3).item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
