import math

import pytest
import torch

from lightning_aqa.batch import Axis, Features
from lightning_aqa.heads.mlp import MLP, deviation_of
from lightning_aqa.objectives.gaussian_nll import gaussian_nll_loss

AXES = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]


def _features(rows: int = 6, text_width: int | None = None) -> Features:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(7) < torch.arange(2, 2 + rows).clamp(max=7)[:, None]
    layers = 3 + 100 * torch.randn(rows, 2, 7, 4, generator=generator)
    layers = layers.masked_fill(~mask[:, None, :, None], 0.0)
    if text_width is None:
        return Features(layers, mask)
    return Features(layers, mask, torch.randn(rows, 3, text_width), torch.ones(rows, 3, dtype=torch.bool))


def test_first_prediction_is_the_mean_of_the_training_scores():
    head = MLP(4, 2, AXES)
    head.fit_scale(torch.tensor([2.5, 3.5]), torch.tensor([0.5, 0.7]))
    assert torch.equal(head(_features()).scores, torch.tensor([[2.5, 3.5]] * 6))


def test_linear_head_is_the_affine_map_of_the_standardised_mean():
    # Mean of the frames 1 and 3 is 2; standardised by mean 1 and deviation 2 it is .5; 4 * .5 + 1 = 3 standard units
    # of .5 score points above 2.5 make 4.
    head = MLP(1, 1, AXES[:1], hidden=[], pooling="mean", dropout=0.0)
    one, three = torch.tensor([[[[-1.0]]], [[[3.0]]]]), torch.ones(2, 1, dtype=torch.bool)
    head.fit_features([Features(one, three)])
    head.fit_scale(torch.tensor([2.5]), torch.tensor([0.5]))
    with torch.no_grad():
        head.branches[0].last.weight.fill_(4.0)
        head.branches[0].last.bias.fill_(1.0)
    output = head(Features(torch.tensor([[[[1.0], [3.0]]]]), torch.ones(1, 2, dtype=torch.bool)))
    torch.testing.assert_close(output.embedding, torch.tensor([[0.5]]))
    torch.testing.assert_close(output.scores, torch.tensor([[4.0]]))


@pytest.mark.parametrize("trunk", ["shared", "per_axis"])
def test_fitted_head_reads_features_of_mean_zero_and_deviation_one(trunk):
    head, features = MLP(4, 2, AXES, 3, hidden=[], trunk=trunk), _features(text_width=3)
    half = [Features(*(field[rows] for field in features)) for rows in (slice(0, 2), slice(2, 6))]
    head.fit_features(half)
    std, mean = torch.std_mean(head.eval()(features).embedding, dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones_like(std))


def test_constants_stand_in_evaluation_and_travel_in_the_checkpoint():
    head, other = MLP(4, 2, AXES, hidden=[]), MLP(4, 2, AXES, hidden=[])
    head.fit_features([_features()])
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other.eval()(_features(1)).embedding, head.eval()(_features(6)).embedding[:1])


def test_an_element_that_hardly_varies_is_not_blown_up():
    head = MLP(4, 2, AXES, hidden=[], pooling="mean")
    ones = Features(torch.ones(3, 2, 5, 4), torch.ones(3, 5, dtype=torch.bool))
    head.fit_features([ones])
    assert head(ones._replace(layers=1.1 * ones.layers)).embedding.abs().max() < 0.2


def test_without_normalise_the_features_are_read_as_they_are():
    head = MLP(4, 2, AXES, hidden=[], pooling="mean", normalise=False)
    before = head(_features()).embedding
    head.fit_features([_features()])
    assert torch.equal(head(_features()).embedding, before)


def test_axes_of_a_per_axis_trunk_share_nothing():
    head = MLP(4, 2, AXES, trunk="per_axis")
    with torch.no_grad():
        for branch in head.branches:
            branch.last.weight.normal_()
    head(_features()).scores[:, 0].sum().backward()
    reached = [[bool(parameter.grad.any()) for parameter in branch.parameters()] for branch in head.branches]
    assert all(reached[0])
    assert not any(reached[1])


def test_text_moves_the_scores_only_where_it_is_read():
    with_text, other_text = _features(text_width=3), _features(text_width=3)
    for use_text in (True, False):
        torch.manual_seed(0)
        head = MLP(4, 2, AXES, 3, use_text=use_text).eval()
        with torch.no_grad():
            head.branches[0].last.weight.normal_()
        assert torch.equal(head(with_text).scores, head(other_text).scores) is not use_text


@pytest.mark.parametrize(("hidden", "pooling", "width"), [([], "mean", 4), ([], "mean_std", 8), ([9, 5], "mean", 5)])
def test_embedding_is_as_wide_as_what_the_last_layer_reads(hidden, pooling, width):
    assert MLP(4, 2, AXES, hidden=hidden, pooling=pooling)(_features()).embedding.shape == (6, width)


def test_linear_head_trained_by_gradient_approaches_ridge_regression():
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(60, 1, 1, 5, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 1.0, 50.0]) + 20
    features = Features(clips, torch.ones(60, 1, dtype=torch.bool))
    targets_B1 = (clips[:, 0, 0] - 20) @ torch.tensor([[0.3], [0.02], [1.0], [0.0], [0.005]]) + 3
    head = MLP(5, 1, AXES[:1], hidden=[], pooling="mean", dropout=0.0)
    head.fit_features([features])
    head.fit_scale(targets_B1.mean(dim=0), targets_B1.std(dim=0))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for _ in range(300):
        loss = (head(features).scores - targets_B1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(head(features).scores, targets_B1, atol=0.02, rtol=0)


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"each at least 1, got \[8, 0\]"):
        MLP(4, 2, AXES, hidden=[8, 0])
    with pytest.raises(ValueError, match=r"dropout must be at least 0 and under 1, got 1\.0"):
        MLP(4, 2, AXES, dropout=1.0)
    with pytest.raises(ValueError, match="reads text but the features hold none"):
        MLP(4, 2, AXES, 3)(_features())
    with pytest.raises(ValueError, match="features of the training clips, got none"):
        MLP(4, 2, AXES).fit_features([])


@pytest.mark.parametrize("trunk", ["shared", "per_axis"])
def test_first_deviation_is_that_of_the_training_scores(trunk):
    head = MLP(4, 2, AXES, trunk=trunk, deviation=True)
    head.fit_scale(torch.tensor([2.5, 3.5]), torch.tensor([0.5, 0.7]))
    output = head(_features())
    assert torch.equal(output.scores, torch.tensor([[2.5, 3.5]] * 6))
    torch.testing.assert_close(output.deviation, torch.tensor([[0.5, 0.7]] * 6), atol=1e-4, rtol=0)


@pytest.mark.parametrize("trunk", ["shared", "per_axis"])
def test_each_axis_has_a_score_and_a_deviation_of_its_own(trunk):
    # Standardised scores 1 and 2, log-variances log 4 and log 9; scales .5 and .7.
    head = MLP(4, 2, AXES, trunk=trunk, deviation=True).eval()
    head.fit_scale(torch.tensor([2.5, 3.5]), torch.tensor([0.5, 0.7]))
    rows = torch.tensor([[1.0, 4.0], [2.0, 9.0]])
    rows[:, 1] = rows[:, 1].log()
    with torch.no_grad():
        for branch, bias in zip(head.branches, rows if trunk == "per_axis" else [rows.flatten()], strict=True):
            branch.last.bias.copy_(bias)
    output = head(_features(1))
    torch.testing.assert_close(output.scores, torch.tensor([[3.0, 4.9]]))
    torch.testing.assert_close(output.deviation, torch.tensor([[1.0, 2.1]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("log_variance", "expected"), [(-1e4, 0.01), (1e4, math.exp(5.0))])
def test_deviation_of_an_odd_clip_is_neither_zero_nor_infinite(log_variance, expected):
    log_variance = torch.tensor(log_variance, requires_grad=True)
    deviation = deviation_of(log_variance)
    deviation.log().backward()
    assert deviation.item() == pytest.approx(expected)
    assert log_variance.grad.isfinite()


def test_without_a_deviation_there_are_no_weights_for_it():
    sizes = [{n: p.shape for n, p in MLP(4, 2, AXES, deviation=d).named_parameters()} for d in (False, True)]
    assert sizes[0]["branches.0.last.weight"] == (2, 256)
    assert {name for name in sizes[0] if sizes[0][name] != sizes[1][name]} == {
        "branches.0.last.weight",
        "branches.0.last.bias",
    }
    assert MLP(4, 2, AXES)(_features()).deviation is None


def test_deviation_learns_where_the_ratings_scatter():
    # Ratings of even clips are exact, those of odd ones a point off either way; a clip is known by its first element.
    generator = torch.Generator().manual_seed(0)
    odd_B = torch.arange(80) % 2
    sign_B1 = torch.where(torch.rand(80, 1, generator=generator) < 0.5, -1.0, 1.0)
    layers = torch.stack([odd_B.float(), torch.randn(80, generator=generator)], 1)[:, None, None]
    features = Features(layers, torch.ones(80, 1, dtype=torch.bool))
    targets_B1 = 3 + sign_B1 * odd_B[:, None]
    head = MLP(2, 1, AXES[:1], hidden=[], pooling="mean", dropout=0.0, deviation=True)
    head.fit_features([features])
    head.fit_scale(targets_B1.mean(dim=0), targets_B1.std(dim=0))
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-2)
    for _ in range(200):
        output = head(features)
        loss = gaussian_nll_loss(output.scores, output.deviation, targets_B1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert 0.8 < output.deviation[odd_B == 1].mean().item() < 1.2
    assert output.deviation[odd_B == 0].mean().item() < 0.2
