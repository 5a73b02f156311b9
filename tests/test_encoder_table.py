"""The README's table of encoders is what the code says, and what the code says is what the encoders then have."""

import inspect
import re
from pathlib import Path

import pytest

from benchmarks.encoder_table import CHECKPOINT, END, START, encoder_table, with_table
from lightning_aqa.encoders.audiobox import BASE_PLUS, build_wavlm
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.beats import BEATs
from lightning_aqa.encoders.clap import CLAP
from lightning_aqa.encoders.huggingface import Hub
from lightning_aqa.utils.components import parts_of

ROOT = Path(__file__).parent.parent
ENCODERS = parts_of("encoders", Encoder)


def _rows(table):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[0].split("]")[0].lstrip("["): dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def test_the_readme_has_the_table_that_the_code_gives():
    page = (ROOT / "README.md").read_text()
    assert page == with_table(page, encoder_table()), "README.md is behind the code: run `make table`"


def test_every_encoder_file_has_its_row():
    rows = _rows(encoder_table())
    defined = {
        path.name
        for path in (ROOT / "lightning_aqa" / "encoders").glob("*.py")
        if re.search(r"^class .*\((Encoder|Concat|ExportedModel)\):", path.read_text(), re.MULTILINE)
    } - {"exported_model.py"}  # the common part of those of exported.py
    linked = {row["encoder"].split("encoders/")[1].rstrip(")") for row in rows.values()}
    assert linked == defined
    assert {"CLAP", "BEATs", "Descriptors", "Hub", "TextEncoder"} <= rows.keys()


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.__name__)
def test_an_encoder_that_loads_weights_says_which_and_its_default_is_the_first(encoder):
    parameters = inspect.signature(encoder).parameters
    loads = [parameters[name] for name in CHECKPOINT & parameters.keys()]
    assert bool(encoder.published) == bool(loads), "state its weights in the class attribute `published`"
    for weights in encoder.published:
        assert weights.files
        assert weights.licence
        assert weights.url.startswith("https://")
    for parameter in loads:
        assert parameter.default in (encoder.published[0].checkpoint, parameter.empty)


def test_sizes_are_stated_without_weights():
    rows = _rows(encoder_table())
    assert {rows["CLAP"][name] for name in ("width", "text width")} == {"512"}
    assert (rows["CLAP"]["Hz"], rows["CLAP"]["layers"], rows["CLAP"]["window"]) == ("48000", "1", "10 s")
    assert (rows["BEATs"]["width"], rows["BEATs"]["layers"], rows["BEATs"]["their licence"]) == ("768", "13", "MIT")
    assert (rows["TextEncoder"]["width"], rows["TextEncoder"]["text width"]) == ("", "768")
    assert (rows["Descriptors"]["default weights"], rows["Descriptors"]["window"]) == ("none", "any length")


def test_sizes_are_those_of_the_architectures():
    import torch
    from transformers import ClapConfig, WavLMConfig

    with torch.device("meta"):
        model = build_wavlm(BASE_PLUS)
    base = WavLMConfig()  # its defaults are those of microsoft/wavlm-base
    assert (Hub.width, Hub.num_layers) == (base.hidden_size, base.num_hidden_layers + 1)
    assert CLAP.width == CLAP.text_width == ClapConfig().projection_dim
    assert (BEATs.width, BEATs.num_layers) == (model.config.hidden_size, len(model.encoder.layers) + 1)


def test_speeds_come_from_their_file_and_without_it_there_is_no_such_column(tmp_path):
    assert "x real time" not in encoder_table(tmp_path / "none.csv")
    (tmp_path / "speeds.csv").write_text("encoder,x_real_time\nBEATs,9.5\nGone,1\n")
    rows = _rows(encoder_table(tmp_path / "speeds.csv"))
    assert {name: row["x real time"] for name, row in rows.items() if row["x real time"]} == {"BEATs": "9.5"}


class Parts(Encoder):
    """An encoder that is made of others."""

    def __init__(self, encoders: list[Encoder]) -> None:
        super().__init__()

    def forward(self, waveform, num_samples, prompts=None):
        raise NotImplementedError


def test_an_encoder_of_other_parts_has_a_row_too(monkeypatch):
    monkeypatch.setattr("benchmarks.encoder_table.parts_of", lambda *kind: [*ENCODERS, Parts])
    assert _rows(encoder_table())["Parts"]["width"] == "depends"


def test_a_page_without_a_place_for_the_table_is_refused():
    assert with_table(f"a {START} old {END} b", "new") == f"a {START}\nnew\n{END} b"
    for page in ("no marks", START, f"{END} {START}"):
        with pytest.raises(ValueError, match="no place for the table"):
            with_table(page, "new")
