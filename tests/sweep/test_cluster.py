"""Ray runs a sweep: the same trials in the same folder as the local engine."""

import importlib.util
import sys

import pytest

from lightning_aqa.sweep import command


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray, the extra ray")
def test_ray_runs_the_trials_that_the_local_engine_would(write_sweep, sandbox, sweep, monkeypatch):
    import lightning_aqa

    root = lightning_aqa.__path__[0].removesuffix("/lightning_aqa")
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
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


def test_the_engines_get_the_words_of_the_command():
    words = ["a.yaml", "--engine", "ray", "--workers=3", "--retry", "--report", "--", "--engine=x"]
    kept = command.without(words, ("--engine", "--workers"), ("--report",))
    assert kept == ["a.yaml", "--retry", "--", "--engine=x"]
