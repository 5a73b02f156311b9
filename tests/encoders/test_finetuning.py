"""One freezing policy for all encoders: what is trained, what is in which mode, and what is told of a wrong number."""

import pytest
import torch

from lightning_aqa.batch import Axis
from lightning_aqa.encoders.audiobox import AudioboxAesthetics
from lightning_aqa.encoders.beats import BEATs
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.encoders.descriptors import Descriptors
from lightning_aqa.encoders.finetuning import LoRA, freeze
from lightning_aqa.encoders.huggingface import Hub
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.module import AQAModule

AXES = [Axis("MI", "Musical impression", 1, 5)]
BUILD = {
    "audiobox": lambda folder: AudioboxAesthetics(str(folder / "checkpoint.pt"), str(folder / "wavlm.json")),
    "beats": lambda folder: BEATs(str(folder / "finetuned.pt")),
    "clap": lambda folder: CLAP(str(folder / "clap.pt"), text=False),
    "hub": lambda folder: Hub(str(folder)),
    "melspectrogram": lambda folder: MelSpectrogram(width=16, depth=2),
}


@pytest.fixture(params=BUILD)
def encoder(request):
    torch.manual_seed(0)
    folder = None if request.param == "melspectrogram" else request.getfixturevalue(f"{request.param}_folder")
    return BUILD[request.param](folder)


def _trained(part):
    return {name for name, parameter in part.named_parameters() if parameter.requires_grad}


def _clip(encoder):
    waveform = 0.1 * torch.randn(1, encoder.sample_rate // 2, generator=torch.Generator().manual_seed(1))
    return waveform, torch.tensor([waveform.shape[1]])


def test_none_leaves_what_the_encoder_trains_and_all_nothing(encoder):
    before = _trained(encoder)
    freeze(encoder, "none")
    assert _trained(encoder) == before
    freeze(encoder, "all")
    assert _trained(encoder) == set()


def test_zero_layers_are_none(encoder):
    before = _trained(encoder)
    freeze(encoder, 0)
    assert _trained(encoder) == before


def test_the_first_layers_freeze_with_all_before_them(encoder):
    before, layers = _trained(encoder), encoder.layers_in_order()
    freeze(encoder, len(layers) - 1)
    assert _trained(layers[-1])
    assert not any(_trained(layer) for layer in layers[:-1])
    after = {id(p) for part in [layers[-1], *encoder.parts_after_layers()] for p in part.parameters()}
    assert {id(p) for p in encoder.parameters() if p.requires_grad} <= after
    assert _trained(encoder) < before


def test_what_comes_from_below_the_frozen_layers_has_no_graph(encoder):
    freeze(encoder, 1)
    states = []
    layers = encoder.layers_in_order()
    layers[0].register_forward_hook(lambda module, given, made: states.append(made))
    encoder(*_clip(encoder)).layers.sum().backward()
    assert all(parameter.grad is None for parameter in layers[0].parameters())
    assert any(parameter.grad is not None for parameter in layers[1].parameters())


def test_too_many_layers_are_refused(encoder):
    number = len(encoder.layers_in_order())
    with pytest.raises(ValueError, match=f"has {number} layers, so its first {number + 1} cannot be frozen"):
        freeze(encoder, number + 1)
    for wrong in (-1, True):
        with pytest.raises(ValueError, match=f"none, all, lora or a number of layers from 0, got {wrong}"):
            freeze(encoder, wrong)


def test_an_encoder_without_layers_says_so():
    with pytest.raises(ValueError, match="Descriptors has 0 layers"):
        freeze(Descriptors(), 1)


def test_adapters_start_as_nothing_and_are_all_that_is_trained(encoder):
    pytest.importorskip("peft", reason="needs peft, which is not installed here")
    clip = _clip(encoder)
    before = encoder.eval()(*clip).layers.detach()
    freeze(encoder, "lora", LoRA(rank=2))
    assert _trained(encoder)
    assert all("lora_" in name for name in _trained(encoder))
    torch.testing.assert_close(encoder(*clip).layers, before, atol=1e-5, rtol=0)
    weight = torch.randn(before.shape, generator=torch.Generator().manual_seed(2))
    (encoder(*clip).layers * weight).sum().backward()
    assert all(p.grad.any() for name, p in encoder.named_parameters() if "lora_B" in name)


def test_adapters_for_no_layer_name_those_there_are(encoder):
    pytest.importorskip("peft", reason="needs peft, which is not installed here")
    with pytest.raises(ValueError, match=r"no linear layer named nothing to adapt; its linear layers are .*\w"):
        freeze(encoder, "lora", LoRA(targets=["nothing"]))


def test_beside_adapters_everything_stays_in_eval_mode(encoder):
    pytest.importorskip("peft", reason="needs peft, which is not installed here")
    module = AQAModule(AXES, encoder, freeze="lora", lora=LoRA(rank=2, dropout=0.5))
    modes = {name: part.training for name, part in module.train().encoder.named_modules()}
    assert {mode for name, mode in modes.items() if "lora_dropout" in name} == {True}
    assert {mode for name, mode in modes.items() if "lora_" not in name} == {False}
    assert not any(part.training for part in module.eval().modules())


def test_frozen_layers_are_in_eval_mode_and_trained_ones_not():
    encoder = MelSpectrogram(width=16, depth=2)
    module = AQAModule(AXES, encoder, freeze=1).train()
    assert not any(part.training for part in [encoder.mel, encoder.dropout, *encoder.blocks[0].modules()])
    assert all(part.training for part in encoder.blocks[1].modules())
    assert all(part.training for part in module.head.modules())
