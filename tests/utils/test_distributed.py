"""Two processes give what one gives. Each test starts its processes itself, over gloo on the CPU."""

import csv
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from lightning_aqa.cli.main import main
from tests.utils import distributed_worker as alone

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
BAD = """
import torch
from lightning_aqa.objectives.regression import Regression
class Breaks(Regression):
    \"\"\"Not a number from the third batch on.\"\"\"
    count = 0
    def loss(self, output, batch):
        Breaks.count += torch.is_grad_enabled()
        return super().loss(output, batch) * (torch.nan if Breaks.count > 2 else 1.0)
"""

COUNTED = """
import os
from pathlib import Path
from lightning_aqa.encoders.melspectrogram import MelSpectrogram
class Counted(MelSpectrogram):
    \"\"\"Notes which process encoded how many windows.\"\"\"
    def forward(self, waveform, num_samples, prompts=None):
        with open(Path(__file__).with_suffix(".log"), "a") as file:
            file.write(f"{os.environ.get('LOCAL_RANK', 'alone')} {len(waveform)}\\n")
        return super().forward(waveform, num_samples, prompts)
"""


def _start(words, **environment):
    """Run python with some words; the seconds are those after which a hang fails."""
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd()), **environment},
    )  # fmt: skip


# By every objective


@pytest.fixture(scope="module")
def two(corpora, tmp_path_factory):
    """What two processes found."""
    folder = tmp_path_factory.mktemp("every")
    done = _start([*TORCHRUN, alone.__file__, str(corpora["musiceval"]), str(folder)])
    assert done.returncode == 0, done.stdout + done.stderr
    return torch.load(folder / "two.pt", weights_only=True)


@pytest.fixture(scope="module")
def one(corpora):
    """What this process finds with the same global batches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return alone.train(str(corpora["musiceval"]), 1)


@pytest.mark.parametrize("objective", alone.every_objective(), ids=lambda objective: objective.name)
@pytest.mark.parametrize("sizes", alone.SIZES)
def test_the_loss_of_a_split_batch_is_that_of_the_whole(two, objective, sizes):
    loss, gradient = alone.losses_of(objective, sizes)
    found_loss, found_gradient = two["losses"][objective.name, sizes]
    assert abs(found_loss - loss) < 1e-12
    assert (found_gradient - gradient).abs().max() < 1e-12


def test_two_processes_train_to_the_weights_of_one_by_every_objective(one, two):
    before = alone.make_module().state_dict()
    for name, weights in one["weights"].items():
        assert (weights - two["trained"]["weights"][name]).abs().max() < 1e-9, name
    assert (one["weights"]["head.last.weight"] - before["head.last.weight"]).abs().max() > 1e-4


def test_two_processes_log_the_losses_and_metrics_of_one(one, two):
    assert two["trained"]["logged"] == pytest.approx(one["logged"], abs=1e-9, nan_ok=True)
    assert {f"train/{objective.name}" for objective in alone.every_objective()} <= one["logged"].keys()


def _leaves(state, path=""):
    """Yield the numbers of a state, whatever containers they lie in, as tensors."""
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        for name, value in pairs:
            yield from _leaves(value, f"{path}/{name}")
    elif not isinstance(state, str | None):
        yield path, torch.as_tensor(state)


def test_two_processes_fill_the_memories_of_one(one, two):
    memories = {name: state for name, state in one["memories"].items() if state}
    assert {"Triplet", "remembering"} <= memories.keys()
    for name, state in memories.items():
        of_two = dict(_leaves(two["trained"]["memories"][name]))
        for field, value in _leaves(state):
            assert value.shape == of_two[field].shape, (name, field)
            assert (value.double() - of_two[field].double()).abs().sum() < 1e-9, (name, field)


def test_two_processes_broken_off_within_an_epoch_go_on_to_the_same_bits(two):
    one, other = two["trained"], two["resumed"]
    assert other["logged"] == pytest.approx(one["logged"], abs=0, rel=0, nan_ok=True)
    for part in ("weights", *(("memories", name) for name in one["memories"])):
        whole, resumed = (found[part] if part == "weights" else found["memories"][part[1]] for found in (one, other))
        assert whole.keys() == resumed.keys()
        after = dict(_leaves(resumed))
        assert [name for name, value in _leaves(whole) if not torch.equal(value, after[name])] == []


# Through the command line


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
    words += ["--objectives.qamro=QAMRO", "--objectives.triplet=Triplet", "--objectives.listeners=Listeners"]
    words += ["--model.head.dropout=0", "--monitor=null"]
    assert main([*words, "--name=one", "--data.batch_size=8"]) == 0
    done = _start(["-m", "lightning_aqa", *words, "--name=two", "--data.batch_size=4", "--trainer.devices=2"])
    assert done.returncode == 0, done.stdout + done.stderr
    (root / "stderr.txt").write_text(done.stderr)
    return root


def test_two_processes_warn_of_nothing_and_tell_what_they_find_once(runs):
    lines = (runs / "stderr.txt").read_text().splitlines()
    assert [line for line in lines if "sync_dist" in line or "Warning" in line] == []
    told = [line for line in lines if "Initializing distributed" not in line]
    assert len(told) == len(set(told))


def test_two_processes_of_the_command_train_to_the_weights_of_one(runs):
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


@pytest.mark.slow
def test_validation_with_fewer_clips_than_processes_is_that_of_one(runs, corpora, tmp_path):
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:1]
    lines = ["file,MI,TA,split", *(f"{path},{1 + i % 5},{5 - i % 4},dev" for i, path in enumerate(audio))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    words = ["validate", "--data=Table", f"--data.path={tmp_path / 'list.csv'}", "--data.axes={MI: [1, 5], TA: [1, 5]}"]
    words += [f"--ckpt_path={runs / 'one' / 'checkpoints' / 'last.ckpt'}", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--trainer.precision=64-true", "--trainer.accelerator=cpu", "--data.batch_size=2"]
    assert main([*words, "--name=one"]) == 0
    done = _start([*TORCHRUN, "-m", "--", "lightning_aqa", *words, "--name=two", "--trainer.devices=2"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert _table(tmp_path / "one") == _table(tmp_path / "two")
    assert (tmp_path / "one" / "results.json").read_text() == (tmp_path / "two" / "results.json").read_text()


def _errors(done):
    return [line for line in done.stderr.splitlines() if line.startswith("error")]


@pytest.mark.slow
def test_training_with_fewer_clips_than_processes_ends_in_one_line(corpora, tmp_path):
    audio = sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())[:2]
    lines = ["file,MI,split", f"{audio[0]},3,train", f"{audio[1]},4,dev"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    words = ["fit", "--data=Table", f"--data.path={tmp_path / 'list.csv'}", "--data.axes={MI: [1, 5]}"]
    words += ["--trainer.accelerator=cpu", "--trainer.devices=2", f"--trainer.default_root_dir={tmp_path}"]
    done = _start([*TORCHRUN, "-m", "--", "lightning_aqa", *words, "--monitor=null"])
    assert done.returncode != 0
    assert _errors(done) == ["error: 1 training clips are too few for 2 processes: use fewer devices."], done.stderr


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_all_processes_in_one_line(corpora, tmp_path):
    (tmp_path / "breaks.py").write_text(BAD)
    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--objectives.bad=breaks.Breaks"]
    words += ["--trainer.accelerator=cpu", "--trainer.devices=2", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--data.batch_size=4", "--checkpoint_every_n_steps=1", "--name=run"]
    path = os.pathsep.join([str(Path.cwd()), str(tmp_path)])
    done = _start(["-m", "lightning_aqa", *words], PYTHONPATH=path)
    assert done.returncode == 2, done.stderr
    (said,) = _errors(done)
    assert "The loss is not finite: objective bad (nan) at epoch 1, batch 3; its clips: " in said
    assert f"The last good checkpoint is {tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}." in said


@pytest.mark.slow
def test_two_processes_fill_one_cache_each_its_half_and_train_from_it(corpora, tmp_path, monkeypatch):
    (tmp_path / "counted.py").write_text(COUNTED)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}"]
    words += ["--model.encoder=counted.Counted", "--model.freeze=all", "--model.encoder.width=16"]
    words += ["--trainer.precision=64-true", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--trainer.max_epochs=2", "--model.head.dropout=0", "--monitor=null"]
    cache, found = f"--data.cache={tmp_path / 'cache'}", {}
    path = os.pathsep.join([str(Path.cwd()), str(tmp_path)])
    runs = {"live": ["--data.batch_size=8"], "two": ["--data.batch_size=4", "--trainer.devices=2", cache]}
    for name, more in (runs | {"after": ["--data.batch_size=8", cache]}).items():
        (tmp_path / "counted.log").write_text("")
        if name == "two":
            done = _start(["-m", "lightning_aqa", *words, *more, f"--name={name}"], PYTHONPATH=path)
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            assert main([*words, *more, f"--name={name}"]) == 0
        found[name] = _table(tmp_path / name)
        log = [line.split() for line in (tmp_path / "counted.log").read_text().splitlines()]
        counts = {rank: sum(int(count) for who, count in log if who == rank) for rank, _ in log}
        assert counts == {"two": {"0": 15, "1": 15}, "after": {}}.get(name, counts)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sum(path.suffix == ".safetensors" for path in files) == 30
    assert [path.name for path in files if path.name.endswith(".part")] == []
    assert len(json.loads((tmp_path / "cache" / "index.json").read_text())) == 30  # the hash of each clip
    assert found["two"] == pytest.approx(found["live"], abs=1e-5)
    assert found["after"] == pytest.approx(found["two"], abs=1e-9)
