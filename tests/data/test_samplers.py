"""Batches of windows: they follow from (seed, epoch) alone, whatever the number of processes."""

import itertools
from collections import Counter

import numpy as np
import pytest
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader

from lightning_aqa.data.samplers import EvaluationBatches, TrainingBatches
from lightning_aqa.data.windows import Window, cover

SIZES = list(itertools.product([1, 2, 3, 7, 16, 33, 100], [1, 2, 5, 16], [1, 2, 3, 4]))
ENOUGH = [(clips, batch, ranks) for clips, batch, ranks in SIZES if clips >= ranks]


def _lengths(num_clips):
    return list(np.random.default_rng(num_clips).uniform(0.5, 12.0, num_clips))


# Training


def _epoch(num_clips, batch_size, rank=0, num_ranks=1, epoch=0, seed=0, window_seconds=2.0):
    batches = TrainingBatches(_lengths(num_clips), batch_size, window_seconds, seed, rank, num_ranks)
    batches.set_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches)
    return found


@pytest.mark.parametrize(("num_clips", "batch_size", "num_ranks"), ENOUGH)
def test_ranks_share_the_batches_of_one_process_in_turn(num_clips, batch_size, num_ranks):
    shares = [_epoch(num_clips, batch_size, rank, num_ranks) for rank in range(num_ranks)]
    assert len({len(share) for share in shares}) == 1
    whole = [[None] * sum(map(len, parts)) for parts in zip(*shares, strict=True)]
    for batch, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert all(parts)
        for rank, part in enumerate(parts):
            batch[rank::num_ranks] = part
    assert Counter(window.clip for batch in whole for window in batch) == Counter(range(num_clips))
    sizes = [len(batch) for batch in whole]
    assert max(sizes) - min(sizes) <= 1
    one = _epoch(num_clips, batch_size * num_ranks)
    assert [window for batch in whole for window in batch] == [window for batch in one for window in batch]


@pytest.mark.parametrize(("num_clips", "batch_size", "num_ranks"), [(100, 4, 2), (33, 5, 3), (64, 16, 4)])
def test_a_global_batch_does_not_depend_on_the_number_of_processes(num_clips, batch_size, num_ranks):
    one = _epoch(num_clips, batch_size * num_ranks)
    for rank in range(num_ranks):
        assert [batch[rank::num_ranks] for batch in one] == _epoch(num_clips, batch_size, rank, num_ranks)


def test_the_order_depends_on_seed_and_epoch_alone():
    assert _epoch(40, 8, epoch=3, seed=1) == _epoch(40, 8, epoch=3, seed=1)
    np.random.default_rng(0).random(10)
    orders = [_epoch(40, 8, epoch=epoch, seed=seed) for epoch in range(3) for seed in range(2)]
    assert all(one != other for one, other in itertools.combinations(orders, 2))


def test_a_window_lies_inside_its_clip_and_moves_from_epoch_to_epoch():
    lengths, starts = _lengths(50), {}
    for epoch in range(20):
        for window in itertools.chain.from_iterable(_epoch(50, 8, epoch=epoch)):
            assert window.weight == 1.0
            assert window.seconds == min(2.0, lengths[window.clip])
            assert 0.0 <= window.start <= lengths[window.clip] - window.seconds
            starts.setdefault(window.clip, []).append(window.start / max(lengths[window.clip] - 2.0, 1e-9))
    for clip, places in starts.items():
        if lengths[clip] > 2.0:
            assert max(places) - min(places) > 0.5
        else:
            assert set(places) == {0.0}


def test_without_a_window_clips_are_taken_whole():
    lengths = _lengths(20)
    windows = list(itertools.chain.from_iterable(_epoch(20, 8, window_seconds=None)))
    assert sorted(windows) == [Window(i, 0.0, length, 1.0) for i, length in enumerate(lengths)]


def test_fixed_windows_are_drawn_as_often_as_their_weight_says():
    covers = [cover(0, 25.0, 10.0), cover(1, 5.0, 10.0)]
    batches = TrainingBatches([25.0, 5.0], 2, 10.0, seed=0, covers=covers)
    drawn = Counter()
    for epoch in range(500):
        batches.set_epoch(epoch)
        windows = sorted(itertools.chain.from_iterable(batches))
        assert windows[1] == Window(1, 0.0, 5.0, 1.0)
        assert windows[0]._replace(weight=0.0) in [window._replace(weight=0.0) for window in covers[0]]
        drawn[windows[0].start] += 1
    assert [drawn[start] / 500 for start in (0.0, 10.0, 20.0)] == pytest.approx([0.4, 0.4, 0.2], abs=0.07)


def test_fewer_clips_than_processes_is_refused():
    with pytest.raises(ValueError, match="2 training clips are too few for 3 processes: use fewer devices"):
        TrainingBatches([1.0, 2.0], 4, None, 0, rank=0, num_ranks=3)


def test_lightning_reaches_set_epoch_through_a_loader():
    batches = TrainingBatches(_lengths(10), 4, None, 0)
    loader = DataLoader(range(10), batch_sampler=batches)
    _set_sampler_epoch(loader, 7)
    assert batches.epoch == 7


# Evaluation


def _windows(num_clips):
    return [window for i, seconds in enumerate(_lengths(num_clips)) for window in cover(i, seconds, 2.5)]


@pytest.mark.parametrize("num_clips", [1, 2, 5, 12])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_window_is_read_once_and_all_ranks_run_as_many_steps(num_clips, num_ranks, batch_size):
    windows = _windows(num_clips)
    ranks = [EvaluationBatches(windows, batch_size, rank, num_ranks) for rank in range(num_ranks)]
    read = [window for batches in ranks for batch in batches for window in batch]
    assert sorted(window for window in read if window.weight > 0) == sorted(windows)
    assert all(len(batch) <= batch_size for batches in ranks for batch in batches)
    assert [len(list(batches)) for batches in ranks] == [len(batches) for batches in ranks]
    assert len({len(batches) for batches in ranks}) == 1
    assert sum(window.weight == 0 for window in read) == -len(windows) % num_ranks


def test_a_rank_without_a_window_reads_one_that_does_not_count():
    (batch,) = EvaluationBatches([Window(4, 0.0, 1.0, 1.0)], 8, rank=2, num_ranks=3)
    assert batch == [Window(4, 0.0, 1.0, 0.0)]


def test_windows_come_in_order_of_their_length():
    lengths = [window.seconds for batch in EvaluationBatches(_windows(12), 4) for window in batch]
    assert lengths == sorted(lengths)


def test_a_second_pass_reads_the_same():
    batches = EvaluationBatches(_windows(5), 2)
    assert list(batches) == list(batches)
