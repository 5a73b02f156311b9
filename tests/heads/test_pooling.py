import math

import pytest
import torch

from lightning_aqa.heads.pooling import AttentionPool, LayerMix, attention_mean, masked_mean, masked_mean_std


def _frames(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.randn(3, 5, 4, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return frames, torch.arange(5) < torch.tensor([5, 1, 3])[:, None]


def test_attention_mean_of_two_frames_is_their_weighted_sum():
    # Weights 3 : 1 on the values 1 and 5 give (3 * 1 + 1 * 5) / 4 = 2.
    frames, logits = torch.tensor([[[1.0], [5.0], [9.0]]]), torch.tensor([[math.log(3.0), 0.0, 50.0]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(attention_mean(frames, logits, mask), torch.tensor([[2.0]]))


def test_layer_mix_weighs_layers_by_a_softmax():
    mix = LayerMix(2)
    mix.logits_L.data = torch.tensor([math.log(3.0), 0.0])
    layers = torch.tensor([1.0, 5.0]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(mix(layers), torch.tensor([[[2.0]]]))


def test_mean_and_deviation_match_those_of_the_valid_frames_alone():
    frames, mask = _frames(torch.float64)
    for row, valid, pooled in zip(frames, mask, masked_mean_std(frames, mask, floor=1e-9), strict=True):
        std, mean = torch.std_mean(row[valid], dim=0, correction=0)
        torch.testing.assert_close(pooled, torch.cat([mean, std.clamp(min=1e-9)]))


def test_attention_pool_starts_as_the_mean():
    frames, mask = _frames()
    torch.testing.assert_close(AttentionPool(4)(frames, mask), masked_mean(frames, mask))


@pytest.mark.parametrize("pool", [masked_mean, masked_mean_std, lambda x, m: attention_mean(x, x[..., 0], m)])
@pytest.mark.parametrize("garbage", [1e6, torch.nan, torch.inf])
def test_padding_changes_neither_value_nor_gradient(pool, garbage):
    results = []
    for fill in (0.0, garbage):
        frames, mask = _frames()
        frames = frames.masked_fill(~mask[..., None], fill).requires_grad_()
        pooled = pool(frames, mask)
        pooled.square().sum().backward()
        results.append((pooled.detach(), frames.grad))
    torch.testing.assert_close(results[1], results[0])


def test_one_frame_or_equal_frames_have_the_floor_as_deviation_and_a_finite_gradient():
    frames = torch.ones(1, 3, 2, requires_grad=True)
    pooled = masked_mean_std(frames, torch.ones(1, 3, dtype=torch.bool), floor=0.01)
    torch.testing.assert_close(pooled, torch.tensor([[1.0, 1.0, 0.01, 0.01]]))
    pooled.sum().backward()
    torch.testing.assert_close(frames.grad, torch.full((1, 3, 2), 1 / 3))


@pytest.mark.parametrize("pool", [masked_mean, masked_mean_std, lambda x, m: attention_mean(x, x[..., 0], m)])
def test_gradients_match_finite_differences(pool):
    frames, mask = _frames(torch.float64)
    mask[1, 1] = True
    assert torch.autograd.gradcheck(lambda x: pool(x, mask), frames.requires_grad_())
