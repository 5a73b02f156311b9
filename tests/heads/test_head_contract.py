"""What every head promises; a class of the package that VARIANTS does not list is tested as it builds by default."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import pytest
import torch

import lightning_aqa.heads
from lightning_aqa.batch import Axis, Features, Output, Reads
from lightning_aqa.heads.aesa_net import AESANet
from lightning_aqa.heads.audiobox import Audiobox
from lightning_aqa.heads.base import Head
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
WITHOUT_TEXT: dict[type[Head], dict[str, Any]] = {CrossAttention: {"text_axes": []}}
"""What a head whose purpose is the text has to be told where there is none."""
AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5), Axis("PQ", "Quality", 0, 10)]
LENGTHS = torch.tensor([40, 1, 13, 40, 2, 25, 7, 39])
WIDTH, LAYERS, TEXT_WIDTH = 12, 3, 5


def _class_of(build: Build) -> object:
    return build.func if isinstance(build, partial) else build


def _bare(cls: type[Head], axes: Sequence[Axis] = AXES) -> Head:
    """Build a head for an encoder without a text side."""
    return cls(WIDTH, LAYERS, axes, **WITHOUT_TEXT.get(cls, {}))


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


@pytest.fixture(params=BUILDS, ids=_name)
def head(request: pytest.FixtureRequest) -> Head:
    torch.manual_seed(0)
    built: Head = request.param(WIDTH, LAYERS, AXES, TEXT_WIDTH)
    built.fit_scale(torch.tensor([2.5, 3.0, 7.0]), torch.tensor([0.5, 1.0, 2.0]))
    with torch.no_grad():  # away from the start, where layers of zeros would hide what lies below them
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return built.eval()


def _features() -> Features:
    generator = torch.Generator().manual_seed(1)
    frame_mask = torch.arange(40) < LENGTHS[:, None]
    text_mask = torch.arange(6) < torch.tensor([6, 1, 3, 4, 2, 6, 5, 1])[:, None]
    layers = torch.randn(8, LAYERS, 40, WIDTH, generator=generator).masked_fill(~frame_mask[:, None, :, None], 0.0)
    text = torch.randn(8, 6, TEXT_WIDTH, generator=generator).masked_fill(~text_mask[..., None], 0.0)
    return Features(layers, frame_mask, text, text_mask)


def _rows(features: Features, rows: torch.Tensor, frames: int = 40) -> Features:
    assert features.text is not None
    assert features.text_mask is not None
    layers, mask = features.layers[rows, :, :frames], features.frame_mask[rows, :frames]
    return Features(layers, mask, features.text[rows], features.text_mask[rows])


def _assert_same(one: Output, other: Output) -> None:
    torch.testing.assert_close(one.scores, other.scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.embedding, other.embedding, atol=1e-5, rtol=0)
    for name in ("logits", "deviation"):
        if getattr(one, name) is not None and getattr(other, name) is not None:
            torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=1e-5)


def test_a_head_that_computes_states_what_it_reads(head):
    assert head.reads in get_args(Reads)
    assert head.states_reads() or head.reads == "frames"


def test_scores_and_embedding_have_the_promised_shapes(head):
    output = head(_features())
    assert output.scores.shape == (8, 3)
    assert output.embedding.shape[0] == 8
    assert output.embedding.ndim == 2
    if output.frame_scores is not None:
        assert output.frame_scores.shape == (8, 40, 3)
        assert torch.equal(output.frame_mask, _features().frame_mask)
    if output.logits is not None:
        assert output.logits.shape[:2] == output.deviation.shape == (8, 3)


def test_a_head_without_text_needs_none(head):
    assert _bare(type(head))(Features(*_features()[:2])).scores.shape == (8, 3)


def test_a_clip_does_not_depend_on_its_batch_mates_or_on_padding(head):
    features = _features()
    together = head(features)
    for index, length in enumerate(LENGTHS.tolist()):
        alone = head(_rows(features, torch.tensor([index]), length))
        row = {name: field[index : index + 1] for name, field in together._asdict().items() if field is not None}
        _assert_same(alone, Output(**row))
        if together.frame_scores is not None:
            frame_scores = together.frame_scores[index : index + 1, :length]
            torch.testing.assert_close(alone.frame_scores, frame_scores, atol=1e-5, rtol=0)
            assert not together.frame_scores[index, length:].any()


def test_permuting_the_batch_permutes_the_output(head):
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    expected = head(_features())
    _assert_same(head(_rows(_features(), order)), Output(expected.scores[order], expected.embedding[order]))


def test_evaluation_without_gradients_gives_the_same_scores(head):
    with torch.inference_mode():
        found = head(_features())
    _assert_same(found, head(_features()))


def test_every_parameter_receives_a_gradient(head):
    output = head.train()(_features())
    weights = torch.randn(output.scores.shape, generator=torch.Generator().manual_seed(2))
    (output.scores * weights).sum().backward()
    grads = {name: parameter.grad for name, parameter in head.named_parameters() if parameter.numel()}
    assert [name for name, grad in grads.items() if grad is None or not grad.any() or not grad.isfinite().all()] == []


def test_gradient_into_the_features_is_finite_for_silence_and_one_frame(head):
    layers = torch.zeros(2, LAYERS, 3, WIDTH, requires_grad=True)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    text, text_mask = torch.zeros(2, 1, TEXT_WIDTH), torch.ones(2, 1, dtype=torch.bool)
    output = head(Features(layers, mask, text, text_mask))
    (output.scores.sum() + output.embedding.square().sum()).backward()
    assert output.scores.isfinite().all()
    assert layers.grad.isfinite().all()


def test_scores_are_float32_and_close_under_bf16_autocast(head):
    exact = head(_features())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(_features())
    assert output.scores.dtype == output.embedding.dtype == torch.float32
    assert (output.scores - exact.scores).abs().max() < 0.05


def test_the_last_layer_runs_in_float32_under_bf16_autocast(head):
    called = []

    def look(layer, inputs):
        called.append((inputs[0].dtype, torch.is_autocast_enabled("cpu")))

    for layer in head.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_pre_hook(look)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        head(_features())
    assert called[-1] == (torch.float32, False)


def test_scale_of_the_training_scores_travels_in_the_checkpoint(head):
    fresh = _bare(type(head))
    fresh.fit_scale(head.location_A, head.scale_A)
    other = _bare(type(head))
    other.load_state_dict(fresh.state_dict())
    features = Features(*_features()[:2])
    _assert_same(other.eval()(features), fresh.eval()(features))


@pytest.mark.parametrize("cls", sorted(_head_classes(), key=lambda cls: cls.__name__))
def test_a_fresh_head_learns_to_tell_high_from_low(cls):
    torch.manual_seed(0)
    head, features = _bare(cls, AXES[:1]), Features(*_features()[:2])
    target_B1 = torch.where(torch.arange(8)[:, None] % 2 == 0, 1.5, 4.5)
    shift_B1 = target_B1 - 3.0  # of either sign, since a head may normalise the length of what it reads away
    features = features._replace(layers=features.layers + shift_B1[:, :, None, None])
    head.fit_scale(target_B1.mean(dim=0), target_B1.std(dim=0))
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        losses.append((head(features).scores - target_B1).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
