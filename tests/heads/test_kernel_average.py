"""The weighted average of Gaussian processes: leaving out, groups, weights, and the deviation of a new clip."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.heads import kernel_average
from lightning_aqa.heads.kernel_average import STRENGTHS, WIDTHS, average, inner_groups, kernels, predictive_factor

TERMS = [([0], width) for width in WIDTHS]
CANDIDATES = [[term] for term in range(len(WIDTHS))]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distances_of(left, right=None):
    return (torch.cdist(left, left if right is None else right).square() / left.shape[1])[None]


def average_of(points, targets, groups=None):
    names = [f"{n:04d}" for n in range(len(points))] if groups is None else groups
    return average(distances_of(points), targets, names, TERMS, CANDIDATES)


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 3), st.sampled_from(STRENGTHS[2:]), st.integers(0, 99))
@settings(max_examples=30)
def test_leaving_out_is_refitting_without(count, num_parts, num_axes, strength, seed):
    kernel = kernels(distances_of(normal(count, 3, seed=seed)), TERMS)[1]
    targets = normal(count, num_axes, seed=seed + 1)
    parts = [part for part in (list(range(k, count, num_parts)) for k in range(num_parts)) if part]
    values, vectors = kernel_average._decompose(kernel)
    found = kernel_average._left_out(values, vectors, targets, parts)[STRENGTHS.index(strength)]
    for part in parts:
        rest = [row for row in range(count) if row not in part]
        noisy = kernel[rest][:, rest] + strength * torch.eye(len(rest), dtype=torch.float64)
        predicted = kernel[part][:, rest] @ torch.linalg.solve(noisy, targets[rest])
        torch.testing.assert_close(found[part], targets[part] - predicted, atol=1e-6, rtol=1e-6)


@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_inner_parts_keep_groups_whole_in_any_order(groups, random):
    parts = inner_groups(groups)
    assert sorted(row for part in parts for row in part) == list(range(len(groups)))
    assert len(parts) == min(10, len(set(groups)))
    assert all(
        len({number for number, part in enumerate(parts) for row in part if groups[row] == g}) == 1 for g in groups
    )
    order = random.sample(range(len(groups)), len(groups))
    moved = inner_groups([groups[row] for row in order])
    named = [sorted(groups[row] for row in part) for part in parts]
    assert [sorted(groups[order[row]] for row in part) for part in moved] == named


def test_twins_of_a_group_do_not_make_memorising_look_good():
    points, targets = normal(21, 6), normal(21, 1, seed=1)  # nothing to learn, but each clip is there twice
    points, targets = torch.cat([points, points + 0.01 * normal(21, 6, seed=2)]), torch.cat([targets, targets])
    groups = [f"{n % 21:02d}" for n in range(42)]
    apart, together = average_of(points, targets), average_of(points, targets, groups)
    assert apart.residuals.square().mean() < 0.1
    assert together.residuals.square().mean() > 0.7
    assert apart.weights[-1, 0] > together.weights[-1, 0]  # of the most local kernel
    assert together.strength > 10 * apart.strength


def test_axes_are_fitted_to_the_clips_that_they_are_rated_on():
    points, targets = normal(30, 4), normal(30, 4, seed=1)
    targets[::3, 1] = torch.nan
    targets[:, 2] = torch.nan
    targets[5:, 3] = torch.nan
    found = average_of(points, targets)
    for axis in (0, 1, 3):
        rated = ~targets[:, axis].isnan()
        alone = average_of(points[rated], targets[rated][:, [axis]], [f"{n:04d}" for n in rated.nonzero().flatten()])
        torch.testing.assert_close(found.coefficients[:, rated, axis], alone.coefficients[:, :, 0])
        torch.testing.assert_close(found.residuals[rated, axis], alone.residuals[:, 0])
        assert not found.coefficients[:, ~rated, axis].any()
        assert found.weights[:, axis].sum() == pytest.approx(1.0)
    assert not found.coefficients[..., 2].any()
    assert found.residuals[:, 2].isnan().all()


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_few_clips_give_finite_numbers_no_further_out_than_they_are(count):
    points, targets = normal(count, 5), normal(count, 2, seed=1)
    found = average_of(points, targets)
    predicted = torch.einsum("tnm,tma->na", kernels(distances_of(points), TERMS), found.coefficients)
    assert predicted.isfinite().all()
    assert (predicted.abs() <= targets.abs().amax(dim=0) + 1e-6).all()
    assert found.residuals.isfinite().all()
    assert (count > 1) == bool(found.weights.any())


def test_features_that_say_nothing_give_the_mean():
    errors = []
    for seed in range(8):
        found = average_of(normal(60, 8, seed=seed), normal(60, 1, seed=100 + seed))
        predicted = torch.einsum(
            "tnm,tma->na",
            kernels(distances_of(normal(60, 8, seed=seed), normal(50, 8, seed=200 + seed)).mT, TERMS),
            found.coefficients,
        )
        errors.append(float(predicted.square().mean()))
    assert sum(errors) / len(errors) < 0.1  # of a variance of 1


def _smooth(points):
    return points[:, :1] + 0.7 * torch.sin(2 * points[:, 1:2])


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_deviation_covers_what_new_clips_are_rated(noise):
    squares = []
    for seed in range(6):
        points, new = normal(80, 3, seed=seed), normal(300, 3, seed=50 + seed)
        targets = _smooth(points) + noise * normal(80, 1, seed=100 + seed)
        found = average_of(points, targets)
        weights = found.weights[:, 0]
        kernel = torch.einsum("t,tij->ij", weights, kernels(distances_of(points), TERMS))
        factor, variance = predictive_factor(kernel, found.strength, found.residuals, found.rows)
        across = kernels(distances_of(new, points), TERMS)
        predicted = torch.einsum("tnm,tma->na", across, found.coefficients)
        known = (torch.einsum("t,tnm->nm", weights, across) @ factor.T).square().sum(dim=1)
        spread = (found.strength + 1 - known) * variance
        rated = _smooth(new) + noise * normal(300, 1, seed=150 + seed)
        squares.append((rated - predicted)[:, 0].square() / spread)
    squares = torch.cat(squares)
    assert 0.75 < squares.mean() < 1.25
    assert 0.86 < (squares < 1.645**2).double().mean() < 0.94
