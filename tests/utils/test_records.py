"""One writer and one reader of cells: every text comes back, no cell is a formula, numbers stay numbers."""

import csv
import io
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightning_aqa.utils.records import csv_cells, csv_line, read_records, write_cell, write_records

NAMES = st.text(st.characters() | st.sampled_from("=+-@\t\r\n\0'\"\\,; \udce9\ud800\u2028=\uff1d"), max_size=8)
ODD = ["", " ", "'", "''", "'=1", "=1+1", " =1", "-0.5", "@x", "\r", "a\rb", "\n", "\0", "\\", "'\\x41", "''\\", "a,b"]
ODD += [
    "caf\udce9.wav",
    "\ud800",
    "\udcc3\udca9",
    '"',
    '""',
    "x\r\n",
    "\t",
    "#1",
    "é",
    "'\\caf\\xe9",
    "\\xe9",
    "+1",
    "NA",
]


@settings(max_examples=50)
@given(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]))
@example(ODD, "\n")
@example(ODD, "\r\n")
def test_every_text_comes_back_and_none_is_a_formula(texts, end):
    line = csv_line(texts, end)
    assert csv_cells(line) == texts
    line.encode("utf-8")  # strict
    cells = next(csv.reader(io.StringIO(line, newline="")))
    assert not any(
        cell.strip().startswith(("=", "+", "-", "@")) or cell.startswith(("\t", "\r", "\n")) for cell in cells
    )
    assert "\0" not in line


@settings(max_examples=50)
@given(st.lists(st.tuples(NAMES, NAMES), max_size=4))
@example([(a, b) for a in ODD for b in ODD])
def test_a_table_of_any_texts_comes_back(tmp_path, rows):
    write_records(tmp_path / "t.csv", ["id", "=path"], rows)
    records = read_records(tmp_path / "t.csv", ["id", "=path"])
    assert [(record.text("id"), record.text("=path")) for record in records] == rows
    (tmp_path / "t.csv").read_text(encoding="utf-8")


def test_numbers_are_no_texts():
    assert csv_line([-0.5, 1e-7, 3, None, "-0.5"], "\n") == "-0.5,1e-07,3,,'-0.5\n"
    assert write_cell(-1) == -1


def test_bytes_of_a_file_name_come_back_as_they_are():
    name = os.fsdecode(b"caf\xe9\\=.wav")
    assert csv_line([name], "") == "'\\caf\\xe9\\\\=.wav"
    assert os.fsencode(csv_cells(csv_line([name]))[0]) == b"caf\xe9\\=.wav"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), ("id,score\r\na,1", "its last line is cut off"),
     ("id,scor\r\na,1\r\n", "no column 'score'; .*Did you"),
     ("id,score\r\na\r\n", ":2: expected 2 columns, found 1"), ('id,score\r\n"a,1\r\n', "cannot be read as a table")],
)  # fmt: skip
def test_what_is_no_whole_table_is_said_with_its_name(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text, newline="")
    with pytest.raises(ValueError, match=rf"t\.csv.*{message}"):
        read_records(tmp_path / "t.csv", ["id", "score"])


def test_a_text_of_any_length_comes_back(tmp_path):
    write_records(tmp_path / "t.csv", ["id"], [["x" * 200_000]])
    assert len(read_records(tmp_path / "t.csv")[0].text("id")) == 200_000
    assert csv.field_size_limit() == 131_072


@pytest.mark.parametrize("text", ["x", "1e300", "1e39", "--1", "0x1"])
def test_what_is_no_number_is_said_with_its_line(tmp_path, text):
    write_records(tmp_path / "t.csv", ["score"], [["1.5"], [text]])
    first, second = read_records(tmp_path / "t.csv")
    assert first.number("score") == 1.5
    with pytest.raises(ValueError, match=r"t\.csv:3: score is '.*', expected a number"):
        second.number("score")
