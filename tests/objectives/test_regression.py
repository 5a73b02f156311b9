import math

import pytest
import torch
import torch.nn.functional as F

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.regression import Regression, regression_loss

NAN = math.nan
AXES = [Axis("MI", "", 1, 5), Axis("TA", "", 1, 5)]
REFERENCES = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": lambda p, y: F.huber_loss(p, y, delta=0.7),
    "mse+mae": lambda p, y: F.mse_loss(p, y) + F.l1_loss(p, y),
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    # Errors 2 and -0.5: squares 4 and 0.25; Huber with delta 1: 2 - 0.5 = 1.5 and 0.125.
    [("mse", 2.125), ("mae", 1.25), ("huber", 0.8125), ("mse+mae", 3.375)],
)
def test_regression_of_two_clips_is_worked_by_hand(kind, expected):
    loss = regression_loss(torch.tensor([[3.0], [2.0]]), torch.tensor([[1.0], [2.5]]), kind=kind)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", list(REFERENCES))
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_regression_equals_that_of_torch_on_the_rated_clips_of_each_axis(kind, reduction):
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.rand(2, 8, 3, generator=generator, dtype=torch.float64) * 4
    targets[2:5, 1] = NAN
    per_axis = [REFERENCES[kind](p[~y.isnan()], y[~y.isnan()]) for p, y in zip(scores.T, targets.T, strict=True)]
    expected = sum(per_axis) / (3 if reduction == "mean" else 1)
    ours = regression_loss(scores, targets, kind=kind, delta=0.7, axis_reduction=reduction)
    torch.testing.assert_close(ours, expected)


def test_regression_does_not_move_with_an_axis_that_nobody_is_rated_on():
    one = regression_loss(torch.tensor([[3.0]]), torch.tensor([[1.0]]))
    assert regression_loss(torch.tensor([[3.0, NAN]]), torch.tensor([[1.0, NAN]])) == one


def test_regression_gradient_is_that_of_its_value():
    scores = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[2.5, NAN], [1.0, 4.5]], dtype=torch.float64)
    for kind in REFERENCES:
        assert torch.autograd.gradcheck(lambda p, kind=kind: regression_loss(p, targets, kind=kind), (scores,))


def test_regression_gives_unrated_clips_no_gradient():
    scores = torch.tensor([[math.inf, 2.0]], requires_grad=True)
    regression_loss(scores, torch.tensor([[NAN, 1.0]])).backward()
    assert scores.grad.tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("hook", ["on_fit_start", "on_validation_start"])
def test_regression_in_standardised_space_divides_by_the_scale_of_the_head(make_step, make_module, hook):
    module, objective = make_module(AXES), Regression(space="standardised", axis_reduction="sum")
    getattr(objective, hook)(None, module)
    module.head.fit_scale(torch.zeros(2), torch.tensor([0.5, 2.0]))
    # Errors 1 and 2 over scales 0.5 and 2: squares 4 and 1.
    assert objective.loss(*make_step([[2.0, 3.0]], [[1.0, 1.0]])).item() == pytest.approx(5.0)


def test_regression_in_standardised_space_refuses_to_work_before_a_fit_starts(make_step):
    with pytest.raises(ValueError, match="Regression with space='standardised' needs the head's scale"):
        Regression(space="standardised").loss(*make_step([[1.0]], [[1.0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "rmse"}, "kind must be 'mse', 'mae', 'huber' or 'mse\\+mae', got 'rmse'"),
        ({"space": "log"}, "space must be 'points' or 'standardised', got 'log'"),
        ({"delta": 0.0}, "delta must be above 0, got 0.0"),
        ({"axis_reduction": "max"}, "axis_reduction must be 'sum' or 'mean', got 'max'"),
    ],
)
def test_regression_refuses_options_it_does_not_know(options, message):
    with pytest.raises(ValueError, match=message):
        Regression(**options)


def test_regression_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"one shape \(B, A\), got \(2, 1\) and \(2,\)"):
        regression_loss(torch.zeros(2, 1), torch.zeros(2))
