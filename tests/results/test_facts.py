"""run.json: what a run folder says of itself, whatever subcommand made it."""

import json
import subprocess

import pytest
import torch

from lightning_aqa.cli.main import main
from lightning_aqa.results.facts import axes_of_run, read_facts

SMALL = ["--model.encoder=MelSpectrogram", "--model.encoder.width=8", "--model.encoder.depth=1", "--model.freeze=all"]


@pytest.fixture(scope="module")
def made(corpora, tmp_path_factory):
    """The folder of runs: one fit of a made-up corpus read as MusicEval, its test, and a copy of the encoder's hash."""
    root = tmp_path_factory.mktemp("facts")
    data = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", f"--trainer.default_root_dir={root}"]
    assert main(["fit", *data, *SMALL, "--trainer.max_epochs=1", "--name=fit"]) == 0
    checkpoint = root / "fit" / "checkpoints" / "best.ckpt"
    assert main(["test", *data, f"--ckpt_path={checkpoint}", "--name=test"]) == 0
    assert main(["predict", *data, f"--ckpt_path={checkpoint}", "--name=predict"]) == 0
    return root


@pytest.mark.parametrize("subcommand", ["fit", "test", "predict"])
def test_a_run_says_all_about_itself(made, subcommand):
    facts = json.loads((made / subcommand / "run.json").read_text())
    assert facts["subcommand"] == subcommand
    assert facts["command"][0] == subcommand
    assert f"--name={subcommand}" in facts["command"]
    assert (facts["corpus"], facts["is_simulated"]) == ("MusicEval", True)
    assert [axis.title for axis in axes_of_run(facts)] == ["Musical impression", "Textual alignment"]
    assert facts["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["encoder"]["class"] == "MelSpectrogram"
    assert facts["encoder"]["settings"]["width"] == 8
    assert len(facts["encoder"]["weights"]) == 64


def test_the_hash_of_the_weights_is_that_of_the_checkpoint(made):
    hashes = {read_facts(made / name)["encoder"]["weights"] for name in ("fit", "test", "predict")}
    assert len(hashes) == 1, "a frozen encoder has the same weights before and after the training"


def test_the_commit_is_that_of_the_working_folder(corpora, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--trainer.max_epochs=1"]
    assert main([*command, "--name=outside"]) == 0
    assert read_facts(tmp_path / "runs" / "outside")["git_commit"] is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert main([*command, "--name=inside"]) == 0
    assert read_facts(tmp_path / "runs" / "inside")["git_commit"] == head


def test_a_real_corpus_is_not_simulated(tmp_path):
    import numpy as np
    import soundfile

    rows = ["file,overall,split"]
    for number in range(12):
        tone = 0.1 * np.sin(np.arange(8000) * (0.1 + number / 30))
        soundfile.write(tmp_path / f"{number}.wav", tone, 16000)
        rows.append(f"{number}.wav,{1 + number / 3},{('train', 'train', 'dev', 'test')[number % 4]}")
    (tmp_path / "r.csv").write_text("\n".join(rows))
    data = ["--data=Table", f"--data.path={tmp_path / 'r.csv'}", f"--data.audio_root={tmp_path}"]
    folders = [f"--trainer.default_root_dir={tmp_path}", "--name=run", "--trainer.max_epochs=1"]
    assert main(["fit", *data, "--data.axes={overall: [1, 5]}", *folders]) == 0
    facts = read_facts(tmp_path / "run")
    assert (facts["corpus"], facts["is_simulated"]) == ("Table", False)
