import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_aqa.encoders import wav2vec
from lightning_aqa.encoders.cpu import packed
from lightning_aqa.encoders.wav2vec import SpeechModel
from lightning_aqa.encoders.wav2vec_convolutions import (
    fold_group_norm,
    frames_of,
    rows_for,
    strided_convolution,
    tap_groups,
)

KERNELS, STRIDES = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
}


def _model(kind="WavLM", **sizes):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **sizes)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _noise(*sizes):
    generator = torch.Generator().manual_seed(1)
    return [0.1 * torch.randn(size, generator=generator) + 0.02 for size in sizes]


def _frames(sizes):
    return [frames_of(size, KERNELS, STRIDES) for size in sizes]


@pytest.mark.parametrize(("kernel", "stride", "inputs"), [(10, 5, 1), (3, 2, 6), (2, 2, 6), (5, 2, 3), (3, 3, 2)])
def test_strided_convolution_is_a_convolution(kernel, stride, inputs):
    rows, weight, bias = torch.randn(stride * 9, inputs), torch.randn(7, inputs, kernel), torch.randn(7)
    expected = F.conv1d(F.pad(rows.T, (0, kernel)), weight, bias, stride).T
    groups = tap_groups(weight, stride)
    found = strided_convolution(rows, groups, bias, stride)
    torch.testing.assert_close(found, expected[: len(found)], atol=1e-5, rtol=1e-5)
    without = strided_convolution(rows, groups, None, stride)
    torch.testing.assert_close(without + bias, found, atol=1e-5, rtol=1e-5)


def test_rows_for_gives_the_frames_asked_for_and_covers_what_they_see():
    for frames in (1, 2, 49, 499):
        rows = size = rows_for(frames, KERNELS, STRIDES)
        for kernel, stride in zip(KERNELS, STRIDES, strict=True):
            assert rows % stride == 0
            rows = rows // stride + 1 - -(-kernel // stride)
        assert rows == frames
        assert size >= (frames - 1) * 320 + 400


@pytest.mark.parametrize("window", [3000, 4001, 16000])
def test_folded_normalisation_is_that_of_the_zero_padded_window(window):
    samples, weight = _noise(3000)[0].double(), torch.randn(6, 1, 10, dtype=torch.float64)
    norm = nn.GroupNorm(6, 6).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    padded = F.pad(samples, (0, window - 3000))[None, None]
    expected = norm(F.conv1d(padded, weight, stride=5))
    found = F.conv1d(padded.float(), *fold_group_norm(samples, window, weight, norm, 5), stride=5)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


def test_gradient_of_the_folded_normalisation_is_that_of_the_normalisation():
    samples, weight = _noise(200)[0].double(), torch.randn(3, 1, 10, dtype=torch.float64, requires_grad=True)
    norm, probe = nn.GroupNorm(3, 3).double(), torch.randn(1, 3, 39)
    direct = norm(F.conv1d(samples[None, None], weight, stride=5))
    folded = F.conv1d(samples[None, None].float(), *fold_group_norm(samples, 200, weight, norm, 5), stride=5)
    expected, found = (torch.autograd.grad((out * probe).sum(), weight)[0] for out in (direct, folded))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["WavLM", "Hubert", "Wav2Vec2"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("way", ["plain", "packed", "grouped", "packed and grouped"])
def test_each_clip_of_a_ragged_batch_is_as_transformers_has_it_alone(monkeypatch, kind, large, way):
    if "grouped" in way:
        monkeypatch.setattr(wav2vec, "MOST_PADDING", {"cpu": 100.0})
    model = _model(kind, do_stable_layer_norm=large, feat_extract_norm="layer" if large else "group", conv_bias=large)
    sizes = [8000, 400, 3333, 5000]
    clips = _noise(*sizes)
    with torch.no_grad():
        expected = [torch.cat(model(clip[None], output_hidden_states=True).hidden_states) for clip in clips]
        ours = SpeechModel(model).eval().requires_grad_("packed" not in way)
        with packed() if "packed" in way else nullcontext():
            layers, mask = ours(clips, _frames(sizes), sizes)
    for states, found, valid in zip(expected, layers, mask, strict=True):
        torch.testing.assert_close(found[:, valid], states, atol=5e-5, rtol=1e-4)
        assert not found[:, ~valid].any()


def test_a_padded_window_costs_its_clip_alone_and_gives_the_same_frames():
    model = _model()
    clip = _noise(3000)[0]
    with torch.no_grad():
        everything = model.feature_extractor(F.pad(clip, (0, 13000))[None])[0].T
        speech_model = SpeechModel(model)
        found = speech_model._convolve(clip, 10, 16000, speech_model._taps())
    torch.testing.assert_close(found, everything[:10], atol=1e-5, rtol=1e-5)


def test_how_clips_are_grouped_does_not_matter(monkeypatch):
    sizes = [4000, 8000, 1000, 6000]
    model = SpeechModel(_model()).eval()
    with torch.no_grad():
        monkeypatch.setattr(wav2vec, "MOST_PADDING", {"cpu": 100.0})
        together, _ = model(_noise(*sizes), _frames(sizes), sizes)
        monkeypatch.setattr(wav2vec, "MAX_FRAME_PAIRS", {"cpu": 1})
        alone, _ = model(_noise(*sizes), _frames(sizes), sizes)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_in_double_precision_hidden_states_and_gradients_are_double():
    model, clips = SpeechModel(_model()).double().eval(), [clip.double() for clip in _noise(3000, 2000)]
    layers, _ = model(clips, _frames([3000, 2000]), [3000, 2000])
    layers.square().sum().backward()
    assert layers.dtype == torch.float64
    assert all(weight.grad.dtype == torch.float64 for weight in model.parameters() if weight.grad is not None)
    with torch.no_grad():
        torch.testing.assert_close(model(clips, _frames([3000, 2000]), [3000, 2000])[0], layers)


@pytest.mark.parametrize("kind", ["group", "layer"])
def test_how_many_frames_are_convolved_at_once_does_not_matter(monkeypatch, kind):
    model, (clip,) = SpeechModel(_model(feat_extract_norm=kind)).eval(), _noise(6000)
    (num_frames,) = _frames([6000])
    with torch.no_grad():
        at_once = model._convolve(clip, num_frames, 6000, model._taps())
        monkeypatch.setattr(wav2vec, "FRAMES_AT_ONCE", {"cpu": 7})
        pieces = model._convolve(clip, num_frames, 6000, model._taps())
    assert len(at_once) == num_frames > 14
    torch.testing.assert_close(pieces, at_once, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "out_proj"])
def test_a_hook_on_a_projection_is_heard(name):
    model = SpeechModel(_model()).eval()
    before, _ = model(_noise(4000), _frames([4000]), [4000])
    getattr(model.model.encoder.layers[0].attention, name).register_forward_hook(lambda *call: 3.0 * call[2].flip(1))
    after, _ = model(_noise(4000), _frames([4000]), [4000])
    assert torch.equal(after[:, 0], before[:, 0])
    assert (after[:, 1] - before[:, 1]).abs().max() > 1e-3


def test_an_adapter_on_a_convolution_is_refused_rather_than_left_out():
    model = SpeechModel(_model()).eval()
    nn.utils.parametrizations.weight_norm(model.model.feature_extractor.conv_layers[1].conv)
    with pytest.raises(ValueError, match="take no adapters"):
        model(_noise(4000), _frames([4000]), [4000])


def test_a_model_that_computes_something_else_is_refused():
    model = _model()
    model.encoder.layers[1].forward = lambda hidden, position_bias, **options: (hidden, position_bias)
    with pytest.raises(RuntimeError, match="computes something else"):
        SpeechModel(model)


def test_dropout_follows_train_mode_and_bfloat16_weights_give_float32_features():
    model = SpeechModel(_model())
    call = (_noise(4000), _frames([4000]), [4000])
    with torch.no_grad():
        assert not torch.equal(model.train()(*call)[0], model(*call)[0])
        exact = model.eval()(*call)[0]
        half = copy.deepcopy(model).bfloat16()(*call)[0]
    assert half.dtype == torch.float32
    assert (half - exact).square().mean() < 1e-3 * exact.square().mean()
