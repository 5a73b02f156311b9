"""Names that mean something to YAML, CSV, spreadsheets or file systems, from the table to every file of a run."""

import csv
import json
import os

import numpy as np
import pytest
import soundfile

from lightning_aqa.cli.main import main
from lightning_aqa.cli.parser import Parser
from lightning_aqa.results.clips import read_clips
from lightning_aqa.results.history import read_history
from lightning_aqa.results.predictions import read_predictions
from lightning_aqa.utils.records import csv_cells

FILES = [
    b"caf\xe9.wav", b"a\rb.wav", b"a\nb.wav", b"=1+1.wav", b"-x.wav", b"a,b.wav", b'"q".wav', b"'=y.wav", b"a=b.wav",
    "\u2028\u00e9.wav".encode(), b"\\x41.wav", b" s .wav",
]  # fmt: skip
AXES = ["ON", "1e5", "=sum"]


@pytest.fixture
def corpus(tmp_path):
    """Tones under odd names, and a table of them in JSON lines."""
    (tmp_path / "clips").mkdir()
    rows = []
    for number, name in enumerate(map(os.fsdecode, FILES)):
        tone = 0.1 * (1 + number) / len(FILES) * np.sin(np.arange(4000) * (0.1 + 0.02 * number))
        with open(tmp_path / "clips" / name, "wb") as file:
            soundfile.write(file, tone, 8000, format="WAV")
        split = ("train", "train", "dev", "test")[number % 4]
        scores = {axis: 1 + (number * (a + 1)) % 5 for a, axis in enumerate(AXES)}
        rows.append({"path": name, "system": f"@s{number % 2}", "split": split, **scores})
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def _no_formulas(path):
    with open(path, newline="", encoding="utf-8") as file:  # strict: the bytes of no name break the table
        cells = [cell for row in csv.reader(file) for cell in row]
    texts = [cell for cell in cells if cell.strip()[:1] in set("=+-@") or cell[:1] in set("\t\r\n")]
    return all(text.replace("-", "").replace(".", "").replace("e", "").isdigit() for text in texts)


@pytest.mark.skipif(os.name != "posix", reason="needs file names of any bytes")
def test_odd_names_come_back_from_every_file(corpus, fit, pictures):
    axes = f"--data.axes={json.dumps({axis: [1, 5] for axis in AXES})}"
    run = fit("--data=Table", f"--data.path={corpus / 'r.jsonl'}", f"--data.audio_root={corpus / 'clips'}", axes,
              "--model.encoder=MelSpectrogram", "--model.encoder.width=8", "--model.head=MLP")  # fmt: skip
    names = {os.fsdecode(name) for name in FILES}
    tables, found = read_predictions(run / "predictions.csv")
    assert found == AXES
    assert {id_ for _, table in tables for id_ in table.ids} == names
    sources = read_clips(run / "clips.csv")
    assert set(sources) == names
    assert all(source.path is not None for source in sources.values())
    assert "val/utterance/SRCC/=sum" in read_history(run / "history.csv")[0]

    best, root = f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", f"--trainer.default_root_dir={corpus}"
    assert main(["predict", "--config", str(run / "config.yaml"), best, root, "--name=again"]) == 0
    assert read_predictions(corpus / "again" / "predictions.csv")[1] == AXES
    assert main(["predict", best, root, "--name=scored", "--data=Folder", f"--data.root={corpus / 'clips'}"]) == 0
    ((_, scored),) = read_predictions(corpus / "scored" / "predictions.csv")[0]
    assert {os.fsencode(id_) for id_ in scored.ids} == set(FILES)
    assert main(["report", str(run), "--resamples=100", f"--output={corpus / 'report'}"]) == 0

    for output in ("s.csv", "s.jsonl"):
        words = [
            "score",
            str(run / "checkpoints" / "best.ckpt"),
            str(corpus / "clips"),
            "--output",
            str(corpus / output),
        ]
        assert main(words) == 0
        whole = (corpus / output).read_bytes()
        assert main(words) == 0
        assert (corpus / output).read_bytes() == whole
        whole.decode("utf-8")
    with open(corpus / "s.csv", newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    paths = {os.fsencode(os.path.basename(csv_cells(",".join(map(_quoted, row)))[1])) for row in rows}
    assert paths == set(FILES)
    assert csv_cells(",".join(header))[5:8] == AXES
    lines = [json.loads(line) for line in (corpus / "s.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert {os.fsencode(os.path.basename(line["path"])) for line in lines} == set(FILES)
    for path in (run / "predictions.csv", run / "clips.csv", run / "history.csv", corpus / "scored" / "predictions.csv",
                 corpus / "s.csv", corpus / "report" / "tables.csv"):  # fmt: skip
        assert _no_formulas(path), path


def _quoted(cell):
    return '"' + cell.replace('"', '""') + '"'


@pytest.mark.parametrize("axes", ["{ON: [1, 5]}", "{1e5: [1, 5]}", "{null: [1, 5]}"])
def test_a_name_without_quotes_is_told_and_not_changed(corpus, fails, axes):
    said = fails("fit", "--data=Table", f"--data.path={corpus / 'r.jsonl'}", f"--data.axes={axes}",
                 "--model.encoder=MelSpectrogram", "--model.head=MLP")  # fmt: skip
    assert "put the name in quotes, such as 'ON'" in said


@pytest.mark.parametrize("name", ["6712e294", "1e5", "1_0", "0x1f", ".5", "null", "2026-11-28"])
def test_a_name_like_a_number_stays_text_beside_a_reference(name):
    parser = Parser()
    parser.add_argument("--name", type=str)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--period", type=int)
    settings = parser.parse_args([f"--name={name}", "--epochs=7", "--period=${epochs}"])
    assert (settings.name, settings.period) == (name, 7)
