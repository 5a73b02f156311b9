"""Two processes give what one gives. Each test starts its processes itself, over gloo on the CPU."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.distributed_worker import OBJECTIVES, output_of

WORKER = Path(__file__).parent / "distributed_worker.py"


def _single(objective, case):
    weight = case["weight"].clone().requires_grad_()
    loss = objective.loss(output_of(case["inputs"], weight), _batch(case["targets"]))
    loss.backward()
    return loss.detach(), weight.grad


def _batch(targets):
    from lightning_aqa.batch import Batch

    names = [str(i) for i in range(len(targets))]
    return Batch(torch.zeros(len(names), 0), torch.zeros(len(names)).long(), targets, names, names, names, names)


@pytest.mark.parametrize("sizes", [(6, 6), (7, 3), (1, 4)])
def test_the_loss_of_a_split_batch_is_that_of_the_whole(tmp_path, sizes):
    generator = torch.Generator().manual_seed(sum(sizes))
    case = {
        "inputs": torch.randn(sum(sizes), 5, generator=generator, dtype=torch.float64),
        "weight": torch.randn(5, 2, generator=generator, dtype=torch.float64),
        "targets": torch.randint(2, 11, (sum(sizes), 2), generator=generator).double() / 2,
    }
    case["targets"][0, 1] = torch.nan
    torch.save({**case, "sizes": list(sizes)}, tmp_path / "case.pt")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(WORKER)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WORKER.parents[1])}
    subprocess.run([*command, str(tmp_path)], check=True, timeout=240, env=environment)
    for objective in OBJECTIVES:
        found = torch.load(tmp_path / f"{objective.name}.pt", weights_only=True)
        loss, gradient = _single(objective, case)
        assert abs(found["loss"] - loss) < 1e-12
        assert (found["gradient"] - gradient).abs().max() < 1e-12


def _command(words):
    done = subprocess.run(
        [sys.executable, "-m", "lightning_aqa", *words], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _table(folder):
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["split"], row["id"], row["axis"]): float(row["score"]) for row in rows}


@pytest.fixture(scope="module")
def runs(corpora, tmp_path_factory):
    """The same training on one process, and on two with half the batch each."""
    root = tmp_path_factory.mktemp("ddp")
    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--trainer.max_epochs=2"]
    words += ["--trainer.precision=64-true", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={root}"]
    words += ["--objectives.qamro=QAMRO", "--objectives.triplet=Triplet", "--model.head.dropout=0"]
    words += ["--objectives.frames=null", "--monitor=null"]
    _command([*words, "--name=one", "--data.batch_size=8"])
    _command([*words, "--name=two", "--data.batch_size=4", "--trainer.devices=2", "--trainer.strategy=ddp"])
    return root


def test_two_processes_train_to_the_weights_of_one(runs):
    one, two = (torch.load(runs / n / "checkpoints" / "last.ckpt", weights_only=True) for n in ("one", "two"))
    for name, weights in one["state_dict"].items():
        assert (weights - two["state_dict"][name]).abs().max() < 1e-9, name


def test_two_processes_give_the_metrics_of_one(runs):
    one, two = _table(runs / "one"), _table(runs / "two")
    assert two == pytest.approx(one, abs=1e-9)
    results = [json.loads((runs / name / "results.json").read_text()) for name in ("one", "two")]
    for split in ("train", "dev", "test"):
        for metric in ("SRCC", "KTAU"):
            both = [result[split]["utterance"]["MI"][metric] for result in results]
            assert both[0] == both[1]


def test_the_triplet_memory_holds_the_clips_of_all_processes(runs):
    one, two = (torch.load(runs / n / "checkpoints" / "last.ckpt", weights_only=True) for n in ("one", "two"))
    memories = [saved["callbacks"]["Triplet[triplet]"] for saved in (one, two)]
    assert len(memories[0]["scores"]) > 40
    assert torch.equal(memories[0]["scores"], memories[1]["scores"])
    assert (memories[0]["embedding"] - memories[1]["embedding"]).abs().max() < 1e-9


@pytest.mark.parametrize("num_clips", [1, 5])
def test_validation_is_the_same_with_more_processes_whatever_the_number_of_clips(runs, corpora, tmp_path, num_clips):
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:num_clips]
    lines = ["file,MI,TA,split", *(f"{path},{1 + i % 5},{5 - i % 4},dev" for i, path in enumerate(audio))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    words = ["validate", "--data=Table", f"--data.path={tmp_path / 'list.csv'}", "--data.axes={MI: [1, 5], TA: [1, 5]}"]
    words += [f"--ckpt_path={runs / 'one' / 'checkpoints' / 'last.ckpt'}", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--trainer.precision=64-true", "--trainer.accelerator=cpu", "--data.batch_size=2"]
    _command([*words, "--name=one"])
    _command([*words, "--name=two", "--trainer.devices=2", "--trainer.strategy=ddp"])
    assert _table(tmp_path / "one") == _table(tmp_path / "two")
    assert (tmp_path / "one" / "results.json").read_text() == (tmp_path / "two" / "results.json").read_text()
