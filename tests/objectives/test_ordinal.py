import math

import pytest
import torch
from scipy import stats

from lightning_aqa.batch import Axis
from lightning_aqa.heads.ordinal import Ordinal
from lightning_aqa.objectives.bins import bin_centres
from lightning_aqa.objectives.ordinal import (
    Coral,
    SoftOrdinal,
    coral_loss,
    soft_ordinal_loss,
    soft_targets,
    threshold_logits,
)

NAN = math.nan
AXES = [Axis("MI", "Musical impression", 1, 5), Axis("PQ", "Production quality", 0, 10)]
CENTRES = bin_centres(torch.tensor([1.0, 0.0]).double(), torch.tensor([5.0, 10.0]).double(), 20)
TARGETS = torch.tensor([[2.37, 0.0], [5.0, NAN], [1.0, 7.25], [NAN, 10.0]], dtype=torch.float64)
BOTH = pytest.mark.parametrize("loss", [soft_ordinal_loss, coral_loss])


def random_logits(seed=0):
    return 2 * torch.randn(4, 2, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mean_of_means(values, targets):
    """Average over rated clips, then over axes, one number at a time."""
    axes = []
    for a in range(targets.shape[1]):
        rated = [values(b, a) for b in range(len(targets)) if not targets[b, a].isnan()]
        axes += [sum(rated) / len(rated)] if rated else []
    return sum(axes) / len(axes)


# Values worked by hand


def test_soft_targets_of_a_rating_on_a_bin_are_worked_by_hand():
    # Weights e^-2, 1, e^-2 for bins one score point away and sigma = 0.5.
    side = math.exp(-2) / (1 + 2 * math.exp(-2))
    found = soft_targets(torch.tensor([[2.0]]), torch.tensor([[1.0, 2.0, 3.0]]), sigma=0.5)
    torch.testing.assert_close(found, torch.tensor([[[side, 1 - 2 * side, side]]]))


def test_divergence_of_an_even_prediction_is_worked_by_hand():
    # A narrow kernel on a bin leaves q = (1, 0): KL = log(1 / .5) = log 2.
    loss = soft_ordinal_loss(torch.zeros(1, 1, 2), torch.tensor([[1.0]]), torch.tensor([[1.0, 5.0]]), sigma=0.1)
    assert loss.item() == pytest.approx(math.log(2))


def test_coral_of_three_bins_is_worked_by_hand():
    # P(y > 0) = .75 and P(y > 1) = .25; a rating on the middle bin asks for 1 and 0: -log .75 - log .75.
    logits = torch.tensor([[[0.25, 0.5, 0.25]]]).log()
    centres = torch.tensor([[1.0, 3.0, 5.0]])
    assert coral_loss(logits, torch.tensor([[3.0]]), centres).item() == pytest.approx(-2 * math.log(0.75))
    # A rating in the middle of the first two asks for .5 and 0: -.5 log .75 - .5 log .25 - log .75.
    between = -0.5 * math.log(0.75) - 0.5 * math.log(0.25) - math.log(0.75)
    assert coral_loss(logits, torch.tensor([[2.0]]), centres).item() == pytest.approx(between)


# Against independent references


@pytest.mark.parametrize("rating", [-3.0, 1.0, 1.1, 3.0, 4.9, 5.0, 6.5])
def test_soft_targets_are_a_normal_density_renormalised_within_the_scale(rating):
    density = stats.norm.pdf(CENTRES[0].numpy(), loc=rating, scale=0.25)
    found = soft_targets(torch.full((1, 1), rating, dtype=torch.float64), CENTRES[:1], 0.25)[0, 0]
    torch.testing.assert_close(found, torch.from_numpy(density / density.sum()), rtol=1e-9, atol=0)


def test_divergence_is_that_of_scipy_and_of_torch():
    logits, wanted = random_logits(), soft_targets(TARGETS, CENTRES, 0.25)
    shares = logits.softmax(-1)
    by_scipy = mean_of_means(lambda b, a: stats.entropy(wanted[b, a], shares[b, a]), TARGETS)
    by_torch = mean_of_means(
        lambda b, a: torch.nn.functional.kl_div(shares[b, a].log(), wanted[b, a], reduction="sum").item(), TARGETS
    )
    found = soft_ordinal_loss(logits, TARGETS, CENTRES).item()
    assert found == pytest.approx(by_scipy, rel=1e-12)
    assert found == pytest.approx(by_torch, rel=1e-12)


def test_coral_equals_a_loop_over_thresholds():
    logits = random_logits()
    shares = logits.softmax(-1)

    def clip(b, a):
        total, step = 0.0, float(CENTRES[a, 1] - CENTRES[a, 0])
        for k in range(19):
            above = float(shares[b, a, k + 1 :].sum())
            answer = min(1.0, max(0.0, (float(TARGETS[b, a]) - float(CENTRES[a, k])) / step))
            total -= answer * math.log(above) + (1 - answer) * math.log(1 - above)
        return total

    assert coral_loss(logits, TARGETS, CENTRES).item() == pytest.approx(mean_of_means(clip, TARGETS), rel=1e-12)


def test_coral_on_ranks_is_the_sum_of_binary_cross_entropies_on_ordered_biases():
    head = Ordinal(3, 1, AXES[:1], kind="coral", num_bins=5, hidden=[])
    with torch.no_grad():
        head.branch.last.weight.normal_(generator=torch.Generator().manual_seed(0))
    features = _features(6, 3)
    output = head.double().eval()(features)
    gaps = torch.nn.functional.softplus(head.gaps_AJ) + 1e-4
    z = head.branch(features)[0] - torch.cat([gaps.new_zeros(1, 1), gaps.cumsum(1)], 1)
    ranks = torch.tensor([0, 1, 2, 3, 4, 2])
    levels = (ranks[:, None] > torch.arange(4)).double()
    expected = torch.nn.BCELoss(reduction="sum")(z.sigmoid(), levels) / len(ranks)
    found = coral_loss(output.logits, 1.0 + ranks[:, None].double(), head.centres_AK)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def _features(rows, width):
    from lightning_aqa.batch import Features

    layers = torch.randn(rows, 1, 4, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Features(layers, torch.ones(rows, 4, dtype=torch.bool))


def test_thresholds_are_the_logits_of_cumulated_shares():
    logits = random_logits()
    above = logits.softmax(-1).flip(-1).cumsum(-1).flip(-1)[..., 1:]
    torch.testing.assert_close(threshold_logits(logits), above.logit(), rtol=1e-9, atol=1e-12)
    assert (threshold_logits(logits).diff(dim=-1) < 0).all()


def test_objectives_and_head_agree_on_where_the_bins_lie():
    head = Ordinal(3, 1, AXES, num_bins=7)
    low, high = torch.tensor([1.0, 0.0]), torch.tensor([5.0, 10.0])
    torch.testing.assert_close(bin_centres(low, high, 7), head.centres_AK)


# What the losses are least at


@pytest.mark.parametrize("rating", [1.0, 2.37, 3.0, 4.93, 5.0])
def test_coral_is_stationary_where_the_mean_is_the_rating(rating):
    place = torch.tensor((rating - 1) / 4 * 19, dtype=torch.float64)
    shares = (1 - (torch.arange(20) - place).abs()).clamp(min=1e-9)
    logits = (shares / shares.sum()).log()[None, None].requires_grad_()
    coral_loss(logits, torch.tensor([[rating]], dtype=torch.float64), CENTRES[:1]).backward()
    assert (logits.softmax(-1) * CENTRES[0]).sum().item() == pytest.approx(rating, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6


def test_the_divergence_is_zero_for_the_softened_rating_and_its_gradient_is_the_excess():
    target = torch.tensor([[2.37]], dtype=torch.float64)
    wanted = soft_targets(target, CENTRES[:1], 0.25)
    assert soft_ordinal_loss(wanted.log(), target, CENTRES[:1]).item() == pytest.approx(0, abs=1e-12)
    logits = random_logits()[:1, :1].requires_grad_()
    soft_ordinal_loss(logits, target, CENTRES[:1]).backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - wanted)


def test_inside_the_scale_the_mean_of_the_softened_rating_is_the_rating():
    ratings = torch.linspace(1.9, 4.1, 23, dtype=torch.float64)[:, None]
    means = (soft_targets(ratings, CENTRES[:1], 0.25) * CENTRES[:1]).sum(-1)
    torch.testing.assert_close(means, ratings, atol=2e-3, rtol=0)


# Invariance, edge cases, gradient


@BOTH
def test_loss_of_a_batch_is_the_mean_over_its_clips(loss):
    logits, targets = random_logits()[:3, :1], TARGETS[:3, :1]
    alone = [loss(logits[b : b + 1], targets[b : b + 1], CENTRES[:1]) for b in range(3)]
    torch.testing.assert_close(loss(logits, targets, CENTRES[:1]), sum(alone) / 3)


@BOTH
def test_a_shift_of_all_logits_changes_nothing(loss):
    torch.testing.assert_close(
        loss(random_logits() + 7.0, TARGETS, CENTRES), loss(random_logits(), TARGETS, CENTRES), rtol=1e-9, atol=0
    )


@BOTH
def test_the_sum_over_axes_is_that_of_the_axes(loss):
    logits = random_logits()
    alone = [loss(logits[:, a : a + 1], TARGETS[:, a : a + 1], CENTRES[a : a + 1]) for a in range(2)]
    torch.testing.assert_close(loss(logits, TARGETS, CENTRES, axis_reduction="sum"), sum(alone))


@BOTH
def test_confident_and_wrong_is_dear_but_finite(loss):
    logits = torch.zeros(1, 1, 20).index_fill(2, torch.tensor([19]), 500.0).requires_grad_()
    value = loss(logits, torch.tensor([[1.0]]), CENTRES[:1].float())
    value.backward()
    assert value > 100
    assert logits.grad.isfinite().all()
    assert logits.grad.any()


@BOTH
def test_a_rating_beyond_the_scale_pulls_to_its_end(loss):
    logits = torch.zeros(1, 1, 20, requires_grad=True)
    loss(logits, torch.tensor([[5.4]]), CENTRES[:1].float()).backward()
    assert logits.grad.argmin() == 19


@BOTH
def test_gradients_match_finite_differences(loss):
    assert torch.autograd.gradcheck(lambda logits: loss(logits, TARGETS, CENTRES), random_logits().requires_grad_())


@BOTH
def test_an_unrated_clip_has_no_gradient(loss):
    logits = random_logits().requires_grad_()
    loss(logits, TARGETS, CENTRES).backward()
    assert torch.equal(logits.grad.abs().sum(-1) == 0, TARGETS.isnan())


# The classes


@pytest.mark.parametrize(("objective", "loss"), [(SoftOrdinal(sigma=0.5), soft_ordinal_loss), (Coral(), coral_loss)])
def test_each_axis_has_the_bins_of_its_scale(make_step, make_module, objective, loss):
    output, batch = make_step([[1.0, 1.0]] * 4, TARGETS.tolist(), logits=random_logits().float())
    objective.on_fit_start(None, make_module(AXES))
    options = {"sigma": 0.5} if isinstance(objective, SoftOrdinal) else {}
    torch.testing.assert_close(
        objective.loss(output, batch), loss(random_logits(), TARGETS, CENTRES, **options).float(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("objective_class", [SoftOrdinal, Coral])
def test_what_cannot_be_is_refused(make_step, make_module, objective_class):
    objective, name = objective_class(), objective_class.__name__
    with pytest.raises(ValueError, match=f"{name} needs the scale of each axis, which it learns when a fit starts"):
        objective.loss(*make_step([[1.0]], [[1.0]], logits=torch.zeros(1, 1, 3)))
    objective.on_fit_start(None, make_module(AXES))
    with pytest.raises(ValueError, match=rf"FlatHead gives no logits, which {name} reads.*--model\.head=Ordinal"):
        objective.loss(*make_step([[1.0, 1.0]], [[1.0, 1.0]]))
    with pytest.raises(ValueError, match="axis_reduction must be 'sum' or 'mean', got 'max'"):
        objective_class(axis_reduction="max")


def test_a_kernel_without_width_is_refused():
    with pytest.raises(ValueError, match=r"sigma must be above 0, got 0\.0"):
        SoftOrdinal(sigma=0.0)
