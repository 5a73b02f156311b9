"""The engine ray: the same rows as on this machine, also where a worker dies; one clear line without Ray."""

import os
import shutil
import signal
import sys
import time

import pytest

from lightning_aqa.scoring import ray as engine


def test_without_ray_one_line_says_what_to_install(score, clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = score(clips, "--engine=ray")
    assert code == 2
    assert said.err == "error: --engine ray needs Ray: pip install 'lightning_aqa[ray]'.\n"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_an_address_without_a_cluster_is_one_error_at_once(score, clips, monkeypatch, address):
    pytest.importorskip("ray", reason="needs ray: pip install 'lightning_aqa[ray]'")
    monkeypatch.setenv("RAY_ADDRESS", address)
    code, _, said = score(clips, "--engine=ray")
    assert code == 2
    errors = [line for line in said.err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: Ray: no cluster at RAY_ADDRESS={address} (")


@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_a_cluster_gives_the_same_rows_and_redoes_what_dead_workers_had(score, clips, monkeypatch, tmp_path):
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'lightning_aqa[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    args = [clips, "missing.wav", "--shard_clips=2"]
    local = score(*args, output="local.csv")

    class Mortal(engine.Worker):
        """One of its kind is killed at its start, and one at a shard, as where memory is short."""

        def start(self):
            self._die_once("start")
            super().start()

        def score(self, shard):
            if any("e.wav" in item.path for _, item in shard):
                self._die_once("score")
            return super().score(shard)

        def _die_once(self, name):
            try:
                (tmp_path / name).touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    Mortal.__module__ = "__main__"  # goes to the cluster by value
    monkeypatch.setattr(engine, "Worker", Mortal)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        code, rows, _ = score(*args, "--engine=ray", "--num_actors=2", output="cluster.csv")
    finally:
        ray.shutdown()
    assert (tmp_path / "start").exists()
    assert (tmp_path / "score").exists()
    assert (code, rows) == (local[0], local[1])
    assert [row["error"] for row in rows] == [""] * 10 + ["no such file."]


@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_a_worker_that_cannot_load_the_model_is_one_error(score, clips, run_folder, monkeypatch, tmp_path):
    pytest.importorskip("ray", reason="needs ray: pip install 'lightning_aqa[ray]'")
    shutil.copytree(run_folder, tmp_path / "run")

    def gone(*given):
        shutil.rmtree(tmp_path / "run")  # between the check of the command and the start of the workers
        return score_on_ray(*given)

    score_on_ray = engine.score_on_ray
    monkeypatch.setattr("lightning_aqa.scoring.ray.score_on_ray", gone)
    source = tmp_path / "run" / "checkpoints" / "best.ckpt"
    code, rows, said = score(clips, "--engine=ray", "--num_actors=1", source=str(source))
    assert (code, rows) == (2, [])
    assert f"error: a worker of the cluster cannot load the model ({source}: no such checkpoint" in said.err
    assert "needs the same paths" in said.err
    assert sum(line.startswith("error") for line in said.err.splitlines()) == 1
