"""Batches over clips: their size, what follows from the clips alone, clips that fail."""

import math

import pytest
import torch

from lightning_aqa.scoring.batching import GROUP_BATCHES, Batching, WindowScore, score_groups
from lightning_aqa.scoring.decode import Piece
from lightning_aqa.scoring.inputs import Item

RATE = 10


def _read(item):
    """A clip's name says how long its windows are."""
    for size in map(int, item.id.split("-")):
        yield Piece(torch.full((size,), float(size)), size / RATE)


def _run(names, seconds=2.0, score=None, shards=None, num_workers=0):
    batches = []

    def own(windows, prompts):
        batches.append([len(window) for window in windows])
        return [WindowScore([window.mean().item()]) for window in windows]

    items = [(shards[i] if shards else 0, Item(name, name)) for i, name in enumerate(names)]
    groups = list(score_groups(items, _read, score or own, Batching(seconds, RATE, num_workers)))
    return groups, batches


def test_a_clip_is_the_weighted_mean_of_its_windows():
    ((row,),), _ = _run(["10-10-5"])
    assert row.scores == (pytest.approx((10 * 10 + 10 * 10 + 5 * 5) / 25),)
    assert row.seconds == 2.5


def test_batches_hold_windows_of_like_length_and_no_more_than_fit():
    groups, batches = _run(["3", "9", "4-9", "3", "8"])
    assert batches == [[3, 3, 4, 8][:3], [8, 9], [9]] or all(len(b) * max(b) <= 20 or len(b) == 1 for b in batches)
    assert [b for batch in batches for b in batch] == sorted(b for batch in batches for b in batch)
    assert [row.item.id for row in groups[0]] == ["3", "9", "4-9", "3", "8"]


def test_a_long_clip_is_scored_on_the_way():
    held = []

    def score(windows, prompts):
        held.append(sum(map(len, windows)))
        return [WindowScore([1.0])] * len(windows)

    produced = []

    def read(item):
        for _ in range(100):
            produced.append(10)
            assert sum(produced) - sum(held) <= GROUP_BATCHES * 2 * RATE
            yield Piece(torch.ones(10), 1.0)

    ((row,), _) = score_groups([(0, Item("long", "long"))], read, score, Batching(2.0, RATE, 0))
    assert row.seconds == 100
    assert max(held) <= 2 * RATE


def test_what_is_together_follows_from_the_clips_and_not_from_where_a_run_began():
    names = ["7", "3-3", "9", "5", "8-8-8-8", "2", "4", "6", "9", "1"]
    whole, batches = _run(names)
    first = len(whole[0])
    assert 0 < first < len(names)
    rest, again = _run(names[first:])
    assert again == batches[-len(again) :]
    assert [row for group in rest for row in group] == [row for group in whole[1:] for row in group]
    threads, same = _run(names, num_workers=3)
    assert (threads, same) == (whole, batches)


def test_shards_are_not_mixed():
    _, batches = _run(["3", "3", "3", "3"], shards=[0, 0, 1, 1])
    assert batches == [[3, 3], [3, 3]]


def test_a_window_that_fails_takes_its_own_clip_alone():
    def score(windows, prompts):
        if any(len(window) == 4 for window in windows):
            raise RuntimeError(f"too\n  much of {object()} @ 0x7f0012345678")
        return [WindowScore([float(len(window))]) for window in windows]

    ((three, four, five),) = _run(["3", "4-3", "5"], score=score)[0]
    assert (three.scores, five.scores) == ((3.0,), (5.0,))
    assert (four.scores, four.error) == ((), "RuntimeError: too much of @")  # no places in memory


def test_scores_that_are_not_finite_are_an_error():
    ((row,),) = _run(["3"], score=lambda windows, prompts: [WindowScore([math.nan])])[0]
    assert (row.scores, row.error) == ((), "the model gives no finite score")
