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
from lightning_aqa.batch import Features
from lightning_aqa.encoders.audiobox import AudioboxAesthetics
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.beats import BEATs
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.encoders.concat import Concat
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
SECONDS = [2.0, 0.05, 0.7, 1.0, 0.333, 1.999, 0.064, 1.5]


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


@pytest.fixture(params=BUILDS, ids=_name)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    built: Encoder = NEEDING[request.param](request) if request.param in NEEDING else request.param()
    return built.eval()


def _clips(encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    num_samples = torch.tensor([round(encoder.sample_rate * seconds) for seconds in SECONDS])
    waveform = 0.1 * torch.randn(len(SECONDS), int(num_samples.max()), generator=generator)
    return waveform * (torch.arange(waveform.shape[1]) < num_samples[:, None]), num_samples


def _assert_same(one: Features, other: Features) -> None:
    assert torch.equal(one.frame_mask, other.frame_mask)
    torch.testing.assert_close(one.layers, other.layers, atol=1e-5, rtol=0)


def test_layers_and_mask_have_the_promised_shapes(encoder):
    layers, mask, *_ = encoder(*_clips(encoder))
    assert layers.shape == (len(SECONDS), encoder.num_layers, mask.shape[1], encoder.width)
    assert layers.dtype == torch.float32
    assert mask.dtype == torch.bool
    assert mask.any(dim=1).all()
    assert mask[0].all()


def test_valid_frames_come_first_and_padded_frames_hold_zeros(encoder):
    layers, mask, *_ = encoder(*_clips(encoder))
    assert torch.equal(mask, mask.long().cummin(dim=1).values.bool())
    assert not layers.masked_select(~mask[:, None, :, None]).any()
    assert layers[:, :, 0].any(dim=-1).all()


def test_a_clip_does_not_depend_on_its_batch_mates_or_on_how_far_it_is_padded(encoder):
    waveform, num_samples = _clips(encoder)
    together = encoder(waveform, num_samples)
    for index, length in enumerate(num_samples.tolist()):
        alone = encoder(waveform[index : index + 1, :length], num_samples[index : index + 1])
        frames = alone.frame_mask.shape[1]
        assert alone.frame_mask.all()
        assert together.frame_mask[index].sum() == frames
        torch.testing.assert_close(together.layers[index, :, :frames], alone.layers[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("garbage", [5.0, torch.nan])
def test_a_clip_does_not_depend_on_what_the_padding_holds(encoder, garbage):
    waveform, num_samples = _clips(encoder)
    padding = torch.arange(waveform.shape[1]) >= num_samples[:, None]
    _assert_same(encoder(waveform.masked_fill(padding, garbage), num_samples), encoder(waveform, num_samples))


def test_permuting_the_batch_permutes_the_features(encoder):
    waveform, num_samples = _clips(encoder)
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    expected = encoder(waveform, num_samples)
    expected = Features(expected.layers[order], expected.frame_mask[order])
    _assert_same(encoder(waveform[order], num_samples[order]), expected)


def test_fifty_milliseconds_alone_give_a_frame(encoder):
    length = round(0.05 * encoder.sample_rate)
    layers, mask, *_ = encoder(0.1 * torch.ones(1, length), torch.tensor([length]))
    assert mask.shape[1] >= 1
    assert mask.all()
    assert layers.isfinite().all()


def test_silence_is_finite(encoder):
    layers = encoder(torch.zeros(2, encoder.sample_rate), torch.full((2,), encoder.sample_rate)).layers
    assert layers.isfinite().all()


def test_the_waveform_is_left_as_it_was(encoder):
    waveform, num_samples = _clips(encoder)
    before = waveform.clone()
    encoder(waveform, num_samples)
    assert torch.equal(waveform, before)


def test_every_parameter_receives_a_gradient(encoder):
    layers = encoder.train()(*_clips(encoder)).layers
    parameters = dict(encoder.named_parameters())
    if not parameters:
        assert not layers.requires_grad
        return
    (layers * torch.randn(layers.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    without = [
        name for name, p in parameters.items() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()
    ]
    assert without == []


def test_features_are_float32_under_bf16_autocast(encoder):
    waveform, num_samples = _clips(encoder)
    exact = encoder(waveform, num_samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layers, mask, *_ = encoder(waveform, num_samples)
    assert layers.dtype == torch.float32
    assert torch.equal(mask, exact.frame_mask)
    assert (layers - exact.layers).square().mean() < 1e-3 * exact.layers.square().mean()
