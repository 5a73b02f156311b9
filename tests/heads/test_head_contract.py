"""What every head promises; a class of the package that VARIANTS does not list is tested as it builds by default."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial

import pytest

import lightning_aqa.heads
from lightning_aqa.batch import Axis
from lightning_aqa.heads.aesa_net import AESANet
from lightning_aqa.heads.audiobox import Audiobox
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.contract import CHECKS
from lightning_aqa.heads.cross_attention import CrossAttention
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.heads.ordinal import Ordinal
from lightning_aqa.heads.ready_scores import ReadyScores

Build = Callable[[int, int, Sequence[Axis], int | None], Head]

VARIANTS: list[Build] = [
    MLP,
    partial(MLP, hidden=[], pooling="mean"),
    partial(MLP, hidden=[8, 6], pooling="attention", trunk="per_axis"),
    partial(MLP, use_text=False, normalise=False),
    partial(MLP, trunk="per_axis", deviation=True),
    AESANet,
    partial(AESANet, adapter_width=6, lstm_width=5, shared_width=9, num_heads=3),
    Audiobox,
    partial(Audiobox, config={"proj_num_layer": 3, "proj_ln": True, "normalize_embed": False}),
    CrossAttention,
    partial(CrossAttention, text_axes=["PQ", "MI", "TA"], attention_width=6, num_heads=3, hidden=5),
    partial(CrossAttention, text_axes=[]),
    Ordinal,
    partial(Ordinal, kind="coral", num_bins=6, pooling="attention", hidden=[8]),
]


def _class_of(build: Build) -> object:
    return build.func if isinstance(build, partial) else build


def _name(build: Build) -> str:
    options = build.keywords if isinstance(build, partial) else {}
    return "-".join([getattr(_class_of(build), "__name__", ""), *map(str, options.values())])


def _head_classes() -> set[type[Head]]:
    package = lightning_aqa.heads
    names = [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    members = [member for module in modules for _, member in inspect.getmembers(module, inspect.isclass)]
    found = {member for member in members if issubclass(member, Head) and not inspect.isabstract(member)}
    return found - {ReadyScores}  # it has nothing to train, and as many axes as the encoder is wide


LISTED = {_class_of(build) for build in VARIANTS}
BUILDS = [*VARIANTS, *sorted(_head_classes() - LISTED, key=lambda cls: cls.__name__)]


@pytest.mark.parametrize("build", BUILDS, ids=_name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_head_keeps_its_promises(check, build):
    check(build)
