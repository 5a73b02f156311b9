"""Ray runs a sweep: the same trials in the same folder as the local engine."""

import importlib.util
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from lightning_aqa.utils.args import split_options


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray, the extra ray")
def test_ray_runs_the_trials_that_the_local_engine_would(write_sweep, sandbox, sweep, monkeypatch):
    import lightning_aqa

    root = lightning_aqa.__path__[0].removesuffix("/lightning_aqa")
    monkeypatch.setenv("PYTHONPATH", root)
    write_sweep({"x": {"values": [0, 1, 2]}}, script='echo "$1, $OMP_NUM_THREADS threads"')
    code, said, trials = sweep("--engine=ray", "--workers=2")
    assert code == 0, said + "".join(path.read_text() for path in sandbox.glob("runs/s/ray-*.log"))
    assert [trial.state for trial in trials] == ["finished"] * 3
    assert trials[0].log.read_text() == "x=0, 1 threads\n"
    logs = "".join(path.read_text() for path in sandbox.glob("runs/s/ray-*.log"))
    assert all(trial.id in logs for trial in trials)
    before = [trial.id for trial in trials]
    assert [trial.id for trial in sweep()[2]] == before


def test_without_ray_one_line_says_how_to_get_it(write_sweep, fails, monkeypatch):
    write_sweep({"x": {"value": 0}}, script="true")
    monkeypatch.setitem(sys.modules, "ray", None)
    said = fails("sweep", "s.yaml", "--engine=ray")
    assert said == "error: --engine ray needs Ray: pip install 'lightning_aqa[ray]'."


def test_the_engines_get_the_arguments_of_the_command():
    args = ["a.yaml", "--engine", "ray", "--workers=3", "--retry", "--report", "--", "--engine=x"]
    kept = split_options(args, ("--engine", "--workers"), ("--report",))[1]
    assert kept == ["a.yaml", "--retry", "--", "--engine=x"]


class OneOfTwo:
    """A cluster on which one of two engines fails."""

    def cluster_resources(self):
        return {"CPU": 2.0}

    def remote(self, **share):
        return lambda engine: SimpleNamespace(remote=lambda *given: len(given))

    def get(self, tasks):
        return [0, 3]


def test_an_engine_that_fails_is_one_error_that_says_where_to_look(write_sweep, sandbox, fails, monkeypatch):
    write_sweep({"x": {"value": 0}}, script="true")
    monkeypatch.setattr("lightning_aqa.sweep.ray.cluster", lambda: nullcontext(OneOfTwo()))
    said = fails("sweep", "s.yaml", "--engine=ray", "--workers=2")
    assert said == (
        "error: 1 of 2 engines failed, see runs/s/ray-*.log; trials that have finished are kept: the same command goes "
        "on, and --show prints their table."
    )


def test_a_cluster_that_cannot_start_here_is_one_error(write_sweep, fails, monkeypatch):
    def init(**settings):
        raise RuntimeError("no room\nfor a cluster")

    write_sweep({"x": {"value": 0}}, script="true")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    broken = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setattr("lightning_aqa.utils.ray.import_ray", lambda: broken)
    said = fails("sweep", "s.yaml", "--engine=ray")
    assert said == "error: Ray cannot be started on this machine (no room); --engine local needs none."
