"""What is kept of features is what a head reads: no head can tell it from the encoder's own."""

from functools import partial

import pytest
import torch

from lightning_aqa.batch import Axis, Features
from lightning_aqa.data.cache.pooled import Form, pack, unpack
from lightning_aqa.data.dataset import stack_features
from lightning_aqa.heads.aesa_net import AESANet
from lightning_aqa.heads.audiobox import Audiobox
from lightning_aqa.heads.cross_attention import CrossAttention
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.heads.musiceval_baseline import MusicEvalBaseline
from lightning_aqa.heads.ordinal import Ordinal
from lightning_aqa.training.feature_cache import choose_kind

AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]
WIDTH, TEXT_WIDTH = 6, 5
READS = [
    (MLP, "mean_std"),
    (partial(MLP, pooling="mean", hidden=[]), "mean"),
    (partial(MLP, pooling="mean_std", trunk="per_axis", normalise=False), "mean_std"),
    (partial(MLP, pooling="attention"), "frames"),
    (Ordinal, "mean_std"),
    (partial(Ordinal, kind="coral", pooling="mean"), "mean"),
    (partial(Ordinal, pooling="attention"), "frames"),
    (MusicEvalBaseline, "mean"),
    (Audiobox, "mean"),
    (AESANet, "frames"),
    (CrossAttention, "frames"),
    (partial(CrossAttention, text_axes=[]), "mean_std"),
]


def _features(num_frames, num_words=4, num_layers=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = 3 * torch.randn(1, num_layers, num_frames, WIDTH, generator=generator) + 1
    text = torch.randn(1, num_words, TEXT_WIDTH, generator=generator)
    return Features(layers, torch.ones(1, num_frames) > 0, text, torch.ones(1, num_words) > 0)


def _build(build, num_layers):
    torch.manual_seed(0)
    head = build(WIDTH, num_layers, AXES, TEXT_WIDTH)
    for parameter in head.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return head.eval()


@pytest.mark.parametrize("num_layers", [1, 4])
@pytest.mark.parametrize(("build", "reads"), READS)
def test_a_head_says_what_it_reads_and_sees_no_difference_in_scores_or_gradients(build, reads, num_layers):
    live = [_features(size, words, num_layers, size) for size, words in ((30, 4), (1, 1), (2, 7), (17, 2))]
    head = _build(build, num_layers)
    assert head.reads == reads == choose_kind("auto", head)
    cached = [unpack(pack(features, Form(reads))) for features in live]
    assert all(features.layers.shape[2] <= num_layers + 1 for features in cached) == (reads != "frames")
    outcomes = []
    for rows in (live, cached):
        head.fit_features([stack_features(rows[:3]), stack_features(rows[3:])])
        output = head(stack_features(rows))
        gradients = torch.autograd.grad(output.scores.square().sum(), list(head.parameters()), allow_unused=True)
        buffers = [buffer.clone() for buffer in head.buffers()]
        outcomes.append([output.scores, output.embedding, *[g for g in gradients if g is not None], *buffers])
    for one, two in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, two, rtol=2e-5, atol=2e-5)


def test_padding_and_hidden_frames_are_not_kept():
    features = _features(5)._replace(frame_mask=torch.tensor([[True, False, True, False, False]]))
    kept = unpack(pack(features, Form("mean")))
    torch.testing.assert_close(kept.layers[0, 0, 0], (features.layers[0, 0, 0] + features.layers[0, 0, 2]) / 2)


def test_one_layer_is_kept_as_mean_and_standard_deviation():
    features = _features(20)
    tensors = pack(features, Form("mean_std"))
    torch.testing.assert_close(tensors["mean"], features.layers[0].mean(1))
    torch.testing.assert_close(tensors["factor"], features.layers[0].std(1, correction=0))


def test_features_without_text_come_back_without():
    features = _features(3)._replace(text=None, text_mask=None)
    for kind in ("mean", "mean_std", "frames"):
        assert unpack(pack(features, Form(kind))).text is None


@pytest.mark.parametrize("kind", ["mean", "mean_std", "frames"])
def test_float16_takes_half_the_space_and_is_near(kind):
    features = _features(20, num_layers=3)
    half, full = (pack(features, Form(kind, precision)) for precision in ("float16", "float32"))
    floats = [name for name, tensor in full.items() if tensor.is_floating_point()]
    assert all(2 * half[name].nbytes == full[name].nbytes for name in floats)
    torch.testing.assert_close(unpack(half).astype(torch.float32).layers, unpack(full).layers, rtol=2e-3, atol=2e-3)


def test_pooled_numbers_of_bfloat16_features_are_float32():
    features = _features(20).astype(torch.bfloat16)
    assert pack(features, Form("mean"))["mean"].dtype == torch.float32
    assert pack(features, Form("frames"))["layers"].dtype == torch.bfloat16


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("field", ["layers", "text"])
@pytest.mark.parametrize("kind", ["mean", "mean_std", "frames"])
def test_numbers_that_are_not_finite_are_refused(bad, field, kind):
    features = _features(3)
    getattr(features, field)[0, 0, 0] = bad
    with pytest.raises(ValueError, match="not finite"):
        pack(features, Form(kind))


def test_numbers_beyond_a_precision_are_refused():
    features = _features(3)
    features.layers[0, 0, 0, 0] = 65519.0  # rounds to the largest number of float16
    assert pack(features, Form("frames", "float16"))["layers"].max() == 65504
    features.layers[0, 0, 0, 0] = 65520.0
    with pytest.raises(ValueError, match=r"layers reaches 65520, and float16 ends at 65504: use .*precision=float32"):
        pack(features, Form("frames", "float16"))
    with pytest.raises(ValueError, match="float32 ends"):
        pack(features.astype(torch.float64)._replace(layers=features.layers.double() * 1e40), Form("mean", "float32"))


def test_a_head_that_reads_frames_refuses_the_pooled_form():
    with pytest.raises(ValueError, match=r"cache_form=pooled keeps mean and deviation .* AESANet .*cache_form=auto"):
        choose_kind("pooled", _build(AESANet, 1))
    assert choose_kind("pooled", _build(MLP, 1)) == "mean_std"
    assert choose_kind("frames", _build(MLP, 1)) == "frames"


def test_a_head_of_one_s_own_reads_frames_unless_it_says_otherwise():
    class Own(MLP):
        def forward(self, features):
            return super().forward(features._replace(layers=features.layers.relu()))

    class Renamed(MLP):
        pass

    class Saying(Own):
        reads = "mean"

    assert [choose_kind("auto", _build(build, 1)) for build in (Own, Renamed, Saying)] == ["frames", "mean_std", "mean"]
