"""Runs that a limit, a signal or a second run ends early: what is said, what is kept, and that going on ends equal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.test_exact_resume import _assert_same

WORKER = Path(__file__).parent / "endings_worker.py"
STEPS = 6
"""Steps of an epoch."""


def _step(ending=None, **flags):
    words = [f"--{name.replace('__', '.')}={value}" for name, value in flags.items()]
    return {"words": words, **({"ending": ending} if ending else {})}


def _signal(name, hook, position):
    return {"signal": name, "hook": hook, "position": position}


LIMITS = {"trainer__max_epochs": 2}
INTERVAL = {"trainer__val_check_interval": 2, "trainer__max_epochs": 2}
JOBS = {
    "whole": [_step(**LIMITS)],
    "max_steps": [_step(**LIMITS, trainer__max_steps=1), _step(**LIMITS)],
    "max_epochs=-1": [_step(trainer__max_epochs=-1, trainer__max_steps=n) for n in (STEPS, 2 * STEPS)],
    "SIGTERM": [_step(_signal("SIGTERM", "on_train_batch_start", 2), **LIMITS), _step(**LIMITS)],
    "SIGINT in validation": [_step(_signal("SIGINT", "validation_step", 1), **LIMITS), _step(**LIMITS)],
    "SIGTERM in the closing test": [_step(_signal("SIGTERM", "on_test_epoch_start", 1), **LIMITS), _step(**LIMITS)],
    "whole, interval": [_step(**INTERVAL)],
    "max_steps at a validation": [_step(**INTERVAL, trainer__max_steps=2), _step(**INTERVAL)],
    "SIGTERM at a validation": [_step(_signal("SIGTERM", "validation_step", 1), **INTERVAL), _step(**INTERVAL)],
}
CODES = {"SIGTERM": 143, "SIGINT": 130}


@pytest.fixture(scope="module")
def jobs(corpora, tmp_path_factory):
    """Each job done: its folder, the exit codes of its commands, what they said."""
    root = tmp_path_factory.mktemp("endings")
    common = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--data.check=header", "--name=run"]
    common += ["--objectives.qamro=QAMRO", "--objectives.qamro.memory_size=10", "--objectives.near=Triplet"]
    common += ["--objectives.near.memory_size=16", "--data.batch_size=4", "--model.encoder=MelSpectrogram"]
    common += ["--model.encoder.depth=1", "--model.encoder.width=16", "--patience=9", "--trainer.accelerator=cpu"]
    common += [f"--data.cache={root / 'cache'}", "--model.freeze=all", "--trainer.num_sanity_val_steps=0"]
    written = []
    for number, steps in enumerate(JOBS.values()):
        folder = root / str(number)
        folder.mkdir()
        last = folder / "run" / "checkpoints" / "last.ckpt"
        here = [f"--trainer.default_root_dir={folder}"]
        resumed = [here, [*here, f"--ckpt_path={last}"]]
        steps = [step | {"words": [*common, *step["words"], *resumed[k]]} for k, step in enumerate(steps)]
        written.append({"folder": str(folder), "steps": steps})
    (root / "jobs.json").write_text(json.dumps(written))
    done = subprocess.run(
        [sys.executable, str(WORKER), str(root / "jobs.json")],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(zip(JOBS, json.loads((root / "jobs.json").read_text()), strict=True))


@pytest.mark.parametrize("name", [name for name in JOBS if not name.startswith("whole")])
def test_a_run_that_ended_early_goes_on_where_it_was_and_ends_bit_identical(jobs, name):
    job, whole = jobs[name], jobs["whole, interval" if "at a validation" in name else "whole"]
    expected = [CODES.get(step.get("ending", {}).get("signal"), 0) for step in JOBS[name]]
    assert job["codes"] == expected, job["said"]
    assert whole["codes"] == [0], whole["said"]
    one, two = (Path(of["folder"]) / "run" for of in (whole, job))
    kept, again = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (one, two))
    for part in ("state_dict", "optimizer_states", "aqa", "epoch", "global_step"):
        _assert_same(kept[part], again[part], part)
    memories = [key for key in kept["callbacks"] if "Checkpoint" not in key]
    assert {"Triplet[near]", "History"} <= set(memories)
    for key in memories:
        _assert_same(kept["callbacks"][key], again["callbacks"][key], key)
    best = [torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True) for folder in (one, two)]
    _assert_same(best[0]["state_dict"], best[1]["state_dict"], "best")
    for file in ("history.csv", "predictions.csv", "results.json"):
        assert (one / file).read_text() == (two / file).read_text(), file


@pytest.mark.parametrize("name", [name for name in JOBS if name.startswith("SIG")])
def test_a_signal_is_told_in_one_line_with_what_goes_on(jobs, name):
    job = jobs[name]
    (line,) = [line for line in job["said"][0].splitlines() if line.startswith("stopped by")]
    last = Path(job["folder"]) / "run" / "checkpoints" / "last.ckpt"
    assert line.startswith(f"stopped by {name.split()[0]}. The state is whole in {last}; this goes on: python -m")
    assert line.endswith(f"--ckpt_path={last}")
    assert "Traceback" not in job["said"][0]
    assert "results" not in job["said"][0]
    assert not list(Path(job["folder"]).rglob("run.lock"))
