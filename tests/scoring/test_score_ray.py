"""The engine ray: the same rows as on this machine, also where a worker dies; one clear line without Ray."""

import sys

import pytest

from lightning_aqa.scoring import ray_engine


def test_without_ray_one_line_says_what_to_install(score, clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = score(clips, "--engine=ray")
    assert code == 2
    assert said.err == "error: --engine ray needs Ray: pip install 'lightning_aqa[ray]'.\n"


@pytest.mark.filterwarnings("default")
def test_a_cluster_gives_the_same_rows_and_redoes_the_shard_of_a_dead_worker(score, clips, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'lightning_aqa[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    words = [clips, "missing.wav", "--shard_clips=2"]
    local = score(*words, output="local.csv")
    in_order, killed = ray_engine._in_order, []

    def kill_one(ray, actors, shards):
        def drawn():
            for number, shard in enumerate(shards):
                if number == 2:  # it is there and has done its first shard
                    ray.get(actors[0].__ray_ready__.remote())
                yield shard
                if number == 2:  # it has been given its second shard
                    ray.kill(actors[0], no_restart=False)
                    killed.append(actors[0])

        return in_order(ray, actors, drawn())

    monkeypatch.setattr(ray_engine, "_in_order", kill_one)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        code, rows, _ = score(*words, "--engine=ray", "--num_actors=2", output="cluster.csv")
    finally:
        ray.shutdown()
    assert len(killed) == 1
    assert (code, rows) == (local[0], local[1])
    assert [row["error"] for row in rows] == [""] * 10 + ["no such file."]
