"""Every YAML under experiments/: it opens with its command, and trains by it on a small corpus, logging to W&B offline."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from lightning_aqa.cli import main

ROOT = Path(__file__).parent.parent
PATHS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "experiments").rglob("*.yaml"))
NUM_FOLDS = 2


@pytest.fixture(autouse=True)
def sandbox(tmp_path, monkeypatch):
    """Call commands from a folder that has the experiments."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def table(corpora, tmp_path):
    """A table of ratings, two of each clip, and the folder of its audio."""
    audio = corpora["musiceval"] / "MusicEval-full" / "wav"
    names = sorted(path.name for path in audio.iterdir())[:12]
    rows = [f"{name},L{k},{1 + (i + k) % 5}" for i, name in enumerate(names) for k in range(2)]
    (tmp_path / "ratings.csv").write_text("\n".join(["file,listener,overall", *rows]))
    return audio


@pytest.fixture
def small(corpora, table):
    """Flags by corpus class that replace the corpus by a small one."""
    few = ["--data.num_clips=30", "--data.num_systems=4", "--data.seconds=[0.5, 0.9]"]
    return {
        "Synthetic": ["--data.root=synthetic", *few],
        "MusicEval": [f"--data.root={corpora['musiceval']}"],
        "AESNatural": [f"--data.root={corpora['aes_natural']}"],
        "Table": [f"--data.audio_root={table}", f"--data.folds={NUM_FOLDS}"],
    }


@pytest.fixture
def command(small):
    """The command that a YAML opens with, made small."""

    def make(path):
        config = yaml.safe_load(Path(path).read_text())
        words = [*small[_last(config["data"])], "--data.num_workers=0", "--trainer.max_epochs=1", "--name=run"]
        if _last(config["model"]["encoder"]) == "MelSpectrogram":
            words += ["--model.encoder.width=32", "--model.encoder.depth=1"]
        return ["fit", "--config", path, *words]

    return make


def _last(part):
    return (part["class_path"] if isinstance(part, dict) else part).rsplit(".", 1)[-1]


def test_there_are_experiments():
    assert {"experiments/quickstart.yaml", "experiments/own_data.yaml"} < set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_an_experiment_opens_with_its_command(path):
    lines = (ROOT / path).read_text().splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    commands = [line.removeprefix("#").strip() for line in header if "python -m" in line]
    assert [" ".join(words.split()[:6]) for words in commands] == [f"python -m lightning_aqa fit --config {path}"]


@pytest.mark.parametrize("path", [path for path in PATHS if path != "experiments/own_data.yaml"])
def test_an_experiment_trains_and_logs_offline(path, command, tmp_path, capsys):
    assert main(command(path)) == 0
    run = tmp_path / "runs" / "run"
    assert all(0 <= entry["MSE"] for entry in json.loads((run / "results.json").read_text())["test"]["utterance"].values())
    assert "experiments" not in (run / "config.yaml").read_text()
    (offline,) = (run / "wandb").glob("offline-run-*")
    assert any(path.suffix == ".wandb" for path in offline.iterdir())
    assert f"wandb sync {offline.relative_to(tmp_path)}" in capsys.readouterr().out


