"""What holds for every objective of the package, found by importing it."""

import importlib
import inspect
import math
import pkgutil
from pathlib import Path

import pytest
import torch

from lightning_aqa import objectives
from lightning_aqa.batch import Axis
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
ON_SCORES = [param for param in CLASSES if param.values[0].reads_scores_alone]


@pytest.fixture
def step_of(make_step):
    def make(targets):
        count = len(targets)
        generator = torch.Generator().manual_seed(0)
        frames = torch.rand(count, 4, 2, generator=generator, requires_grad=True)
        logits = torch.rand(count, 2, 5, generator=generator, requires_grad=True)
        mask = torch.ones(count, 4, dtype=torch.bool)
        scores, embedding = torch.rand(count, 2, generator=generator), torch.rand(count, 3, generator=generator)
        deviation = (0.5 + torch.rand(count, 2, generator=generator)).requires_grad_()
        return make_step(scores, targets, embedding, frames, mask, logits, deviation)

    return make


@pytest.fixture(params=CLASSES)
def objective(request, make_module):
    """One of each, as it is once a fit has started."""
    built = request.param()
    built.on_fit_start(None, make_module([Axis("MI", "Musical impression", 1, 5), Axis("PQ", "Quality", 0, 10)]))
    return built


def test_the_objectives_of_the_package_are_found():
    names = {param.id for param in CLASSES}
    assert names >= {"Coral", "FrameScores", "MarginRanking", "QAMRO", "Regression", "SoftOrdinal", "Triplet"}
    assert names >= {"CCC", "Contrastive", "GaussianNLL", "ListMLE", "ListNet", "SoftSpearman"}


def test_every_objective_has_its_flag_in_the_docs():
    flags = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text().replace("`", " ").split()
    named = {flag.partition("=")[2] for flag in flags if flag.startswith("--objectives.")}
    assert {param.id for param in CLASSES} <= named


@pytest.mark.parametrize("targets", [pytest.param(values, id=name) for name, values in TARGETS.items()])
def test_objective_gives_a_finite_scalar_that_backpropagates(objective, step_of, targets):
    output, batch = step_of(targets)
    loss = objective.loss(output, batch)
    loss.backward()
    given = output._asdict()
    read = {name for name, tensor in given.items() if tensor.grad is not None}
    assert loss.shape == ()
    assert loss.isfinite()
    assert len(read - {"scores"}) == (not objective.reads_scores_alone)
    assert all(given[name].grad.isfinite().all() for name in read)


@pytest.mark.parametrize("objective", ON_SCORES, indirect=True)
def test_objective_on_scores_sees_neither_the_order_of_clips_nor_the_unrated(objective, make_step):
    scores, targets = [[2.0, 1.0], [1.0, 3.0], [2.5, 4.0]], [[1.0, 2.0], [3.0, NAN], [4.0, 3.0]]
    more = [[math.inf, NAN], *scores[::-1]], [[NAN, NAN], *targets[::-1]]
    alone, (output, batch) = objective.loss(*make_step(scores, targets)), make_step(*more)
    among = objective.loss(output, batch)
    among.backward()
    torch.testing.assert_close(among, alone)
    assert (output.scores.grad[batch.scores.isnan()] == 0).all()


def test_objective_of_half_precision_is_computed_in_float32(objective, step_of):
    exact = objective.loss(*step_of(TARGETS["rated"]))
    output, batch = step_of(TARGETS["rated"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(objective.loss(output, batch), exact)
    half = output._replace(scores=output.scores.bfloat16())
    assert objective.loss(half, batch).dtype == torch.float32


@pytest.mark.parametrize("objective", ON_SCORES, indirect=True)
def test_objective_shows_a_score_that_is_not_a_number(objective, make_step):
    scores, targets = [[NAN, 1.0], [1.0, 3.0], [2.5, 4.0]], [[1.0, 2.0], [3.0, 1.0], [4.0, 3.0]]
    assert objective.loss(*make_step(scores, targets)).isnan()


def test_objective_is_zero_where_nobody_is_rated(objective, step_of):
    assert objective.loss(*step_of(TARGETS["nobody rated"])).item() == 0


@pytest.mark.parametrize("objective_class", CLASSES)
def test_objective_refuses_a_negative_weight(objective_class):
    with pytest.raises(ValueError, match="weight must be a number of at least 0, got -1"):
        objective_class(weight=-1.0)


@pytest.mark.parametrize("objective_class", CLASSES)
def test_objective_state_is_saved_under_its_name(objective_class):
    objective = objective_class()
    objective.name = "mine"
    assert objective.state_key == f"{objective_class.__name__}[mine]"
