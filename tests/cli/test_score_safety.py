"""Score beside another one, asked to end, on a full disk, with notes, over links and what is no file."""

import csv
import fcntl
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.batch import make_axes
from lightning_aqa.cli.main import main
from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.scoring.trust import Trust
from lightning_aqa.scoring.writer import ScoreWriter, Stamp
from lightning_aqa.utils.records import csv_cells, csv_line, read_records


def test_what_a_score_is_worth_stands_beside_it_in_score_and_in_predict(score, checkpoint, clips, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    tone, rate = soundfile.read(folder / "a.wav")
    odd = {"phase": np.stack([tone, -tone], 1), "silence": 0 * tone, "constant": 0 * tone + 0.3, "loud": 50 * tone}
    for name, samples in odd.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="FLOAT")
    rows = score(folder)[1]
    assert any("unlike any training clip" in row["note"] for row in rows)  # tones, to a model of music
    notes = {os.path.basename(row["path"]): re.sub("(; )?unlike any.*", "", row["note"]) for row in rows}
    assert notes["phase.wav"].startswith("channels out of phase")
    assert (notes["silence.wav"], notes["constant.wav"]) == ("silence", "constant")
    assert "dB louder than in training" in notes["loud.wav"]
    for name in ("b.flac", "c.ogg", "d.mp3"):
        assert notes[name] == ""
    args = ["--data=Folder", f"--data.root={folder}", f"--ckpt_path={checkpoint}", "--name=p"]
    assert main(["predict", *args, f"--trainer.default_root_dir={tmp_path}"]) == 0
    with open(tmp_path / "p" / "predictions.csv", newline="") as file:
        assert {os.path.basename(row["id"]): row["note"] for row in csv.DictReader(file)} == notes
    levels = torch.load(checkpoint, weights_only=True)["callbacks"]["TrainingLevels"]
    assert levels["lowest"] < levels["highest"] < 0


def test_scores_are_what_the_model_says_unless_they_are_clipped(score, clips, monkeypatch):
    real = Scorer._score
    monkeypatch.setattr(
        Scorer,
        "_score",
        lambda self, *given: [row._replace(scores=[row.scores[0] + 9, row.scores[1]]) for row in real(self, *given)],
    )
    rows = score(clips / "a.wav")[1]
    clipped = score(clips / "a.wav", "--clip_to_scale", output="clipped.csv")[1]
    assert float(rows[0]["MI"]) > 9
    assert float(clipped[0]["MI"]) == 5
    assert clipped[0]["TA"] == rows[0]["TA"]
    assert rows[0]["note"] == clipped[0]["note"]
    assert rows[0]["note"].startswith("MI is outside of 1 to 5")
    code, _, said = score(clips / "b.flac", output="clipped.csv")
    assert (code, "its rows come from other weights or settings" in said.err) == (2, True)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_of_before_there_were_notes_is_gone_on_with(score, clips, tmp_path, suffix):
    path = tmp_path / f"scores.{suffix}"
    score(clips / "a.wav", output=path.name)
    if suffix == "csv":
        header, row = (csv_cells(line) for line in path.read_text().splitlines())
        kept = [i for i, name in enumerate(header) if name != "note"]
        path.write_text("".join(csv_line([cells[i] for i in kept], "\n") for cells in (header, row)))
    else:
        fields = json.loads(path.read_text())
        del fields["note"]
        path.write_text(json.dumps(fields) + "\n")
    code, rows, _ = score(clips / "a.wav", clips / "b.flac", output=path.name)
    assert (code, len(rows)) == (0, 2)
    assert all("note" not in row for row in rows)


@pytest.mark.parametrize(("output", "args"), [("s.csv", []), ("s.jsonl", ["--retry"]), ("s.csv", ["--shard=1/2"])])
def test_a_second_score_on_one_table_is_told(score, fails, checkpoint, clips, tmp_path, output, args):
    path = tmp_path / (output if "shard" not in "".join(args) else "s.1-of-2.csv")
    score(clips, tmp_path / "gone.wav", *args, output=output)
    before = path.read_bytes()
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        said = fails("score", checkpoint, str(clips), f"--output={tmp_path / output}", *args)
        assert said == f"error: {path}: another process is writing it; wait for it, or name another --output."
    assert path.read_bytes() == before
    assert score(clips, tmp_path / "gone.wav", *args, output=output)[0] in (0, 1)  # what has ended holds nothing


def test_score_ends_when_it_is_asked_to_and_leaves_nothing_behind(score, clips, tmp_path, monkeypatch):
    args = [clips, "--batch_seconds=0.2"]
    score(*args, output="undisturbed.csv")
    write, calls = ScoreWriter.write, []

    def stop(self, rows):
        write(self, rows)
        calls.append(rows)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(ScoreWriter, "write", stop)
    before = signal.getsignal(signal.SIGTERM)
    code, rows, said = score(*args)
    assert code == 143
    assert said.err.endswith("scores.csv are kept, and the same command goes on from there.\n")
    assert len(rows) == sum(map(len, calls)) < 10
    assert list((tmp_path / "temporary").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.setattr(ScoreWriter, "write", write)
    assert score(*args)[0] == 0
    assert (tmp_path / "scores.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()


def test_a_full_disk_says_the_path_and_loses_no_row(score, clips, tmp_path, monkeypatch):
    args = [clips, "--batch_seconds=0.2"]
    score(*args, output="undisturbed.csv")
    append, room = ScoreWriter._append, [700]

    class Disk:
        """A file on a disk with some room left."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            size = min(len(data), room[0])
            room[0] -= size
            if size == 0:
                raise OSError(28, "No space left on device")
            return self.file.write(data[:size])

        def __getattr__(self, name):
            return getattr(self.file, name)

    def on_small_disk(self, text):
        self._file = self._file if isinstance(self._file, Disk) else Disk(self._file)
        append(self, text)

    monkeypatch.setattr(ScoreWriter, "_append", on_small_disk)
    code, rows, said = score(*args)
    assert code == 74
    assert 0 < len(rows) < 10
    wanted = f"error: {tmp_path / 'scores.csv'}: cannot be written (No space left on device); its {len(rows)} rows are "
    assert said.err == wanted + "whole, and the same command goes on from there.\n"
    monkeypatch.setattr(ScoreWriter, "_append", append)
    assert score(*args)[0] == 0
    assert (tmp_path / "scores.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()


def test_links_are_followed_once_and_what_cannot_be_read_is_a_row(score, clips, tmp_path):
    root = tmp_path / "root"
    (root / "own").mkdir(parents=True)
    shutil.copy(clips / "a.wav", root / "own" / "a.wav")
    (root / "linked").symlink_to(clips)
    (root / "linked again").symlink_to(clips)
    (root / "own" / "loop").symlink_to(root)
    (root / "inside").symlink_to(root / "own")
    (root / "itself").symlink_to(root / "itself")
    (root / "broken.wav").symlink_to("/nowhere.wav")
    os.mkfifo(root / "pipe.wav")
    code, rows, _ = score(root)
    assert code == 1
    names = [os.path.relpath(row["path"], root) for row in rows]
    assert names[:2] == ["broken.wav", "pipe.wav"]
    assert [name.split("/")[0] for name in names[2:]] == ["linked"] * 10 + ["own"]
    assert rows[0]["error"] == "a link to nothing (/nowhere.wav)."
    assert rows[1]["error"] == "cannot be read as audio (a pipe, socket or device, not a file)."
    assert [row["error"] for row in rows[2:]] == [""] * 11


def test_a_file_that_may_not_be_read_is_a_row_that_says_so(score, clips, tmp_path, monkeypatch):
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    scan = os.scandir

    def refuse(path, *args):
        if "more" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path, *args)

    monkeypatch.setattr(os, "scandir", refuse)
    rows = score(folder)[1]
    assert [row["error"] for row in rows if row["error"]] == ["cannot be listed (Permission denied)"]


@pytest.mark.parametrize(
    ("words", "named"),
    [(["{checkpoint}", "{clips}", "--output="], "--output"), (["{checkpoint}", "{clips}", "--output", ""], "--output"),
     (["{checkpoint}", "", "--output={out}"], "an input"), (["", "{clips}", "--output={out}"], "the checkpoint")],
)  # fmt: skip
def test_the_empty_text_is_no_name(fails, checkpoint, clips, tmp_path, words, named):
    filled = [word.format(checkpoint=checkpoint, clips=clips, out=tmp_path / "x.csv") for word in words]
    assert fails("score", *filled) == f"error: {named} is empty; name a file."


def test_a_line_of_a_list_that_is_odd_is_a_row_and_costs_no_other(score, clips, tmp_path):
    shutil.copy(clips / "a.wav", tmp_path / "a.wav")
    shutil.copy(clips / "a.wav", tmp_path / "b.wav ")
    lines = {
        '{"path": "a.wav", "start": ' + "9" * 5000 + "}": "thousands of digits",
        '{"path": ' + "[" * 100_000: "nested too deeply",
        '{"path": "a.wav", "end": 1e308}': "",
        '{"path": "a.wav", "end": 1e-300}': "no samples",
        '{"path": null}': "path is None",
        "A.WAV": f"Did you mean {str(tmp_path / 'a.wav')!r}?",
        "b.wav ": "",
        "x" * 300 + ".wav": "no such file",
    }
    (tmp_path / "list.jsonl").write_text("".join(f"{line}\n" for line in lines))
    code, rows, _ = score(tmp_path / "list.jsonl")
    assert (code, len(rows)) == (1, len(lines))
    for row, error in zip(rows, lines.values(), strict=True):
        assert error in row["error"]
        assert bool(error) == bool(row["error"])


def test_a_device_is_no_table(fails, checkpoint, clips):
    said = fails("score", str(checkpoint), str(clips / "a.wav"), "--output=/dev/null")
    assert said == "error: /dev/null: a pipe or device, expected a file."


def _table(path):
    writer = ScoreWriter(
        path, Trust(make_axes({"note": [1, 5], "path": [1, 5]})), Stamp("best.ckpt", {"dtype": "float32"}, "f")
    )
    writer.write([ScoredClip(Item(f"{n}", f"{n}.wav"), 1.0, (2.0, 3.0)) for n in range(2)])
    writer.close()


def test_an_axis_that_is_called_as_a_column_has_a_column_of_its_own(tmp_path):
    _table(tmp_path / "s.csv")
    first = read_records(tmp_path / "s.csv")[0].cells
    assert [first[name] for name in ("path", "note", "note score", "path score")] == ["0.wav", "", "2.0", "3.0"]


@settings(max_examples=80)
@given(
    st.sampled_from(["csv", "jsonl"]), st.booleans(), st.binary(max_size=9), st.integers(0, 300), st.integers(0, 300)
)
def test_a_damaged_table_or_stamp_is_gone_on_with_or_refused_by_name(tmp_path, kind, is_stamp, new, first, last):
    path = tmp_path / f"s.{kind}"
    path.unlink(missing_ok=True)
    _table(path)
    damaged = path.with_name(f"{path.name}.stamp.json") if is_stamp else path
    data = damaged.read_bytes()
    damaged.write_bytes(data[:first] + new + data[last:])
    said = ""
    try:
        _table(path)
    except ValueError as error:
        said = str(error)
    assert not said or said.startswith(str(path))
    assert "\n" not in said
