"""Which clips share a batch: keys and sizes worked by hand, the padding of real lengths, how widely clips mix."""

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lightning_aqa.data.audio import audio_info
from lightning_aqa.data.buckets import WIDTHS, bucketed, choose_width, padding, sizes_by_clips, sizes_by_seconds
from lightning_aqa.data.samplers import EvaluationBatches, TrainingBatches
from lightning_aqa.data.windows import Window

REAL_MUSIC = Path(__file__).resolve().parents[3] / "shared" / "real" / "music" / "audio"
SHORT = np.random.default_rng(0).uniform(1.0, 10.0, 1500)


@pytest.fixture(scope="module")
def mixture():
    """104 pieces of about 30 s and 1500 clips of 1 to 10 s; without the pieces, lengths like theirs."""
    pieces = [audio_info(path).seconds for path in sorted(REAL_MUSIC.glob("*.mp3"))]
    return [*(pieces or [21.7, 26.0, 29.5, *[30.0] * 101]), *SHORT]


def _padding(batches):
    padded = sum(len(batch) * max(window.seconds for window in batch) for batch in batches)
    return padded / sum(window.seconds for batch in batches for window in batch)


def _epochs(batches, count=3):
    for epoch in range(count):
        batches.set_epoch(epoch)
        yield list(batches)


def test_keys_worked_by_hand():
    order, seconds = np.array([3, 0, 2, 1]), np.array([1.0, 2.0, 4.0, 1.0])
    # Keys: clip 3 has 0, clip 0 log(2) / 4, clip 2 log(4) + log(2) / 2, clip 1 log(2) + 3/4 log(2).
    assert bucketed(order, seconds, 2.0).tolist() == [3, 0, 1, 2]
    # With 16, clip 0 has log(16) / 4 = log(2), clip 2 log(4) + log(4), clip 1 log(2) + log(8): equal, as drawn.
    assert bucketed(order, seconds, 16.0).tolist()[:2] == [3, 0]
    assert bucketed(order, seconds, math.inf).tolist() == order.tolist()


def test_clips_of_one_length_keep_the_shuffled_order():
    order = np.random.default_rng(0).permutation(50)
    assert bucketed(order, np.full(50, 10.0), 1.25).tolist() == order.tolist()


def test_sizes_by_seconds_worked_by_hand():
    seconds = np.array([1.0, 1, 1, 1, 1, 1, 5, 5, 5, 5, 5])
    # From the longest down: two of 5 s fit into 10 s, twice; then one of 5 s with one of 1 s; five of 1 s are left.
    assert sizes_by_seconds(seconds, 10.0, 1.0, num_ranks=1) == [5, 2, 2, 2]
    # 10 equal clips, 4 each: the rest of 2 is evened out with its neighbour.
    assert sizes_by_seconds(np.ones(10), 4.0, 1.25, num_ranks=1) == [3, 3, 4]
    # Three processes: the rest of one clip would leave two without any.
    assert sizes_by_seconds(np.ones(7), 3.0, 1.0, num_ranks=3) == [4, 3]


def test_padding_worked_by_hand():
    assert padding(np.array([1.0, 2.0, 3.0, 4.0]), [2, 2]) == pytest.approx((2 * 2 + 2 * 4) / 10)


@pytest.mark.parametrize("settings", [{"batch_size": 16}, {"batch_size": 64}, {"batch_seconds": 120.0}], ids=str)
def test_the_mixture_pads_at_most_as_much_as_allowed(mixture, settings):
    batches = TrainingBatches(mixture, settings.get("batch_size"), None, 0, batch_seconds=settings.get("batch_seconds"))
    for found in _epochs(batches):
        assert Counter(window.clip for batch in found for window in batch) == Counter(range(len(mixture)))
        assert _padding(found) <= 1.15
    shuffled = TrainingBatches(mixture, 16, None, 0, max_padding=None)
    assert _padding(list(shuffled)) > 3.0


@pytest.mark.parametrize(("num_ranks", "limit"), [(1, 60.0), (2, 60.0), (3, 45.0), (4, 31.0)])
def test_batches_by_seconds_hold_at_most_so_many_in_every_epoch(mixture, num_ranks, limit):
    """A process may exceed its share by one clip, where the clips do not divide."""
    lengths = mixture[60:160]
    given = {"window_seconds": None, "seed": 1, "batch_size": None}
    ranks = [
        TrainingBatches(lengths, rank=rank, num_ranks=num_ranks, batch_seconds=limit, **given)
        for rank in range(num_ranks)
    ]
    assert {len(batches) for batches in ranks} == {len(ranks[0])}
    one = TrainingBatches(lengths, batch_seconds=limit * num_ranks, **given)
    for whole, *shares in zip(_epochs(one), *map(_epochs, ranks), strict=True):
        drawn = [window for share in shares for batch in share for window in batch]
        assert sorted(window.clip for window in drawn) == list(range(len(lengths)))
        for batch, parts in zip(whole, zip(*shares, strict=True), strict=True):
            longest = max(window.seconds for window in batch)
            assert len(batch) * longest <= limit * num_ranks + 1e-6
            assert all(parts)
            assert [batch[rank::num_ranks] for rank in range(num_ranks)] == list(parts)
            assert all(len(part) * longest <= limit + longest for part in parts)


def test_clips_that_reach_the_window_are_shuffled_as_they_were(mixture):
    """The order of version 0: a permutation by (seed, epoch), cut into equal parts."""
    lengths = list(np.random.default_rng(0).uniform(10.0, 40.0, 150))
    for settings in ({}, {"max_padding": None}):
        batches = TrainingBatches(lengths, 8, 10.0, seed=5, **settings)
        for epoch, found in enumerate(_epochs(batches)):
            order = np.random.Generator(np.random.PCG64([5, epoch])).permutation(150)
            cut = [part.tolist() for part in np.array_split(order, 19)]
            assert [[window.clip for window in batch] for batch in found] == cut


def test_buckets_are_made_anew_in_each_epoch_and_their_batches_come_in_any_order():
    lengths = np.random.default_rng(2).uniform(1.0, 10.0, 400)
    batches = TrainingBatches(list(lengths), 10, None, 0)
    assert batches.width in WIDTHS[1:]
    met, firsts = set(), []
    for found in _epochs(batches, 30):
        met |= {frozenset(pair) for batch in found for pair in itertools.combinations([w.clip for w in batch], 2)}
        firsts.append(np.mean([window.seconds for window in found[0]]))
    near = [
        frozenset(pair)
        for pair in itertools.combinations(range(400), 2)
        if abs(math.log(lengths[pair[0]] / lengths[pair[1]])) < 0.05
    ]
    assert sum(pair in met for pair in near) / len(near) > 0.9
    assert np.std(firsts) > 1.5


def test_the_widest_buckets_that_will_do_are_taken():
    seconds = np.random.default_rng(3).uniform(1.0, 10.0, 1000)
    widths = [
        choose_width(seconds, lambda _: sizes_by_clips(1000, 10, 1), allowed) for allowed in (None, 1.6, 1.3, 1.1)
    ]
    assert widths[0] == math.inf
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 4
    # Too few batches to sort clips into.
    assert choose_width(seconds, lambda _: sizes_by_clips(1000, 200, 1), 1.1) == math.inf


def test_a_budget_under_the_longest_clip_is_refused():
    with pytest.raises(
        ValueError, match="batch_seconds is 5, and the longest training window lasts 8 s; allow at least"
    ):
        TrainingBatches([3.0, 8.0], None, 10.0, 0, batch_seconds=5.0)
    assert len(TrainingBatches([3.0, 8.0], None, 5.0, 0, batch_seconds=5.0)) == 2


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_evaluation_by_seconds_reads_every_window_and_all_ranks_run_as_many_steps(num_ranks):
    windows = [Window(i, 0.0, float(seconds), 1.0) for i, seconds in enumerate([*SHORT[:40], 30.0])]
    ranks = [EvaluationBatches(windows, None, rank, num_ranks, batch_seconds=25.0) for rank in range(num_ranks)]
    assert len({len(batches) for batches in ranks}) == 1
    read = [window for batches in ranks for batch in batches for window in batch if window.weight]
    assert sorted(read) == windows
    for batch in itertools.chain.from_iterable(ranks):
        assert len(batch) == 1 or len(batch) * batch[-1].seconds <= 25.0
    assert len(ranks[0]) < 45 / num_ranks
