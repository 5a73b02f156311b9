"""Leases: one of several processes gets a trial; that of a dead one is taken over, once."""

import json
import multiprocessing
import os
import subprocess
import sys

import pytest

from lightning_aqa.sweep import lease
from lightning_aqa.sweep.lease import is_stale, take_lease


def _take_all(folder, barrier, queue):
    barrier.wait()
    queue.put([name for name in map(str, range(50)) if take_lease(folder, name) is not None])
    barrier.wait()  # nobody dies before all have taken theirs, or the leases would be free again


def test_of_two_processes_one_gets_a_take_lease(tmp_path):
    fork = multiprocessing.get_context("fork")
    barrier, queue = fork.Barrier(2), fork.Queue()
    processes = [fork.Process(target=_take_all, args=(tmp_path, barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = queue.get(), queue.get()
    for process in processes:
        process.join()
    assert sorted([*first, *second], key=int) == [str(number) for number in range(50)]


def test_a_lease_is_kept_until_it_is_given_back(tmp_path):
    mine = take_lease(tmp_path, "x")
    assert take_lease(tmp_path, "x") is None
    mine.release()
    assert take_lease(tmp_path, "x") is not None


def test_the_lease_of_a_process_that_is_gone_is_taken_over(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = take_lease(tmp_path, "x")
    text = json.loads(mine.path.read_text())
    mine.path.write_text(json.dumps({**text, "pid": gone.pid}))
    taken = take_lease(tmp_path, "x")
    assert taken is not None
    assert take_lease(tmp_path, "x") is None
    assert mine.is_lost
    assert not taken.is_lost


def test_the_lease_of_another_machine_is_stale_once_it_is_not_renewed(tmp_path, monkeypatch):
    mine = take_lease(tmp_path, "x")
    mine.path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert not is_stale(mine.path)
    old = mine.path.stat().st_mtime - 2 * lease.STALE_SECONDS
    os.utime(mine.path, (old, old))
    assert is_stale(mine.path)
    mine.renew()  # not yet time to
    assert is_stale(mine.path)
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", -1.0)
    mine.renew()
    assert not is_stale(mine.path)


def test_a_lease_that_nobody_renews_is_free_though_its_number_is_alive_again(tmp_path):
    mine = take_lease(tmp_path, "x")
    old = mine.path.stat().st_mtime - 2 * lease.STALE_SECONDS
    os.utime(mine.path, (old, old))  # as after a restart in which another process got the number
    assert take_lease(tmp_path, "x") is not None


def test_a_lease_that_was_taken_over_and_given_back_is_lost_for_good(tmp_path, monkeypatch):
    mine = take_lease(tmp_path, "x")
    os.utime(mine.path, (0, 0))
    take_lease(tmp_path, "x").release()
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", -1.0)
    mine.renew()
    assert mine.is_lost
    assert take_lease(tmp_path, "x") is not None


@pytest.mark.parametrize("text", ["", "{"])
def test_a_lease_that_is_being_written_is_not_stale(tmp_path, text):
    mine = take_lease(tmp_path, "x")
    mine.path.write_text(text)
    assert not is_stale(mine.path)
    assert not is_stale(tmp_path / "given-back.1")
