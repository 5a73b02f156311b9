"""What every encoder promises; a class of the package that VARIANTS does not list is tested as it builds by default."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_origin

import pytest
import torch

import lightning_aqa.encoders
from lightning_aqa.encoders.audiobox import AudioboxAesthetics
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.beats import BEATs
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.encoders.concat import Concat
from lightning_aqa.encoders.contract import CHECKS
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.exported import ONNX, TorchScript
from lightning_aqa.encoders.huggingface import Hub
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.encoders.muq import MuQ
from lightning_aqa.encoders.nisqa import NISQA
from lightning_aqa.encoders.text import TextEncoder

VARIANTS: list[Callable[[], Encoder]] = [
    Descriptors,
    partial(Descriptors, sample_rate=8000, num_mels=20, num_mfcc=8, hop_seconds=0.02),
    partial(MelSpectrogram, width=32, depth=2),
    partial(MelSpectrogram, width=32, depth=2, kind="conv"),
]
NEEDING: dict[type[Encoder], Callable[[pytest.FixtureRequest], Encoder]] = {
    AudioboxAesthetics: lambda request: _audiobox(request.getfixturevalue("audiobox_folder")),
    BEATs: lambda request: BEATs(str(request.getfixturevalue("beats_folder") / "pretrained.pt")),
    CLAP: lambda request: CLAP(str(request.getfixturevalue("clap_folder") / "clap.pt"), text=False),
    Concat: lambda request: Concat([MelSpectrogram(width=32, depth=2), Descriptors(), MelSpectrogram(24000, width=16)]),
    Hub: lambda request: Hub(str(request.getfixturevalue("hub_folder"))),
    MuQ: lambda request: MuQ(str(request.getfixturevalue("muq_folder"))),
    NISQA: lambda request: NISQA(str(request.getfixturevalue("nisqa_folder"))),
    ONNX: lambda request: _onnx(request.getfixturevalue("exported_folder")),
    TorchScript: lambda request: _torchscript(request.getfixturevalue("exported_folder")),
}
"""How to build those that need weights, from the small ones that fixtures write, or other encoders."""


def _audiobox(folder: Path) -> Encoder:
    return AudioboxAesthetics(str(folder / "checkpoint.pt"), str(folder / "wavlm.json"))


def _onnx(folder: Path) -> Encoder:
    pytest.importorskip("onnxruntime")
    return ONNX(str(folder / "model.onnx"))


def _torchscript(folder: Path) -> Encoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTNING_AQA_TORCHSCRIPT", "1")
        return TorchScript(str(folder / "model.pt"), input_axes=3)


def _encoder_classes() -> set[type[Encoder]]:
    package = lightning_aqa.encoders
    names = [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    members = [member for module in modules for _, member in inspect.getmembers(module, inspect.isclass)]
    classes = [member for member in members if get_origin(member) is None]  # to Python 3.10 list[int] is a class
    encoders = {member for member in classes if issubclass(member, Encoder) and not inspect.isabstract(member)}
    return encoders - {TextEncoder}  # it reads no audio


def _class_of(build: Callable[[], Encoder]) -> object:
    return build.func if isinstance(build, partial) else build


def _name(build: Callable[[], Encoder]) -> str:
    options = build.keywords if isinstance(build, partial) else {}
    return "-".join([getattr(_class_of(build), "__name__", ""), *map(str, options.values())])


LISTED = {_class_of(build) for build in VARIANTS} | NEEDING.keys()
BUILDS = [*VARIANTS, *NEEDING, *sorted(_encoder_classes() - LISTED, key=lambda cls: cls.__name__)]


@pytest.mark.parametrize("which", BUILDS, ids=_name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_encoder_keeps_its_promises(check, which, request):
    def build():
        torch.manual_seed(0)
        return NEEDING[which](request) if which in NEEDING else which()

    check(build)
