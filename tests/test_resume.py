"""A run that is killed after an epoch and resumed ends as the undisturbed one: weights, memory, history, all bits."""

import os
import signal
import subprocess
import sys

import pytest
import torch

KILLER = """
import os, signal
from lightning.pytorch.callbacks import Callback
class Killer(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def _run(words, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "lightning_aqa", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.mark.parametrize("head", ["MLP", "AESANet"])
def test_a_killed_and_resumed_run_ends_bit_identical(corpora, tmp_path, head):
    (tmp_path / "killer.py").write_text(KILLER)
    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--model.head={head}"]
    words += ["--objectives.near=Triplet", "--objectives.near.memory_size=16", "--objectives.far=Triplet"]
    words += ["--objectives.far.epsilon=1.5", "--objectives.qamro=QAMRO", "--trainer.max_epochs=4"]
    words += ["--model.encoder=MelSpectrogram", "--model.encoder.depth=1", "--model.encoder.width=32"]
    words += [f"--trainer.default_root_dir={tmp_path}", "--data.batch_size=8"]
    whole = _run([*words, "--name=whole"], tmp_path)
    assert whole.returncode == 0, whole.stderr
    killed = _run([*words, "--name=killed", "--trainer.callbacks+=killer.Killer"], tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    resumed = _run([*words, "--name=killed", f"--ckpt_path={last}"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    one, two = (torch.load(tmp_path / n / "checkpoints" / "last.ckpt", weights_only=True) for n in ("whole", "killed"))
    assert one["epoch"] == two["epoch"] == 3
    for name, weights in one["state_dict"].items():
        assert torch.equal(weights, two["state_dict"][name]), name
    for memory in ("Triplet[near]", "Triplet[far]"):
        for name, value in one["callbacks"][memory].items():
            assert torch.equal(value, two["callbacks"][memory][name]), (memory, name)
    for name in ("predictions.csv", "results.json", "history.csv"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "killed" / name).read_text(), name
