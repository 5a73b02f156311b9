"""docs/extending.md: every part on the page is cut out, saved as ``my_parts.py``, and trained with by its command."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_aqa.cli.main import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTION = re.compile(r"^## (.+?)$.*?^```python\n(.*?)^```$.*?^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PARTS = {title: (code, command) for title, code, command in SECTION.findall(PAGE)}


@pytest.fixture(autouse=True)
def sandbox(tmp_path, monkeypatch):
    """Call commands from a folder that has the experiments, and where ``my_parts`` can be imported from."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_parts", None)


@pytest.fixture
def save(tmp_path):
    """Save code as ``my_parts.py``."""
    return (tmp_path / "my_parts.py").write_text


@pytest.fixture
def train(corpora, fit, tmp_path):
    """Run a command of the page for an epoch on few clips, and return the run folder."""
    for number, path in enumerate(sorted((corpora["musiceval"] / "MusicEval-full" / "wav").iterdir())):
        link = tmp_path / "clips" / str(1 + number % 5) / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    few = ["--data.num_clips=30", "--data.num_systems=4", "--data.seconds=[0.5, 0.9]"]
    quickstart = [f"--data.root={corpora['musiceval']}", *few, "--trainer.logger=false"]

    def run(command):
        python, dash_m, package, verb, *words = shlex.split(command.replace("\\\n", " "))
        assert (python, dash_m, package, verb) == ("python", "-m", "lightning_aqa", "fit")
        return fit(*words, *(quickstart if "--config" in words else []))

    return run


def _config(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_the_page_shows_one_part_of_each_kind():
    assert list(PARTS) == ["An encoder", "A head", "An objective", "A corpus"]


@pytest.mark.parametrize("title", PARTS)
def test_a_part_of_the_page_is_short(title):
    body = [line for line in PARTS[title][0].splitlines() if line and not re.match(r"(from|import) ", line)]
    assert len(body) <= 14


@pytest.mark.parametrize("title", PARTS)
def test_a_part_of_the_page_trains_by_its_command(title, save, train):
    code, command = PARTS[title]
    save(code)
    folder = train(command)
    assert json.loads((folder / "results.json").read_text())["test"]["utterance"]["mean"]["MSE"] < 16
    saved = (folder / "config.yaml").read_text()
    assert re.search(r"my_parts\.\w+", command)[0] in saved
    for option, value in re.findall(r"\.(hop_seconds|hidden|level)=(\S+)", command):
        assert f"{option}: {value}\n" in saved


def test_the_parts_of_the_page_work_together_and_are_found_again_by_a_checkpoint(save, train, tmp_path):
    save("\n\n".join(code for code, _ in PARTS.values()))
    words = "--model.encoder=my_parts.Loudness --model.head=my_parts.Peaks --objectives.low=my_parts.Quantile"
    folder = train(f"{PARTS['A corpus'][1].strip()} {words}")
    words = ["--data=my_parts.Stars", "--data.root=clips", f"--trainer.default_root_dir={tmp_path}", "--name=test"]
    assert main(["test", *words, f"--ckpt_path={folder / 'checkpoints' / 'best.ckpt'}"]) == 0
    assert (tmp_path / "test" / "predictions.csv").read_text() == (folder / "predictions.csv").read_text()


def test_the_encoder_of_the_page_does_not_see_padding_or_batch_mates(save):
    save(PARTS["An encoder"][0])
    from my_parts import Loudness

    clips = torch.rand(2, 1600, generator=torch.Generator().manual_seed(0))
    together = Loudness()(clips, torch.tensor([1600, 700]))
    alone = Loudness()(clips[1:, :700], torch.tensor([700]))
    assert together.frame_mask.sum(1).tolist() == [5, 2]
    assert torch.equal(together.layers[1:, :, :2], alone.layers)
    assert not together.layers[1, :, 2:].any()


@pytest.mark.parametrize("scores", [[[3.0]], [[float("nan")]], [[1.0], [float("nan")]]])
def test_the_objective_of_the_page_keeps_its_graph_without_ratings(save, scores):
    save(PARTS["An objective"][0])
    from my_parts import Quantile

    from lightning_aqa.batch import Batch, Output

    targets = torch.tensor(scores)
    predicted = torch.zeros_like(targets, requires_grad=True)
    names = [""] * len(targets)
    batch = Batch(torch.zeros(len(names), 0), torch.zeros(len(names)), targets, names, names, names, names)
    loss = Quantile(level=0.2).loss(Output(predicted, predicted), batch)
    loss.backward()
    num_rated = max(1, int((~targets.isnan()).sum()))
    assert loss.item() == pytest.approx(0.2 * targets.nansum().item() / num_rated)
    assert predicted.grad.isfinite().all()


def test_references_reach_the_options_that_refer_to_them(corpora, fit, tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "refers.yaml").write_text(block)
    words = ["--data=MusicEval", f"--data.root={corpora['musiceval']}", "--model.encoder.depth=1", "--vars.width=32"]
    model = _config(fit("--config", str(tmp_path / "refers.yaml"), *words, epochs=2))["model"]
    assert model["encoder"]["init_args"]["width"] == 32
    assert model["scheduler"]["init_args"]["T_max"] == 2


def test_an_error_in_a_part_is_one_line_and_a_traceback_when_debugging(corpora, fails, save, monkeypatch):
    code, _ = PARTS["An objective"]
    save(code.replace("self.level = level", "raise ValueError('level is odd')"))
    words = ["fit", "--data=MusicEval", f"--data.root={corpora['musiceval']}", "--objectives.low=my_parts.Quantile"]
    assert fails(*words) == "error: level is odd"
    monkeypatch.setenv("LIGHTNING_AQA_DEBUG", "1")
    with pytest.raises(ValueError, match="level is odd"):
        main(words)
