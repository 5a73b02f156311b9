"""Packed weights give what torch gives, are used where that is allowed, and never outlive a change or their model."""

import copy
import gc
import threading
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_aqa.encoders import cpu
from lightning_aqa.encoders.cpu import can_pack, packed, product, same_convolution, side_by_side
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
from lightning_aqa.encoders.wav2vec_convolutions import packed_convolution

pytestmark = pytest.mark.skipif(not cpu.is_available(torch.float32), reason="this torch has no packed products")


def _frozen(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("shape", [(12,), (1, 12), (5, 12), (2, 70, 12), (0, 12)])
@pytest.mark.parametrize("bias", [None, torch.arange(7.0)])
@pytest.mark.parametrize("gelu", [False, True])
def test_a_product_is_that_of_a_linear_layer(shape, bias, gelu):
    rows, weight = torch.randn(shape), _frozen(7, 12)
    wanted = F.linear(rows, weight, bias)
    torch.testing.assert_close(product(rows, weight, bias, gelu=gelu), F.gelu(wanted) if gelu else wanted)


def test_a_product_in_bfloat16_is_that_of_a_linear_layer():
    rows, weight, bias = (tensor.bfloat16() for tensor in (torch.randn(9, 12), _frozen(7, 12), torch.randn(7)))
    torch.testing.assert_close(product(rows, weight, bias), F.linear(rows, weight, bias))


@pytest.mark.parametrize(("kernel", "stride", "width"), [(3, 2, 4), (10, 5, 1), (2, 2, 3)])
def test_a_convolution_of_rows_that_overlap(kernel, stride, width):
    rows, weight, bias = torch.randn(kernel + 6 * stride, width), _frozen(5, width, kernel), torch.randn(5)
    found = packed_convolution(rows, weight, bias, stride, gelu=True)
    torch.testing.assert_close(found, F.gelu(F.conv1d(rows.T, weight, bias, stride)).T)


@pytest.mark.parametrize("kernel", [16, 7])
@pytest.mark.parametrize("num_rows", [1, 5, 40])
def test_a_grouped_convolution_keeps_the_number_of_rows(kernel, num_rows):
    conv = nn.Conv1d(8, 8, kernel, padding=kernel // 2, groups=2).requires_grad_(False)
    rows = torch.randn(2, num_rows, 8)
    for _ in range(2):
        wanted = conv(rows.transpose(1, 2))[..., :num_rows].transpose(1, 2)
        torch.testing.assert_close(same_convolution(rows, conv), wanted)
        torch.testing.assert_close(same_convolution(rows, conv, gelu=True), F.gelu(wanted))
        conv.bias.zero_()
        conv.weight.mul_(2.0)


CHANGES = {
    "in place": lambda layer: layer.weight.mul_(2.0),
    "behind autograd": lambda layer: layer.weight.data.add_(1.0),
    "other storage": lambda layer: setattr(layer.weight, "data", layer.weight.data * 2),
    "state dict": lambda layer: layer.load_state_dict({"weight": layer.weight * 2, "bias": layer.bias}),
    "dtype": lambda layer: layer.bfloat16(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_that_changes_is_packed_anew(change):
    layer, rows = nn.Linear(12, 7).requires_grad_(False), torch.randn(5, 12)
    with packed():
        layer(rows)
    CHANGES[change](layer)
    rows = rows.to(layer.weight.dtype)
    with packed():
        found = layer(rows)
    torch.testing.assert_close(found, F.linear(rows, layer.weight, layer.bias))


def test_what_is_packed_goes_with_its_weight():
    gc.collect()
    before = len(cpu._packs)
    layer = nn.Linear(12, 7).requires_grad_(False)
    with packed():
        layer(torch.randn(5, 12))
        copied = copy.deepcopy(layer)
        assert len(cpu._packs) == before + 1
        copied(torch.randn(5, 12))
        assert len(cpu._packs) == before + 2
    assert list(layer.state_dict()) == ["weight", "bias"]
    del layer, copied
    gc.collect()
    assert len(cpu._packs) == before


def test_weights_that_are_trained_and_rows_that_want_a_gradient_are_left_to_torch():
    rows, frozen = torch.randn(5, 12), _frozen(7, 12)
    assert not can_pack(rows, frozen)
    with packed():
        _assert_allowed_for_frozen_alone(rows, frozen)
    assert not can_pack(rows.detach(), frozen)


def _assert_allowed_for_frozen_alone(rows, frozen):
    assert can_pack(rows, frozen)
    assert not can_pack(rows, nn.Parameter(frozen))
    assert not can_pack(rows.double(), frozen.double())
    assert not can_pack(rows, frozen.bfloat16())
    assert not can_pack(rows.requires_grad_(), frozen)
    with torch.no_grad():
        assert can_pack(rows, frozen)
        assert not can_pack(rows, nn.Parameter(frozen))  # an optimizer or an average may write to it behind our back
        with torch.autocast("cpu", torch.bfloat16):
            assert not can_pack(rows, frozen)


def test_a_bias_that_is_trained_over_a_frozen_weight_gets_its_gradient():
    layer, rows = nn.Linear(12, 7), torch.randn(5, 12)
    layer.weight.requires_grad_(False)
    with packed():
        layer(rows).sum().backward()
    assert layer.bias.grad.tolist() == [5.0] * 7


def test_each_type_of_numbers_is_tried_by_itself(monkeypatch):
    kept = cpu._multiply

    def only_float32(rows, laid_out, bias, *, gelu):
        if rows.dtype == torch.bfloat16:
            raise RuntimeError("bf16 path needs the cpu support avx512")
        return kept(rows, laid_out, bias, gelu=gelu)

    monkeypatch.setattr(cpu, "_multiply", only_float32)
    cpu.is_available.cache_clear()
    try:
        assert cpu.is_available(torch.float32)
        layer, rows = nn.Linear(12, 7).requires_grad_(False).bfloat16(), torch.randn(5, 12).bfloat16()
        with packed():
            assert torch.equal(layer(rows), F.linear(rows, layer.weight, layer.bias))
    finally:
        cpu.is_available.cache_clear()


def test_a_frozen_encoder_packs_and_a_trained_one_does_not(monkeypatch):
    encoder, used = MelSpectrogram(width=16, depth=1).eval(), []
    waveform, num_samples = torch.randn(2, 16000), torch.tensor([16000, 9000])
    kept = cpu.product
    monkeypatch.setattr(cpu, "product", lambda *given: used.append(1) or kept(*given))
    with packed():
        trained = encoder(waveform, num_samples)
    encoder.requires_grad_(False)(waveform, num_samples)
    assert used == []
    with packed():
        frozen = encoder(waveform, num_samples)
        assert len(used) >= 4
        torch.testing.assert_close(frozen.layers, trained.layers)
        waveform.requires_grad_()
        encoder(waveform, num_samples).layers.square().sum().backward()
    assert waveform.grad.abs().max() > 0


def test_without_the_operators_torch_multiplies(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    cpu.is_available.cache_clear()
    try:
        layer, rows = nn.Linear(12, 7).requires_grad_(False), torch.randn(5, 12)
        with packed():
            assert not can_pack(rows, layer.weight)
            assert torch.equal(layer(rows), F.linear(rows, layer.weight, layer.bias))
    finally:
        cpu.is_available.cache_clear()


# Clips side by side


@pytest.fixture
def threads():
    """Let torch have a number of threads, for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("num_tasks", [0, 1, 2, 3, 7])
def test_each_task_is_done_once_on_its_share_of_the_threads(threads, num_threads, num_tasks):
    threads(num_threads)
    done = []
    with torch.inference_mode(), packed():
        side_by_side(
            lambda task: done.append((task, torch.get_num_threads(), torch.is_inference_mode_enabled())),
            range(num_tasks),
            torch.device("cpu"),
        )
    at_once = max(1, min(num_threads, num_tasks))
    apart = num_tasks // at_once * at_once if at_once > 1 else 0
    shares = [num_threads // at_once] * apart + [num_threads] * (num_tasks - apart)
    assert sorted(done) == [(task, share, True) for task, share in enumerate(shares)]
    assert torch.get_num_threads() == num_threads


def test_where_a_gradient_is_wanted_one_comes_after_the_other(threads):
    threads(2)
    done = []
    with packed():
        side_by_side(lambda task: done.append((task, torch.get_num_threads())), range(4), torch.device("cpu"))
    assert done == [(task, 2) for task in range(4)]


def test_outside_of_packed_one_comes_after_the_other(threads):
    threads(2)
    done, here = [], threading.get_ident()
    with torch.inference_mode():
        side_by_side(lambda task: done.append((task, threading.get_ident())), range(4), torch.device("cpu"))
    assert done == [(task, here) for task in range(4)]


def test_threads_of_the_tasks_pack_too_and_other_threads_do_not(threads):
    threads(2)
    rows, frozen, inside, outside = torch.randn(5, 12), _frozen(7, 12), [], []
    with torch.no_grad(), packed():
        side_by_side(lambda task: inside.append(can_pack(rows, frozen)), range(4), torch.device("cpu"))
        other = threading.Thread(target=lambda: outside.append(can_pack(rows, frozen)))
        other.start()
        other.join()
    assert (inside, outside) == ([True] * 4, [False])


def test_an_error_of_a_task_is_raised(threads):
    threads(2)

    def fail(task):
        raise ValueError(f"task {task}")

    with torch.no_grad(), packed(), pytest.raises(ValueError, match="task 0"):
        side_by_side(fail, range(4), torch.device("cpu"))
    counts = []
    later = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert counts == [2]
