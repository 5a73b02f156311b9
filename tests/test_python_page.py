"""docs/python.md: every block runs, in the order of the page, beside a small table and its clips."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
SAYS = {
    "A table to scores, in fifteen lines": r"'ci': .*\n\[\{'overall': \d",
    "A loss alone": r"tensor\(\[",
    "In a LightningModule of your own": "",
    "A loader of your own": r"'n': 5",
    "In a notebook": r"^test +n= *\d+  MSE \d",
    "Scoring arrays": r"^tensor\(-?\d[\s\S]*^\[\{'overall': tensor",
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists"),
]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """The folder of a user who has a table of ratings and a folder of clips."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "clips").mkdir()
    random, rows = np.random.default_rng(0), ["file,overall"]
    for number in range(40):
        gain = random.uniform(0.05, 0.9)
        tone = np.sin(np.arange(4800) * random.uniform(0.05, 0.5)) + random.normal(0, 0.2, 4800)
        soundfile.write(folder / "clips" / f"a{number:02}.wav", gain * tone, 16000)
        rows.append(f"a{number:02}.wav,{1 + 4 * gain:.2f}")
    (folder / "ratings.csv").write_text("\n".join(rows))
    return folder


def test_every_section_has_one_block():
    assert list(SECTIONS) == list(SAYS)
    assert PAGE.count("```python") == len(SAYS)


def test_from_table_to_scores_takes_fifteen_lines():
    code = SECTIONS["A table to scores, in fifteen lines"].splitlines()
    assert len([line for line in code if line and "save_checkpoint" not in line]) <= 15


@pytest.mark.parametrize("title", SAYS)
def test_a_block_of_the_page_runs(title, sandbox, monkeypatch, capsys):
    monkeypatch.chdir(sandbox)
    capsys.readouterr()
    exec(compile(SECTIONS[title], title, "exec"), {"__name__": "page"})
    assert re.search(SAYS[title], capsys.readouterr().out, re.MULTILINE)
