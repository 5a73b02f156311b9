"""A run that is killed at any step, and resumed, ends as the undisturbed one: weights, memories, history, all bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).parent / "resume_worker.py"
PLATEAU = (
    "{class_path: lightning.pytorch.cli.ReduceLROnPlateau, init_args: {monitor: val/loss, patience: 0, factor: 0.5}}"
)


@pytest.fixture
def jobs(corpora, tmp_path):
    """Two trainings, each run undisturbed and killed again and again, in forks of one process."""
    root = tmp_path
    common = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--objectives.qamro=QAMRO"]
    common += ["--objectives.near=Triplet", "--objectives.near.memory_size=16", "--objectives.far=Triplet"]
    common += ["--objectives.far.epsilon=1.5", "--data.batch_size=4"]
    steps = ["--objectives.qamro.memory_size=10", f"--data.cache={root / 'cache'}", f"--model.scheduler={PLATEAU}"]
    steps += ["--checkpoint_every_n_steps=1", "--trainer.accumulate_grad_batches=2", "--trainer.max_epochs=6"]
    steps += ["--patience=3", "--monitor=val/loss"]
    small = ["--model.encoder=MelSpectrogram", "--model.encoder.depth=1", "--model.encoder.width=32"]
    small += ["--model.head=AESANet", "--trainer.max_epochs=2", "--checkpoint_every_n_steps=2"]
    small += ["--trainer.val_check_interval=0.5", "--monitor=null"]
    jobs = {
        "steps": {"root": str(root / "steps"), "words": [*common, *steps], "num_kills": 7, "seed": 1},
        "small": {"root": str(root / "small"), "words": [*common, *small], "num_kills": 3, "seed": 2},
    }
    (root / "jobs.json").write_text(json.dumps(list(jobs.values())))
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, str(WORKER), str(root / "jobs.json")],
        capture_output=True, text=True, env=environment, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for job in jobs.values():
        report = json.loads((Path(job["root"]) / "report.json").read_text())
        assert (report["whole"], report["killed"]) == (0, 0), done.stdout + done.stderr
        job["kills"] = report["kills"]
    return jobs


def _both(job, name):
    return (
        torch.load(Path(job["root"]) / way / "run" / "checkpoints" / name, weights_only=True)
        for way in ("whole", "killed")
    )


def _assert_same(one, two, where=""):
    """Compare all that a checkpoint holds, but for the folder it is in."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            _assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for number, pair in enumerate(zip(one, two, strict=True)):
            _assert_same(*pair, f"{where}.{number}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype, where
        assert torch.equal(one, two), where
    else:
        assert one == two or one != one, (where, one, two)


def test_a_run_killed_again_and_again_ends_bit_identical(jobs):
    for job in jobs.values():
        _check_that_both_ended_alike(job)
    _check_that_kills_came_within_epochs_and_left_nothing_half_written(jobs["steps"])
    _check_that_the_best_checkpoint_is_that_of_the_undisturbed_run(jobs["steps"])


def _check_that_both_ended_alike(job):
    assert len(job["kills"]) == job["num_kills"]
    one, two = _both(job, "last.ckpt")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "aqa", "epoch", "global_step"):
        _assert_same(one[part], two[part], part)
    memories = [key for key in one["callbacks"] if "Checkpoint" not in key]
    assert {"Triplet[near]", "Triplet[far]", "History"} <= set(memories)
    for key in memories:
        _assert_same(one["callbacks"][key], two["callbacks"][key], key)
    for file in ("predictions.csv", "results.json", "history.csv"):
        whole, killed = (Path(job["root"]) / way / "run" / file for way in ("whole", "killed"))
        assert whole.read_text() == killed.read_text(), file


def _check_that_kills_came_within_epochs_and_left_nothing_half_written(job):
    steps_per_epoch = 3
    assert any(step % steps_per_epoch for step in job["kills"]), job["kills"]
    folder = Path(job["root"]) / "killed" / "run" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]


def _check_that_the_best_checkpoint_is_that_of_the_undisturbed_run(job):
    one, two = _both(job, "best.ckpt")
    assert one["epoch"] == two["epoch"]
    _assert_same(one["state_dict"], two["state_dict"])
    records = [
        torch.load(Path(job["root"]) / way / "run/checkpoints/last.ckpt", weights_only=True)["callbacks"]
        for way in ("whole", "killed")
    ]
    scores = [
        [value["best_model_score"] for key, value in record.items() if "best_model_score" in value]
        for record in records
    ]
    _assert_same(*scores)
