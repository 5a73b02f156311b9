"""What ``check`` says of parts that are right, and of parts with the mistakes that people make."""

import re
from pathlib import Path

import pytest

from lightning_aqa.cli.main import main

PARTS = '''
import torch
from lightning_aqa.batch import Axis, Features, Output
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.objectives.base import Objective


class Leaky(Encoder):
    """Subtract the mean of a padded batch."""

    width, num_layers = 1, 1

    def __init__(self, hop: int = 800) -> None:
        super().__init__()
        self.sample_rate, self.hop = 16000, hop

    def forward(self, waveform, num_samples, prompts=None):
        waveform = waveform - waveform.mean(1, keepdim=True)
        power = waveform.unfold(1, self.hop, self.hop).square().mean(2)
        mask = torch.arange(power.shape[1]) < (num_samples // self.hop)[:, None]
        return Features(power.log()[:, None, :, None], mask)


class Forgetful(Head):
    """Pool over the padding, and leave a layer out."""

    def __init__(self, width, num_layers, axes, text_width=None):
        super().__init__(width, num_layers, axes, text_width)
        self.last, self.unused = torch.nn.Linear(width, len(axes)), torch.nn.Linear(2, 2)

    def forward(self, features):
        pooled = features.layers[:, -1].mean(1)
        return Output(self.last(pooled), pooled)


class Sloppy(Objective):
    """Square errors, rated or not."""

    def loss(self, output, batch):
        return (output.scores - batch.scores).square().mean()


class Twins(AQADataModule):
    """Name two clips alike, and rate one off the scale."""

    def read(self):
        clips = [Clip("a", "a.wav", split="train", scores={"mos": 3}), Clip("a", "b.wav", scores={"mos": 7})]
        return Manifest(clips, [Axis("mos", "MOS", 1, 5)])
'''
BROKEN = {
    "Leaky": ["Valid frames come first", "A clip depends neither", "A clip does not depend", "The features of silence"],
    "Forgetful": ["A clip depends neither", "Every parameter receives", "The last linear layer", "Under bf16 autocast"],
    "Sloppy": ["The loss is a finite scalar", "An objective on scores", "The loss is zero"],
    "Twins": ["There are clips", "Every score and rating", "Nothing is wrong"],
}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A module of parts beside the current folder's other files."""
    name = f"parts_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("part", BROKEN)
def test_a_mistake_is_told_by_the_promise_that_it_breaks(parts, capsys, part):
    assert main(["check", f"{parts}.{part}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    broken = [line.removeprefix("broken  ") for line in lines if line.startswith("broken")]
    assert sorted(broken) == sorted(line for line in broken if line.startswith(tuple(BROKEN[part])))
    assert len(broken) == len(BROKEN[part])
    assert all(": " in line for line in broken)  # what was seen


def test_the_parts_of_the_page_keep_their_promises(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "page_parts.py").write_text("\n".join(block for block in blocks if "class " in block))
    monkeypatch.syspath_prepend(tmp_path)
    for part in ("Loudness", "Peaks", "Quantile"):
        assert main(["check", f"page_parts.{part}"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["MPL"], "no part 'MPL'. Did you mean 'MLP'?"),
        (["Descriptors", "--num_mel=3"], "Descriptors has no option 'num_mel'. Did you mean 'num_mels'?"),
        (["os.system"], "standard library"),
        (["lightning_aqa.batch.Axis"], "expected a class below one of Encoder, Head, Objective, AQADataModule"),
        (["lightning_aqa.heads.base.Head"], "cannot be built: it lacks forward"),
        (["no_such_module.Thing"], "cannot be imported"),
        ([], "required: part"),
    ],
)
def test_what_is_no_part_is_one_line(capsys, args, message):
    assert main(["check", *args]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
