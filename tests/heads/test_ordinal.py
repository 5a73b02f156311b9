import math

import pytest
import torch
from scipy import stats

from lightning_aqa.batch import Axis, Features
from lightning_aqa.heads.bins import expectation
from lightning_aqa.heads.ordinal import Ordinal, bin_logits
from lightning_aqa.objectives.ordinal import coral_loss, soft_ordinal_loss

AXES = [Axis("MI", "Musical impression", 1, 5), Axis("PQ", "Production quality", 0, 10)]
KINDS = pytest.mark.parametrize("kind", ["gaussian", "coral"])


def _features(rows=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(7) < torch.arange(2, 2 + rows).clamp(max=7)[:, None]
    layers = torch.randn(rows, 2, 7, 4, generator=generator).to(dtype)
    return Features(layers.masked_fill(~mask[:, None, :, None], 0.0), mask)


def _shaken(kind, size=0.2, **options):
    """A head in which everything has an effect."""
    torch.manual_seed(0)
    head = Ordinal(4, 2, AXES, kind=kind, **options)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return head.eval()


def _thresholds(head, features):
    """The threshold logits of a coral head as Cao et al. write them: shared weights and K - 1 biases."""
    gaps = torch.nn.functional.softplus(head.gaps_AJ) + 1e-4
    biases = -torch.cat([gaps.new_zeros(len(gaps), 1), gaps.cumsum(1)], 1)
    return head.branch(features)[0][..., None] + biases


# Values worked by hand


def test_mean_and_deviation_of_three_bins_are_worked_by_hand():
    # 1, 3 and 5 with shares .5, .25, .25: mean 2.5, variance .5 * 2.25 + .25 * .25 + .25 * 6.25 = 2.75.
    mean, deviation = expectation(torch.tensor([[[0.5, 0.25, 0.25]]]).log(), torch.tensor([[1.0, 3.0, 5.0]]))
    assert mean.item() == pytest.approx(2.5)
    assert deviation.item() == pytest.approx(math.sqrt(2.75))


def test_coral_shares_of_three_bins_are_worked_by_hand():
    # P(y > 0) = sigmoid(log 3) = .75, P(y > 1) = sigmoid(log 3 - log 9) = .25.
    shares = bin_logits(torch.tensor([[3.0]]).log(), torch.tensor([[9.0]]).log()).exp()
    torch.testing.assert_close(shares, torch.tensor([[[0.25, 0.5, 0.25]]]))


# Against the definition


@pytest.mark.parametrize("num_bins", [2, 3, 20])
def test_coral_score_is_the_low_end_plus_a_step_per_threshold_passed(num_bins):
    head = _shaken("coral", num_bins=num_bins).double()
    features = _features(dtype=torch.float64)
    above = _thresholds(head, features).sigmoid()
    low, span = torch.tensor([1.0, 0.0]).double(), torch.tensor([4.0, 10.0]).double()
    output = head(features)
    torch.testing.assert_close(output.scores, low + span / (num_bins - 1) * above.sum(-1))
    ends = torch.nn.functional.pad(above, (1, 0), value=1.0), torch.nn.functional.pad(above, (0, 1), value=0.0)
    torch.testing.assert_close(output.logits.exp(), ends[0] - ends[1])


@KINDS
def test_deviation_is_that_of_the_predicted_distribution(kind):
    head = _shaken(kind, num_bins=6).double()
    with torch.no_grad():
        output = head(_features(dtype=torch.float64))
    assert output.deviation.min() > 0.01
    for b in range(6):
        for a in range(2):
            shares = output.logits[b, a].softmax(0)
            second = sum(float(p) * float(c) ** 2 for p, c in zip(shares, head.centres_AK[a], strict=True))
            expected = math.sqrt(second - output.scores[b, a].item() ** 2)
            assert output.deviation[b, a].item() == pytest.approx(expected, rel=1e-6)


def test_a_gaussian_head_starts_at_the_normal_distribution_of_the_training_scores():
    head = Ordinal(4, 2, AXES)
    head.fit_scale(torch.tensor([2.5, 7.0]), torch.tensor([0.6, 1.5]))
    for a, (mean, deviation) in enumerate([(2.5, 0.6), (7.0, 1.5)]):
        density = stats.norm.pdf(head.centres_AK[a].numpy(), mean, deviation)
        expected = torch.from_numpy(density / density.sum()).float()
        torch.testing.assert_close(head(_features()).logits[0, a].softmax(0), expected)


def test_a_coral_head_starts_at_the_normal_distribution_of_the_training_scores():
    head = Ordinal(4, 2, AXES, kind="coral")
    head.fit_scale(torch.tensor([2.5, 7.0]), torch.tensor([0.6, 1.5]))
    for a, (mean, deviation) in enumerate([(2.5, 0.6), (7.0, 1.5)]):
        middles = (head.centres_AK[a, 1:] + head.centres_AK[a, :-1]) / 2
        above = torch.from_numpy(stats.norm.sf(middles.numpy(), mean, deviation)).float()
        torch.testing.assert_close(_thresholds(head, _features())[0, a].sigmoid(), above, atol=1e-5, rtol=0)


@KINDS
def test_first_prediction_is_the_mean_and_deviation_of_the_training_scores(kind):
    head = Ordinal(4, 2, AXES, kind=kind)
    head.fit_scale(torch.tensor([2.8, 6.0]), torch.tensor([0.5, 1.2]))
    output = head(_features())
    torch.testing.assert_close(output.scores, torch.tensor([[2.8, 6.0]] * 6), atol=0.01, rtol=0)
    torch.testing.assert_close(output.deviation, torch.tensor([[0.5, 1.2]] * 6), atol=0.03, rtol=0)


@KINDS
def test_the_start_is_not_narrower_than_a_bin(kind):
    head, wide = Ordinal(4, 2, AXES[:1], kind=kind), Ordinal(4, 2, AXES[:1], kind=kind)
    head.fit_scale(torch.tensor([2.8]), torch.tensor([1e-6]))
    wide.fit_scale(torch.tensor([2.8]), torch.tensor([4 / 19]))
    torch.testing.assert_close(head(_features()).logits, wide(_features()).logits)


# Invariances


def test_coral_thresholds_keep_their_order_whatever_is_learned():
    thresholds = _thresholds(_shaken("coral", size=5.0), _features())
    assert (thresholds.diff(dim=-1) < 0).all()


@KINDS
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_scores_stay_inside_the_scale(kind, size):
    output = _shaken(kind, size=size)(_features())
    low, high = torch.tensor([1.0, 0.0]), torch.tensor([5.0, 10.0])
    assert (output.scores >= low - 1e-5).all()
    assert (output.scores <= high + 1e-5).all()
    assert (output.deviation <= (high - low) / 2 + 1e-5).all()
    assert (output.deviation > 0).all()


@KINDS
def test_scores_need_no_other_unit(kind):
    head = _shaken(kind)
    before = head(_features()).scores
    head.location_A.add_(1.0)
    head.scale_A.mul_(3.0)
    assert torch.equal(head(_features()).scores, before)


@KINDS
def test_in_float64_all_is_float64_and_the_same(kind):
    head = _shaken(kind)
    single = head(_features())
    double = head.double()(_features(dtype=torch.float64))
    for name in ("scores", "embedding", "logits", "deviation"):
        assert getattr(double, name).dtype == torch.float64
        torch.testing.assert_close(getattr(double, name).float(), getattr(single, name), atol=1e-4, rtol=1e-4)


# Edge cases and gradient


@pytest.mark.parametrize("first", [-300.0, 0.0, 300.0])
@pytest.mark.parametrize("gap", [1e-4, 1.0, 300.0])
def test_shares_of_extreme_thresholds_are_finite_and_so_are_their_gradients(first, gap):
    first, gaps = torch.tensor([[first]], requires_grad=True), torch.full((1, 4), gap, requires_grad=True)
    logits = bin_logits(first, gaps)
    mean, deviation = expectation(logits, torch.linspace(1, 5, 6)[None])
    (logits.sum() + mean.sum() + deviation.sum()).backward()
    for tensor in (logits, mean, deviation, first.grad, gaps.grad):
        assert tensor.isfinite().all()
    assert logits.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_gradient_of_a_distribution_on_one_bin_is_finite():
    logits = torch.tensor([[[500.0, 0.0, 0.0]]], requires_grad=True)
    mean, deviation = expectation(logits, torch.tensor([[1.0, 3.0, 5.0]]))
    (mean + deviation).sum().backward()
    assert (mean.item(), deviation.item()) == (1.0, pytest.approx(1e-4))
    assert logits.grad.isfinite().all()


@KINDS
@pytest.mark.parametrize(("location", "scale"), [(5.0, 1e-6), (9.0, 0.1), (3.0, 100.0)])
def test_odd_training_scores_leave_a_start_that_can_be_trained(kind, location, scale):
    head = Ordinal(4, 2, AXES[:1], kind=kind)
    head.fit_scale(torch.tensor([location]), torch.tensor([scale]))
    output = head(_features())
    soft_ordinal_loss(output.logits, torch.full((6, 1), 2.0), head.centres_AK).backward()
    assert output.scores.isfinite().all()
    assert output.deviation.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
    assert head.branch.last.bias.grad.any()


@KINDS
def test_gradients_of_scores_match_finite_differences(kind):
    head, features = _shaken(kind, num_bins=4, hidden=[3]).double(), _features(2, torch.float64)

    def scores_and_deviation(layers):
        output = head(features._replace(layers=layers))
        return output.scores, output.deviation, output.logits

    assert torch.autograd.gradcheck(scores_and_deviation, features.layers.requires_grad_())


@KINDS
@pytest.mark.parametrize("loss", [soft_ordinal_loss, coral_loss])
def test_either_kind_is_trained_by_either_loss(kind, loss):
    torch.manual_seed(0)
    targets = torch.tensor([[1.5], [2.0], [2.7], [3.3], [4.0], [4.4]])
    head, features = Ordinal(4, 2, AXES[:1], kind=kind, dropout=0.0), _features()
    head.fit_features([features])
    head.fit_scale(targets.mean(0), targets.std(0))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(150):
        value = loss(head(features).logits, targets, head.centres_AK)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    torch.testing.assert_close(head(features).scores, targets, atol=0.25, rtol=0)


def test_fitted_head_reads_features_of_mean_zero_and_deviation_one():
    head = Ordinal(4, 2, AXES, hidden=[])
    head.fit_features([_features()])
    std, mean = torch.std_mean(head.eval()(_features()).embedding, dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones(8))
    raw = Ordinal(4, 2, AXES, hidden=[], normalise=False).eval()
    before = raw(_features()).embedding
    raw.fit_features([_features()])
    assert torch.equal(raw(_features()).embedding, before)


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="kind must be 'gaussian' or 'coral', got 'corn'"):
        Ordinal(4, 2, AXES, kind="corn")
    with pytest.raises(ValueError, match="num_bins must be at least 2, got 1"):
        Ordinal(4, 2, AXES, num_bins=1)
    with pytest.raises(ValueError, match=r"dropout must be at least 0 and under 1, got 1\.0"):
        Ordinal(4, 2, AXES, dropout=1.0)
    with pytest.raises(ValueError, match="reads text but the features hold none"):
        Ordinal(4, 2, AXES, 3)(_features())
    with pytest.raises(ValueError, match="features of the training clips, got none"):
        Ordinal(4, 2, AXES).fit_features([])
