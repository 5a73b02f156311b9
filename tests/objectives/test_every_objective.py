"""What holds for every objective of the package, found by importing it."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

from lightning_aqa import objectives
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.contract import CHECKS


def concrete_objectives():
    for module in pkgutil.iter_modules(objectives.__path__, f"{objectives.__name__}."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = found.__module__ == module.name
            if own and issubclass(found, Objective) and not inspect.isabstract(found):
                yield pytest.param(found, id=found.__name__)


CLASSES = list(concrete_objectives())


def test_the_objectives_of_the_package_are_found():
    names = {param.id for param in CLASSES}
    assert names >= {"Coral", "FrameScores", "MarginRanking", "QAMRO", "Regression", "SoftOrdinal", "Triplet"}
    assert names >= {"CCC", "Contrastive", "GaussianNLL", "ListMLE", "ListNet", "SoftSpearman"}


def test_every_objective_has_its_flag_in_the_docs():
    flags = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text().replace("`", " ").split()
    named = {flag.partition("=")[2] for flag in flags if flag.startswith("--objectives.")}
    assert {param.id for param in CLASSES} <= named


@pytest.mark.parametrize("objective_class", CLASSES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_objective_keeps_its_promises(check, objective_class):
    check(objective_class)


@pytest.mark.parametrize("objective_class", CLASSES)
def test_objective_refuses_a_negative_weight(objective_class):
    with pytest.raises(ValueError, match="weight must be a number of at least 0, got -1"):
        objective_class(weight=-1.0)
