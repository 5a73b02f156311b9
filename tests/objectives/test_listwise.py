import math
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from lightning_aqa.objectives.listwise import ListMLE, ListNet, listmle_loss, listnet_loss

NAN = math.nan


def random_table(size=9, seed=0, steps=2):
    """Scores, and targets with ties on both axes and gaps on the second."""
    generator = torch.Generator().manual_seed(seed)
    scores = 4 * torch.rand(size, 2, generator=generator, dtype=torch.float64) + 1
    targets = (4 * steps * torch.rand(size, 2, generator=generator, dtype=torch.float64)).round() / steps + 1
    targets[:3, 1] = NAN
    return scores.requires_grad_(), targets


def column(values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def reference_choices(scores, targets, temperature, tolerance=0.0, position_weights=False):
    """One choice at a time, on one axis."""
    total, weights = 0.0, 0.0
    for i, y in enumerate(targets.tolist()):
        worse = [j for j, other in enumerate(targets.tolist()) if other < y - tolerance]
        better = sum(other > y + tolerance for other in targets.tolist())
        if worse:
            weight = 1 / math.log2(2 + better) if position_weights else 1.0
            total = total - weight * F.log_softmax(scores[[i, *worse]] / temperature, 0)[0]
            weights += weight
    return total / weights


def on_rated(reference, scores, targets):
    """Average a reference for one axis over the axes."""
    axes = [(p[~y.isnan()], y[~y.isnan()]) for p, y in zip(scores.T, targets.T, strict=True)]
    return sum(reference(p, y) for p, y in axes) / len(axes)


# Values worked by hand


def test_listnet_of_two_clips_is_worked_by_hand():
    # Shares of the targets .25 and .75, of the scores .75 and .25.
    loss = listnet_loss(2 * column([3.0, 1.0]).log(), 2 * column([1.0, 3.0]).log(), temperature=2.0)
    assert loss.item() == pytest.approx(-0.25 * math.log(0.75) - 0.75 * math.log(0.25))


def test_listmle_of_three_clips_is_worked_by_hand():
    # Utilities log 1, log 2, log 5: the best clip (2) is chosen with 2 / 8, then the next (5) with 5 / 6.
    loss = listmle_loss(3 * column([2.0, 5.0, 1.0]).log(), column([5.0, 4.0, 1.0]), temperature=3.0)
    assert loss.item() == pytest.approx(-(math.log(2 / 8) + math.log(5 / 6)) / 2)


def test_listmle_weighs_the_first_choice_more_if_asked():
    # Weights 1 / log2(2) = 1 and 1 / log2(3).
    loss = listmle_loss(column([2.0, 5.0, 1.0]).log(), column([5.0, 4.0, 1.0]), position_weights=True)
    second = 1 / math.log2(3)
    assert loss.item() == pytest.approx(-(math.log(2 / 8) + second * math.log(5 / 6)) / (1 + second))


# Independent references


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_listnet_equals_the_cross_entropy_of_torch(temperature):
    def reference(p, y):
        return F.cross_entropy(p[None] / temperature, F.softmax(y / temperature, 0)[None])

    scores, targets = random_table()
    ours, expected = listnet_loss(scores, targets, temperature=temperature), on_rated(reference, scores, targets)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.parametrize("tolerance", [0.0, 0.5, 1.25])
@pytest.mark.parametrize("position_weights", [False, True])
def test_listmle_equals_a_loop_over_choices(temperature, tolerance, position_weights):
    options = {"temperature": temperature, "tolerance": tolerance, "position_weights": position_weights}
    scores, targets = random_table(12, seed=1)
    ours = listmle_loss(scores, targets, **options)
    expected = on_rated(lambda p, y: reference_choices(p, y, **options), scores, targets)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


def test_listmle_gives_all_orders_together_the_probability_one():
    scores = column([0.3, -1.0, 2.0, 0.5])
    total = sum(
        math.exp(-3 * listmle_loss(scores, column(order)).item()) for order in permutations([1.0, 2.0, 3.0, 4.0])
    )
    assert total == pytest.approx(1.0)


# Invariances


@pytest.mark.parametrize("loss", [listnet_loss, listmle_loss])
def test_a_common_shift_of_the_scores_changes_nothing(loss):
    scores, targets = random_table(seed=2)
    torch.testing.assert_close(loss(scores + 3, targets), loss(scores, targets))


def test_listmle_sees_only_the_order_of_the_targets():
    scores, targets = random_table(seed=3)
    torch.testing.assert_close(listmle_loss(scores, targets**3), listmle_loss(scores, targets))


def test_listmle_does_not_depend_on_the_order_in_which_ties_come():
    scores, targets = column([1.0, 2.0, 4.0]), column([3.0, 3.0, 1.0])
    assert listmle_loss(scores, targets).item() == pytest.approx(listmle_loss(scores[[1, 0, 2]], targets).item())


def test_listnet_is_least_where_the_scores_are_the_targets_up_to_a_shift():
    _, targets = random_table(seed=4)
    scores = (targets.nan_to_num(0.0) + 0.7).requires_grad_()
    (gradient,) = torch.autograd.grad(listnet_loss(scores, targets), scores)
    assert gradient.abs().max() < 1e-15


# Edge cases


@pytest.mark.parametrize("loss", [listnet_loss, listmle_loss])
def test_one_clip_gives_zero_and_no_gradient(loss):
    scores = torch.tensor([[3.0], [9.0]], requires_grad=True)
    found = loss(scores, torch.tensor([[1.0], [NAN]]))
    found.backward()
    assert found.item() == 0
    assert not scores.grad.any()


def test_listmle_of_ties_is_zero_without_a_gradient():
    scores = torch.tensor([[3.0], [1.0]], requires_grad=True)
    loss = listmle_loss(scores, torch.tensor([[2.0], [2.2]]), tolerance=0.2)
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


@pytest.mark.parametrize("loss", [listnet_loss, listmle_loss])
def test_scores_far_apart_stay_finite(loss):
    scores = torch.tensor([[1e4], [-1e4], [0.0]], requires_grad=True)
    found = loss(scores, torch.tensor([[1.0], [5.0], [3.0]]))
    found.backward()
    assert found.isfinite()
    assert scores.grad.isfinite().all()


# Gradient


@pytest.mark.parametrize("loss", [listnet_loss, listmle_loss])
def test_gradient_is_that_of_the_value(loss):
    scores, targets = random_table(6, seed=5)
    assert torch.autograd.gradcheck(lambda p: loss(p, targets, temperature=0.7), (scores,))


# Messages and classes


@pytest.mark.parametrize("objective", [ListNet, ListMLE])
def test_options_that_cannot_be_are_refused(objective):
    with pytest.raises(ValueError, match=r"temperature must be a number above 0, got 0\.0"):
        objective(temperature=0.0)
    with pytest.raises(ValueError, match="axis_reduction must be 'sum' or 'mean', got 'max'"):
        objective(axis_reduction="max")


def test_listmle_refuses_a_negative_tolerance():
    with pytest.raises(ValueError, match="tolerance must be a number of at least 0, got -1"):
        ListMLE(tolerance=-1)


@pytest.mark.parametrize("loss", [listnet_loss, listmle_loss])
def test_shapes_that_differ_are_refused(loss):
    with pytest.raises(ValueError, match=r"one shape \(B, A\), got \(2, 1\) and \(2,\)"):
        loss(torch.zeros(2, 1), torch.zeros(2))


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 2), ("mean", 1)])
def test_classes_hand_on_their_options_and_reduce_over_the_axes_that_are_rated(make_step, reduction, factor):
    scores, targets = random_table(seed=6)
    tables = [torch.cat([table.detach(), torch.full((9, 1), NAN)], 1) for table in (scores, targets)]
    net, mle = {"temperature": 0.5}, {"temperature": 0.5, "tolerance": 0.5, "position_weights": True}
    for objective, expected in (
        (ListNet(axis_reduction=reduction, **net), listnet_loss(scores, targets, **net)),
        (ListMLE(axis_reduction=reduction, **mle), listmle_loss(scores, targets, **mle)),
    ):
        assert objective.loss(*make_step(*tables)).item() == pytest.approx(factor * expected.item(), rel=1e-5)
