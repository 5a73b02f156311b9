"""What holds for every objective of the package, found by importing it."""

import importlib
import inspect
import math
import pkgutil

import pytest
import torch

from lightning_aqa import objectives
from lightning_aqa.objectives.base import Objective

NAN = math.nan
TARGETS = {
    "rated": [[1.0, 4.0], [3.0, 2.0], [5.0, 3.0]],
    "one clip": [[3.0, 2.0]],
    "all ties": [[3.0, 2.0], [3.0, 2.0]],
    "some unrated": [[1.0, NAN], [NAN, NAN], [3.0, 2.0]],
    "an axis unrated": [[1.0, NAN], [2.0, NAN]],
    "nobody rated": [[NAN, NAN], [NAN, NAN]],
}


def concrete_objectives():
    for module in pkgutil.iter_modules(objectives.__path__, f"{objectives.__name__}."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = found.__module__ == module.name
            if own and issubclass(found, Objective) and not inspect.isabstract(found):
                yield pytest.param(found, id=found.__name__)


CLASSES = list(concrete_objectives())


@pytest.fixture
def step_of(make_step):
    def make(targets):
        count = len(targets)
        generator = torch.Generator().manual_seed(0)
        frames = torch.rand(count, 4, 2, generator=generator, requires_grad=True)
        mask = torch.ones(count, 4, dtype=torch.bool)
        return make_step(
            torch.rand(count, 2, generator=generator), targets, torch.rand(count, 3, generator=generator), frames, mask
        )

    return make


def test_the_objectives_of_the_package_are_found():
    names = {param.id for param in CLASSES}
    assert names >= {"FrameScores", "MarginRanking", "QAMRO", "Regression", "Triplet"}


@pytest.mark.parametrize("targets", [pytest.param(values, id=name) for name, values in TARGETS.items()])
@pytest.mark.parametrize("objective_class", CLASSES)
def test_objective_gives_a_finite_scalar_that_backpropagates(objective_class, step_of, targets):
    output, batch = step_of(targets)
    loss = objective_class().loss(output, batch)
    loss.backward()
    read = [tensor for tensor in (output.scores, output.embedding, output.frame_scores) if tensor.grad is not None]
    assert loss.shape == ()
    assert loss.isfinite()
    assert len(read) == 1
    assert read[0].grad.isfinite().all()


@pytest.mark.parametrize("objective_class", CLASSES)
def test_objective_is_zero_where_nobody_is_rated(objective_class, step_of):
    assert objective_class().loss(*step_of(TARGETS["nobody rated"])).item() == 0


@pytest.mark.parametrize("objective_class", CLASSES)
def test_objective_refuses_a_negative_weight(objective_class):
    with pytest.raises(ValueError, match="weight must be a number of at least 0, got -1"):
        objective_class(weight=-1.0)


@pytest.mark.parametrize("objective_class", CLASSES)
def test_objective_state_is_saved_under_its_name(objective_class):
    objective = objective_class()
    objective.name = "mine"
    assert objective.state_key == f"{objective_class.__name__}[mine]"
