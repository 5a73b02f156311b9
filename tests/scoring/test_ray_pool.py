"""Workers of a cluster that die while they start, while they work, again and again, or never start at all."""

import os
import signal
import time
from types import SimpleNamespace

import pytest

from lightning_aqa.scoring import ray as engine
from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.ray import ActorPool

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def ray():
    """A small cluster on this machine."""
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'lightning_aqa[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def pool(ray, tmp_path):
    """Score eight shards of two clips by workers to which ``trouble(what, marks, clip)`` happens."""

    def run(trouble, count=2):
        class Worker:
            def start(self):
                trouble("start", tmp_path, None)

            def score(self, shard):
                for _, clip in shard:
                    trouble("score", tmp_path, clip)
                return [(clip, float(clip)) for _, clip in shard]

        remote = ray.remote(num_cpus=1, max_restarts=0)(Worker)
        shards = [[(index, str(2 * index)), (index, str(2 * index + 1))] for index in range(8)]
        rows = [row for rows in ActorPool(ray, remote.remote, count).score(shards) for row in rows]
        assert [row[0] for row in rows] == [str(clip) for clip in range(16)]
        return [row.error if isinstance(row, ScoredClip) else row[1] for row in rows]

    return run


def first_time(marks, name):
    """Tell whether this was never asked before, in any process."""
    try:
        (marks / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def die():
    """End this process as the kernel does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


# What follows is sent to the cluster by value, so it may not refer to this module.
def _local(function):
    function.__module__ = "__main__"
    return function


first_time, die = _local(first_time), _local(die)


@_local
def dies_once_at_start(what, marks, clip):
    if what == "start" and first_time(marks, "start"):
        die()


@_local
def dies_once_at_work(what, marks, clip):
    if clip in ("5", "14") and first_time(marks, clip):
        die()


@_local
def hangs_once_at_start(what, marks, clip):
    if what == "start" and first_time(marks, "start"):
        time.sleep(600)


CASES = {"start": (dies_once_at_start, 1), "work": (dies_once_at_work, 3), "hang": (hangs_once_at_start, 1)}


@pytest.mark.parametrize("name", CASES)
def test_a_lost_worker_costs_no_clip(pool, monkeypatch, name):
    if name == "hang":
        monkeypatch.setattr(engine, "START_SECONDS", 5)
        monkeypatch.setattr(engine, "RETRIES", 20)  # on a busy machine a good one may take longer
    assert pool(*CASES[name]) == [float(clip) for clip in range(16)]


def test_a_shard_that_kills_every_worker_costs_its_own_clips_alone(pool, monkeypatch):
    @_local
    def dies(what, marks, clip):
        if clip == "6":
            die()

    monkeypatch.setattr(engine, "RETRIES", 1)
    found = pool(dies)
    assert [clip for clip, value in enumerate(found) if value != float(clip)] == [6, 7]
    assert found[6] == found[7]
    assert found[6].startswith("the worker died 2 times over the 2 clips of this shard; --retry with --shard_clips=1")


def test_workers_that_never_start_end_in_one_error(pool, monkeypatch):
    @_local
    def dies(what, marks, clip):
        die()

    monkeypatch.setattr(engine, "RETRIES", 1)
    with pytest.raises(ValueError, match=r"no worker of the cluster could be started in 2 attempts \(.+\): each needs"):
        pool(dies, 1)


class ReadyRay:
    """A cluster where all is done at once; it notes whom it kills."""

    exceptions = SimpleNamespace(RayError=OSError, RayTaskError=KeyError)

    def __init__(self):
        self.made, self.killed = [], []

    def make_actor(self):
        actor = SimpleNamespace(start=SimpleNamespace(remote=object), score=SimpleNamespace(remote=Shard))
        self.made.append(actor)
        return actor

    def wait(self, refs, num_returns, timeout):
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref):
        return getattr(ref, "rows", None)

    def kill(self, actor):
        self.killed.append(actor)


class Shard:
    """The task of a shard."""

    def __init__(self, shard):
        self.rows = [ScoredClip(item, 1.0, (1.0,)) for _, item in shard]


def test_a_worker_that_started_while_nobody_looked_is_kept(monkeypatch):
    monkeypatch.setattr(engine, "START_SECONDS", -1.0)  # as where the next shard was waited for so long
    ray = ReadyRay()
    shards = [[(index, Item(str(index), "a.wav"))] for index in range(5)]
    found = ActorPool(ray, ray.make_actor, 3).score(shards)
    assert next(found)[0].item.id == "0"
    assert (len(ray.made), ray.killed) == (3, [])
    assert len(list(found)) == 4
