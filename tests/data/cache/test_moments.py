"""Mean and covariance over frames, and the few frames that stand for all of them."""

import numpy as np
import pytest
import torch

from lightning_aqa.data.cache.pooled import contrasts, frames_with, moments
from lightning_aqa.heads.pooling import masked_mean_std


def _frames(num_frames, num_layers, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_frames, num_layers, width, generator=generator, dtype=torch.float64) * 3 + 5


def _covariance(factor, num_layers):
    upper = torch.zeros(num_layers, num_layers, factor.shape[1], dtype=factor.dtype)
    rows, columns = torch.triu_indices(num_layers, num_layers)
    upper[rows, columns] = factor
    return torch.einsum("kld,kmd->lmd", upper, upper)


def test_two_layers_by_hand():
    mean, factor = moments(torch.tensor([[[1.0], [0.0]], [[3.0], [4.0]]]))  # deviations (-1, -2) and (1, 2)
    assert mean.tolist() == [[2.0], [2.0]]
    torch.testing.assert_close(factor.flatten(), torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))


def test_two_frames_of_one_layer_are_mean_plus_and_minus_deviation():
    assert frames_with(torch.tensor([[10.0]]), torch.tensor([[3.0]])).flatten().tolist() == [13.0, 7.0]


@pytest.mark.parametrize(("num_frames", "num_layers"), [(50, 1), (50, 5), (3, 5), (1, 4), (6, 5)])
def test_the_factor_is_one_of_numpy_s_covariance(num_frames, num_layers):
    frames = _frames(num_frames, num_layers, 7)
    mean, factor = moments(frames)
    covariance = _covariance(factor, num_layers)
    for place in range(7):
        wanted = np.cov(frames[:, :, place].numpy().T, bias=True).reshape(num_layers, num_layers)
        np.testing.assert_allclose(covariance[..., place], wanted, atol=1e-12)
    torch.testing.assert_close(mean, frames.mean(0))


@pytest.mark.parametrize(("num_frames", "num_layers"), [(50, 1), (50, 5), (3, 5), (1, 4)])
def test_any_mix_of_layers_has_the_same_mean_and_deviation(num_frames, num_layers):
    frames = _frames(num_frames, num_layers, 7)
    few = frames_with(*moments(frames))
    assert few.shape == (num_layers, num_layers + 1, 7)
    for seed in range(3):
        weights = torch.randn(num_layers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        pooled = [
            masked_mean_std(torch.einsum("l,fld->fd", weights, rows)[None], torch.ones(1, len(rows)) > 0)
            for rows in (frames, few.transpose(0, 1))
        ]
        torch.testing.assert_close(*pooled, atol=1e-9, rtol=1e-9)


def test_frames_that_are_all_alike_have_no_deviation_at_all():
    mean, factor = moments(torch.full((9, 3, 2), 0.1))
    assert not factor.any()
    assert torch.equal(mean, torch.full((3, 2), 0.1).double())


def test_a_small_deviation_beside_a_large_mean_keeps_its_digits():
    frames = _frames(200, 1, 3) * 1e-3 + 1e3
    deviation = frames.std(0, correction=0)
    torch.testing.assert_close(moments(frames)[1], deviation, rtol=1e-9, atol=0)


def test_layers_that_are_multiples_of_each_other_are_no_trouble():
    first = _frames(40, 1, 3)
    frames = torch.cat([first, -2 * first, 0 * first], dim=1)
    few = frames_with(*moments(frames)).transpose(0, 1)
    torch.testing.assert_close(few.std(0, correction=0), frames.std(0, correction=0))


def test_contrasts_are_orthogonal_and_sum_to_nothing():
    columns = contrasts(6)
    torch.testing.assert_close(columns.T @ columns, 7 * torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(columns.sum(0), torch.zeros(6, dtype=torch.float64))


def test_an_encoder_of_text_alone_has_no_width():
    mean, factor = moments(torch.zeros(1, 2, 0))
    assert (mean.shape, factor.shape, frames_with(mean, factor).shape) == ((2, 0), (3, 0), (2, 3, 0))
