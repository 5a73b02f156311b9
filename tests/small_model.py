"""One small trained model that cuts clips into windows, and a folder of audio in several formats."""

import csv
import json

import numpy as np
import pytest
import soundfile

from lightning_aqa.cli.main import main

SMALL = ["--model.encoder=MelSpectrogram", "--model.encoder.width=8", "--model.encoder.depth=1"]
SMALL += ["--model.encoder.window_seconds=0.5", "--model.encoder.num_heads=1"]


@pytest.fixture(scope="session")
def run_folder(corpora, tmp_path_factory):
    """The run folder of a short fit; read-only."""
    root = tmp_path_factory.mktemp("scoring")
    args = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={root}"]
    assert main(["fit", *args, *SMALL, "--trainer.max_epochs=1", "--name=run"]) == 0
    return root / "run"


@pytest.fixture(scope="session")
def checkpoint(run_folder):
    """Path of its checkpoint."""
    return str(run_folder / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A folder with clips of one to several windows at several rates, some in a sub-folder; read-only."""
    root, random = tmp_path_factory.mktemp("audio") / "clips", np.random.default_rng(0)
    (root / "more").mkdir(parents=True)
    names = ["a.wav", "b.flac", "c.ogg", "d.mp3", "more/e.wav", "more/f.wav", "g.wav", "h.wav", "i.flac", "j.wav"]
    for number, name in enumerate(names):
        rate = (16000, 22050, 44100)[number % 3]
        shape = round((0.3 + 0.35 * (number * 7 % 5)) * rate), 1 + number % 2
        tone = np.sin(2 * np.pi * 100 * (number + 1) * np.arange(shape[0]) / rate)[:, None]
        soundfile.write(root / name, 0.3 * tone + 0.05 * random.standard_normal(shape), rate)
    return root


@pytest.fixture
def score(checkpoint, tmp_path, capfd):
    """Run ``score`` in process; return its exit code, its rows, and what it says."""

    def run(*args, output="scores.csv", source=checkpoint):
        capfd.readouterr()
        path = tmp_path / output
        code = main(["score", source, *map(str, args), f"--output={path}"])
        return code, read(path), capfd.readouterr()

    return run


def read(path):
    """Read the rows of an output."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [json.loads(line) for line in file] if path.suffix == ".jsonl" else list(csv.DictReader(file))
