"""Every command of README.md and docs/data.md runs, in a folder that holds what they take for granted and no more."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from lightning_aqa.cli.main import main
from lightning_aqa.cli.subcommands import SUBCOMMANDS
from tests.pictures import drawing

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = "python -m lightning_aqa "


def _lines(page):
    """The lines of the fenced ``sh`` blocks of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.split(" # ")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


LINES = _lines("README.md")
COMMANDS = dict.fromkeys(line for line in LINES + _lines("docs/data.md") if line.startswith(PROGRAM))
RUNS = [line for line in COMMANDS if line.split()[3] not in SUBCOMMANDS]
QUICKSTART, OWN_DATA = f"{PROGRAM}fit --config experiments/quickstart.yaml", f"{PROGRAM}fit ratings.csv clips"
OTHERS = [line for line in RUNS if line not in (QUICKSTART, OWN_DATA)]
INSTALL = ("pip install .", "conda env create -f environment.yml")
# The other subcommands, and what each leaves in the folder of the sandbox; inspect leaves nothing.
LEAVES = {"score": "scores.csv", "report": "runs/quickstart/report/report.html", "plan": "plan/plan.csv", "inspect": ""}

# What makes a command small, by the parts that it uses; flags that come later win.
SMALL = {
    "Synthetic": ["--data.num_clips={num_clips}", "--data.num_systems=3", "--data.seconds=[0.5, 0.9]"],
    "Table": ["--data.folds=2", "--data.fold=0", "--data.dev_fraction=0.2"],
    "MelSpectrogram": ["--model.encoder.width=32", "--model.encoder.depth=1"],
}


@pytest.fixture(scope="module")
def sandbox(corpora, tmp_path_factory):
    """The folder of a user who has this repository's experiments, the corpora that the pages name, and ratings."""
    folder = tmp_path_factory.mktemp("readme")
    audio = corpora["musiceval"] / "MusicEval-full" / "wav"
    there = {"experiments": ROOT / "experiments", "MusicEval-full": corpora["musiceval"] / "MusicEval-full"}
    there |= {"AES": corpora["aes_natural"], "LibriTTS": corpora["aes_natural"] / "audio" / "LibriTTS"}
    there |= {"unbalanced_train_segments": corpora["aes_natural"] / "audio" / "AudioSet", "clips": audio}
    for name, target in there.items():
        (folder / name).symlink_to(target)
    rows = [f"{path.name},L1,{1 + number % 5}" for number, path in enumerate(sorted(audio.iterdir()))]
    (folder / "ratings.csv").write_text("\n".join(["file,listener,overall", *rows]))
    with pytest.MonkeyPatch.context() as patch, drawing():
        patch.chdir(folder)
        assert _run(QUICKSTART) == _run(OWN_DATA) == 0
    return folder


def _run(command):
    """Run a command for one epoch on few clips."""
    words = shlex.split(command.removeprefix(PROGRAM))
    if words[0] in LEAVES:
        return main(words)
    small = [flag for part in _parts(words) for flag in SMALL.get(part, [])]
    if words[0] == "fit":
        small += ["--trainer.max_epochs=1", "--trainer.logger=false", "--data.num_workers=0"]
    num_clips = 60 if "--data.layout=aes_natural" in words else 30
    return main([*words, *(flag.format(num_clips=num_clips) for flag in small)])


def _parts(words):
    """Name the classes of the corpus and the encoder that a command uses."""
    given = dict(word.split("=", 1) for word in words if "=" in word)
    config = yaml.safe_load(Path(words[words.index("--config") + 1]).read_text()) if "--config" in words else {}
    encoder = config.get("model", {}).get("encoder", "")
    parts = [given.get("--data") or config.get("data", "Table"), given.get("--model.encoder") or encoder]
    return [(part["class_path"] if isinstance(part, dict) else part).rsplit(".", 1)[-1] for part in parts]


def test_every_command_is_of_a_kind_that_is_tested_here():
    assert {QUICKSTART, OWN_DATA} <= set(RUNS)
    assert [line for line in LINES if not line.startswith((PROGRAM, "make ", *INSTALL))] == []


def test_the_quickstart_leaves_what_the_readme_says(sandbox):
    left = {path.name for path in (sandbox / "runs" / "quickstart").iterdir()}
    assert {"predictions.csv", "results.json", "checkpoints", "scatter_test.png"} <= left


@pytest.mark.parametrize("command", OTHERS)
def test_a_command_of_the_pages_runs(command, sandbox, monkeypatch):
    monkeypatch.chdir(sandbox)
    before = set((sandbox / "runs").iterdir())
    assert _run(command) == 0
    (run,) = set((sandbox / "runs").iterdir()) - before
    assert (run / "predictions.csv").exists()


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.split()[3] in SUBCOMMANDS])
def test_another_subcommand_of_the_pages_leaves_its_file(command, sandbox, monkeypatch):
    monkeypatch.chdir(sandbox)
    left = sandbox / LEAVES[command.split()[3]]
    if left.is_file():
        left.unlink()
    assert _run(command) == 0
    assert left.stat().st_size > 0


@pytest.mark.parametrize("line", dict.fromkeys(line for line in LINES if line.startswith("make ")))
def test_a_make_command_names_targets_that_exist(line):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(line.split()[1:]) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_of_a_page_lead_somewhere(page):
    text = page.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    named = re.findall(r"`(?:python )?((?:lightning_aqa|benchmarks|experiments)/[\w/]+\.\w+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
