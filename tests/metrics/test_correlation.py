import math
from itertools import combinations

import numpy as np
import pytest
import torch

from lightning_aqa.metrics.correlation import ktau, lcc, mse, srcc

CORRELATIONS = [lcc, srcc, ktau]


def reference_lcc(p, y):
    return float(np.corrcoef(p, y)[0, 1])


def average_ranks(values):
    """One plus the number of smaller values, plus half the number of other equal ones."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


def reference_srcc(p, y):
    return reference_lcc(average_ranks(p), average_ranks(y))


def reference_ktau(p, y):
    """Concordant minus discordant pairs, over the geometric mean of the pairs untied in p and in y."""
    signs = [(np.sign(p[i] - p[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(p)), 2)]
    untied = [sum(pair[side] != 0 for pair in signs) for side in (0, 1)]
    return sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1])


def rounded_pair(size=60):
    generator = np.random.default_rng(0)
    p = generator.normal(size=size)
    return np.round(p, 1), np.round(p + generator.normal(size=size), 0)


def test_metrics_of_four_clips_are_worked_by_hand():
    # p = 1 2 3 4 and y = 1 2 4 3: five of six pairs agree; ranks differ by 1 twice, 1 - 6 * 2 / (4 * 15).
    p, y = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]
    assert mse(p, y) == 0.5
    assert lcc(p, y) == pytest.approx(0.8)
    assert srcc(p, y) == pytest.approx(0.8)
    assert ktau(p, y) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        (mse, lambda p, y: sum((a - b) ** 2 for a, b in zip(p, y, strict=True)) / len(p)),
        (lcc, reference_lcc),
        (srcc, reference_srcc),
        (ktau, reference_ktau),
    ],
)
def test_metric_equals_its_definition_with_ties(metric, reference):
    p, y = rounded_pair()
    assert metric(p, y) == pytest.approx(reference(p, y), abs=1e-12)


@pytest.mark.parametrize("metric", [srcc, ktau])
def test_rank_correlation_sees_only_the_order(metric):
    p, y = rounded_pair()
    assert metric(np.exp(p), y) == pytest.approx(metric(p, y), abs=1e-12)


@pytest.mark.parametrize("metric", [mse, *CORRELATIONS])
def test_metric_takes_lists_arrays_and_tensors(metric):
    p, y = (values.tolist() for values in rounded_pair())
    tensors = torch.tensor(p, dtype=torch.float64, requires_grad=True), torch.tensor(y, dtype=torch.float64)
    assert type(metric(p, y)) is float
    assert metric(p, y) == metric(np.array(p), np.array(y)) == metric(*tensors)


def test_ktau_stays_right_for_100_000_clips():
    # Blocks of 2 in swapped order: one discordant pair per block.
    size = 100_000
    swapped = np.arange(size).reshape(-1, 2)[:, ::-1].ravel()
    assert ktau(swapped, np.arange(size)) == pytest.approx(1 - 2 * (size / 2) / (size * (size - 1) / 2), abs=1e-12)


@pytest.mark.parametrize("metric", CORRELATIONS)
@pytest.mark.parametrize(
    ("p", "y"),
    [([], []), ([1.0], [2.0]), ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0]), ([1.0, 2.0], [0.1, 0.1])],
    ids=["none", "one clip", "constant predictions", "constant ratings"],
)
def test_correlation_is_nan_where_it_is_undefined(metric, p, y):
    assert math.isnan(metric(p, y))


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlation_of_two_clips_and_of_nearly_constant_predictions_is_defined_and_warns_of_nothing(metric):
    assert metric([1.0, 2.0], [3.0, 2.0]) == pytest.approx(-1)
    assert -1 <= metric([1.0, 1.0, 1.0 + 2e-16], [1.0, 2.0, 3.0]) <= 1


def test_mse_of_no_clips_is_nan():
    assert math.isnan(mse([], []))


@pytest.mark.parametrize("metric", [mse, *CORRELATIONS])
def test_metric_refuses_what_it_cannot_compare(metric):
    with pytest.raises(ValueError, match=r"must both have shape \(N,\), got \(2,\) and \(3,\)"):
        metric([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"got \(2, 1\) and \(2, 1\)"):
        metric(np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(ValueError, match="targets must be finite, got 1 of 2"):
        metric([1.0, 2.0], [math.nan, 2.0])
    with pytest.raises(ValueError, match="predictions must be finite, got 1 of 2"):
        metric([1.0, math.inf], [1.0, 2.0])
