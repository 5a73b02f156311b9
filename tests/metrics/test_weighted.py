"""Metrics of many weighted samples, against scipy on samples written out row by row."""

import math

import numpy as np
import pytest

from lightning_aqa.metrics.correlation import ktau, lcc, mse, srcc
from lightning_aqa.metrics.weighted import STATISTICS, means_of_systems, metrics_of_columns

PLAIN = {"MSE": mse, "LCC": lcc, "SRCC": srcc, "KTAU": ktau}
N, R = 60, 40


def _sample(ties, num_rows=N, seed=0):
    """Return predictions, targets, and the rows and counts of R resamples."""
    generator = np.random.default_rng(seed)
    p_N, y_N = generator.normal(size=(2, num_rows))
    y_N += p_N
    if ties:
        p_N, y_N = np.round(p_N), np.round(2 * y_N) / 2
    rows_NR = generator.integers(0, num_rows, (num_rows, R))
    counts_NR = np.stack([np.bincount(rows, minlength=num_rows) for rows in rows_NR.T], axis=1).astype(float)
    return p_N, y_N, rows_NR, counts_NR


@pytest.mark.parametrize("metric", PLAIN)
def test_three_rows_are_worked_by_hand(metric):
    p, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    # Once each; rows 1, 1, 2 (ranks 1.5 1.5 3 on both sides); rows 2, 3, 3 (ranks 1 2.5 2.5 against 3 1.5 1.5).
    counts = np.array([[1, 2, 0], [1, 1, 1], [1, 0, 2]], dtype=float)
    expected = {"MSE": [2 / 3, 1 / 3, 1], "LCC": [0.5, 1, -1], "SRCC": [0.5, 1, -1], "KTAU": [1 / 3, 1, -1]}
    assert STATISTICS[metric](p, y, counts) == pytest.approx(expected[metric])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", PLAIN)
def test_weighted_metrics_are_those_of_the_rows_written_out(metric, ties):
    p_N, y_N, rows_NR, counts_NR = _sample(ties)
    expected = [PLAIN[metric](p_N[rows], y_N[rows]) for rows in rows_NR.T]
    assert STATISTICS[metric](p_N, y_N, counts_NR) == pytest.approx(expected, abs=1e-12)
    columns = (np.repeat(x_N[:, None], R, axis=1) for x_N in (p_N, y_N))
    assert metrics_of_columns(*columns, counts_NR, [metric])[metric] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", PLAIN)
def test_more_rows_than_one_block_of_signs(metric):
    p_N, y_N, rows_NR, counts_NR = _sample(True, num_rows=1200)
    expected = [PLAIN[metric](p_N[rows], y_N[rows]) for rows in rows_NR.T]
    assert STATISTICS[metric](p_N, y_N, counts_NR) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", PLAIN)
def test_the_order_of_rows_and_rows_that_do_not_count_change_nothing(metric):
    p_N, y_N, _, counts_NR = _sample(True)
    before = STATISTICS[metric](p_N, y_N, counts_NR)
    order = np.random.default_rng(1).permutation(N)
    assert STATISTICS[metric](p_N[order], y_N[order], counts_NR[order]) == pytest.approx(before, abs=1e-12)
    more = (np.append(x_N, 1e3) for x_N in (p_N, y_N))
    assert STATISTICS[metric](*more, np.vstack([counts_NR, np.zeros(R)])) == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize("metric", ["LCC", "SRCC", "KTAU"])
def test_a_correlation_is_nan_where_a_sample_is_empty_or_one_side_constant(metric):
    p, y = np.array([0.1, 0.1, 0.7]), np.array([1.0, 2.0, 3.0])
    counts = np.array([[1, 0, 2, 0], [1, 0, 0, 0], [0, 0, 0, 3]], dtype=float)
    assert np.isnan(STATISTICS[metric](p, y, counts)).all()
    columns = (np.repeat(x[:, None], 4, axis=1) for x in (p, y))
    assert np.isnan(metrics_of_columns(*columns, counts, [metric])[metric]).all()


@pytest.mark.parametrize("metric", PLAIN)
def test_no_rows_at_all_are_nan(metric):
    assert np.isnan(STATISTICS[metric](np.zeros(0), np.zeros(0), np.zeros((0, 2)))).tolist() == [True, True]


def test_metrics_of_columns_leave_out_what_is_not_there():
    p = np.array([[1.0, 1.0], [2.0, math.nan], [3.0, 3.0], [4.0, 2.0]])
    y = np.array([[1.0, 1.0], [4.0, 4.0], [2.0, 2.0], [5.0, 3.0]])
    found = metrics_of_columns(p, y, np.ones((4, 2)), list(PLAIN))
    for metric, plain in PLAIN.items():
        assert found[metric] == pytest.approx([plain(p[:, 0], y[:, 0]), plain(p[[0, 2, 3], 1], y[[0, 2, 3], 1])])


def test_means_of_systems_weigh_their_clips_and_keep_decimal_ties():
    values, systems = np.array([0.1, 0.2, 0.3, 0.2, 9.0]), np.array([0, 0, 0, 1, -1])
    counts = np.array([[1, 2], [1, 0], [1, 1], [1, 0], [1, 1]], dtype=float)
    means = means_of_systems(values, systems, counts)
    assert means[:, 0].tolist() == [0.2, 0.2]
    assert means[0, 1] == pytest.approx(0.5 / 3)
    assert math.isnan(means[1, 1])
