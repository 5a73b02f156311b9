"""Windows of a clip: hand-worked covers, the shortest tail, and the mean of windows."""

import itertools

import numpy as np
import pytest

from lightning_aqa.data.windows import Window, cover, shortest_tail, weighted_mean


def _lengths(num_clips):
    return list(np.random.default_rng(num_clips).uniform(0.5, 12.0, num_clips))


def test_a_cover_worked_by_hand():
    assert cover(3, 25.0, 10.0) == [
        Window(3, 0.0, 10.0, 0.4), Window(3, 10.0, 10.0, 0.4), Window(3, 20.0, 5.0, 0.2),
    ]  # fmt: skip


def test_a_clip_that_fits_is_one_window():
    for window_seconds in (None, 10.0, 7.5):
        assert cover(0, 7.5, window_seconds) == [Window(0, 0.0, 7.5, 1.0)]


def test_a_tail_too_short_to_encode_is_left_out_and_its_weight_shared():
    assert cover(0, 20.4, 10.0, min_seconds=0.5) == [Window(0, 0.0, 10.0, 0.5), Window(0, 10.0, 10.0, 0.5)]
    kept = cover(0, 20.5, 10.0, min_seconds=0.5)
    assert [window.seconds for window in kept] == [10.0, 10.0, 0.5]
    assert kept[-1].weight == pytest.approx(0.5 / 20.5)


@pytest.mark.parametrize(("seconds", "window_seconds", "count"), [(1.1, 0.1, 11), (20.0, 10.0, 2), (0.6, 0.2, 3)])
def test_an_exact_multiple_has_no_tail_that_rounding_made(seconds, window_seconds, count):
    assert len(cover(0, seconds, window_seconds)) == count


@pytest.mark.parametrize("min_seconds", [0.0, 0.3])
def test_weights_sum_to_one_and_windows_lie_end_to_end_inside_the_clip(min_seconds):
    for seconds in _lengths(300):
        windows = cover(5, seconds, 1.7, min_seconds)
        assert sum(window.weight for window in windows) == pytest.approx(1.0, abs=1e-12)
        assert {window.clip for window in windows} == {5}
        ends = [window.start + window.seconds for window in windows]
        assert [window.start for window in windows] == pytest.approx([0.0, *ends[:-1]])
        assert seconds - max(min_seconds, 1e-3) <= ends[-1] <= seconds + 1e-9
        assert all(window.seconds >= min(seconds, max(min_seconds, 1e-3)) for window in windows)


@pytest.mark.parametrize(
    ("min_seconds", "min_tail_seconds", "window_seconds", "expected"),
    [(0.1, 2.0, None, 2.0), (0.1, 2.0, 10.0, 2.0), (0.1, 2.0, 3.0, 1.5), (1.0, 0.5, 10.0, 1.0), (1.0, 5.0, 1.2, 1.0)],
)
def test_the_shortest_tail_is_half_a_window_at_most_and_what_the_encoder_takes_at_least(
    min_seconds, min_tail_seconds, window_seconds, expected
):
    assert shortest_tail(min_seconds, min_tail_seconds, window_seconds) == expected


def test_a_mean_worked_by_hand():
    assert weighted_mean([(1.0, 10.0), (4.0, 40.0)], [10.0, 5.0]) == [2.0, 20.0]


def test_no_order_of_the_windows_moves_a_digit_of_the_mean():
    rows = np.random.default_rng(0).normal(size=(6, 2)).tolist()
    weights = np.random.default_rng(1).uniform(0.1, 1.0, 6).tolist()
    means = {
        tuple(weighted_mean([rows[i] for i in order], [weights[i] for i in order]))
        for order in itertools.permutations(range(6))
    }
    assert len(means) == 1
