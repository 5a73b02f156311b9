"""Prefetching for the reader: order, errors in their place, bounded memory, an early end."""

import threading

import pytest

from lightning_aqa.scoring.batching import ITEMS_PER_WORKER, VALUES_PREFETCHED, prefetch


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_keys_and_values_come_in_order(num_workers):
    found = [(key, list(values)) for key, values in prefetch(range(20), range, num_workers)]
    assert found == [(key, list(range(key))) for key in range(20)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_comes_where_it_belongs_and_stops_no_other(num_workers):
    def make(key):
        yield key
        if key == 1:
            raise ValueError("bad")

    for key, values in prefetch(range(4), make, num_workers):
        stream = iter(values)
        assert next(stream) == key
        if key == 1:
            with pytest.raises(ValueError, match="bad"):
                next(stream)
        else:
            assert list(stream) == []


def test_no_more_is_made_than_what_may_wait():
    made, lock, num_workers = [], threading.Lock(), 2

    def make(key):
        for value in range(1000):
            with lock:
                made.append(key)
            yield value

    taken = 0
    for _, values in prefetch(iter(range(1000)), make, num_workers):
        for _ in values:
            taken += 1
            with lock:
                assert len(made) - taken <= ITEMS_PER_WORKER * num_workers * (VALUES_PREFETCHED + 1) + VALUES_PREFETCHED
            if taken % 50 == 0:
                break
        if taken >= 200:
            break
    assert threading.active_count() < 50


def test_values_that_are_left_unread_hold_nothing_up():
    threads = threading.active_count()
    for key, _ in prefetch(range(30), lambda key: range(100), num_workers=2):
        if key == 20:
            break
    names = [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
    for thread in names:
        thread.join(timeout=60)
    assert threading.active_count() <= threads
