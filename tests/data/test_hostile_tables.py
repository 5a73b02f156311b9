"""Tables as people and programs leave them: each is read right, or refused with the first real cause and its line."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.data.table import Table, read_table
from lightning_aqa.data.validation import check_audio

AXES = {"overall": [1, 5]}
HEADER = ["file", "system", "overall", "split"]
ROWS = [[f"k{n:02d}.wav", f"s{n % 3}", f"{1 + n % 4}.{n % 10}", "train" if n < 12 else "dev"] for n in range(20)]
COMMA = "\n".join(map(",".join, [HEADER, *ROWS])) + "\n"
SEMICOLON = COMMA.replace(",", ";")
DECIMAL_COMMA = re.sub(r"(\d)\.(\d)", r"\1,\2", SEMICOLON)
OBJECTS = [dict(zip(HEADER, [*row[:2], float(row[2]), row[3]], strict=True)) for row in ROWS]


@pytest.fixture
def write(tmp_path):
    def run(text, name="t.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return run


READ = {
    "BOM": "\ufeff" + COMMA,
    "UTF-16": COMMA.encode("utf-16"),
    "UTF-32": COMMA.encode("utf-32"),
    "semicolons": SEMICOLON,
    "big-endian UTF-16": b"\xfe\xff" + COMMA.encode("utf-16-be"),
    "tabs": COMMA.replace(",", "\t"),
    "bars": COMMA.replace(",", "|"),
    "CR": COMMA.replace("\n", "\r"),
    "CRLF": COMMA.replace("\n", "\r\n"),
    "sep": "sep=,\n" + COMMA,
    "sep semicolon": "sep=;\r\n" + SEMICOLON,
    "SEP tab": "SEP=\t\n" + COMMA.replace(",", "\t"),
    "comments": "# from a test\n# of, two, days, long\n" + COMMA,
    "header in a comment": "# " + COMMA,
    "comment within": COMMA.replace("k05", "# a new day\nk05"),
    "letter case": COMMA.replace(",overall,", ",OverAll,"),
    "spaces": COMMA.replace(",", " , "),
    "empty columns": COMMA.replace("\n", ",,\n"),
    "empty rows": COMMA + ",,,\n\n,,,\n",
    "a column of numbers": "".join(f"{n},{line}\n" if n else f",{line}\n" for n, line in enumerate(COMMA.splitlines())),
    "quoted": re.sub(r"[^,\n]+", r'"\g<0>"', COMMA),
    "line ends in a text": COMMA.replace("s1", '"a,\nb"'),
}


@pytest.mark.parametrize("kind", READ)
def test_it_is_read_right(write, kind):
    manifest = read_table(write(READ[kind]), AXES)
    assert manifest.problems == ()
    assert [(clip.id, clip.scores["overall"], clip.split) for clip in manifest] == [
        (row[0], float(row[2]), row[3]) for row in ROWS
    ]


@pytest.mark.parametrize(
    "text", [json.dumps(OBJECTS), json.dumps(OBJECTS, indent=2), "\n".join(map(json.dumps, OBJECTS))]
)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_json_is_read_as_an_array_or_by_lines(write, text, name):
    manifest = read_table(write(text, name), AXES)
    assert [clip.scores["overall"] for clip in manifest] == [float(row[2]) for row in ROWS]
    broken = read_table(write(text.replace("2.1", '"two"'), name), AXES)
    lines = text.splitlines() if text.startswith('{"') or "\n" in text else [text]
    where = next(n for n, line in enumerate(lines, 1) if "2.1" in line)
    first = where if not text.startswith("[\n") else where - 3  # an object is named by the line it begins in
    assert [problem.where for problem in broken.problems] == [f"{broken.problems[0].where.rsplit(':', 1)[0]}:{first}"]


def test_what_says_that_there_is_no_rating_is_none(write):
    cells = ["NA", "n/a", "NaN", "null", "None", "#N/A", "<NA>", " ", ""]
    manifest = read_table(write("file,overall\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))), AXES)
    assert manifest.problems == ()
    assert not any(clip.is_rated() for clip in manifest)


REFUSED = {
    "decimal comma": (DECIMAL_COMMA, r"t\.csv:2: overall is '1,0', .*, its decimals after a point"),
    "decimal comma between commas": (
        DECIMAL_COMMA.replace(";", ","),
        r"t\.csv:2: expected 4 columns .*found 5; write decimals",
    ),
    "decimal comma in dev alone": (
        re.sub(r"(\d)\.(\d),dev", r'"\1,\2",dev', COMMA),
        r"t\.csv:14: overall is '1,2', expected",
    ),
    "percent": (re.sub(r"(\d)\.(\d)", r"\1\2%", COMMA), r"t\.csv:2: overall is '10%', .*without a percent sign"),
    "0 to 100": (
        re.sub(r"(\d)\.(\d)", r"\1\2", COMMA),
        r"wrong scale: 1\n.*scores run from 10 to 49, its scale is 1 to 5",
    ),
    "words": (re.sub(r"(\d)\.(\d)", "good", COMMA), r"t\.csv:2: overall is 'good', expected a number from 1 to 5"),
    "dashes": (
        re.sub(r"(\d)\.(\d)", "-", COMMA),
        r"t\.csv:2: overall is '-', .*leave it empty where there is no rating",
    ),
    "title": (
        "My ratings\n" + COMMA,
        r"t\.csv:2: expected 1 columns .*the names of the columns are expected in the first",
    ),
    "no UTF-8": (COMMA.replace("s1", "é").encode("latin-1"), r"t\.csv:3: not UTF-8 text"),
    "UTF-16 without its mark": (COMMA.encode("utf-16-le"), r"t\.csv:1: holds a NUL byte"),
    "NUL": (COMMA.replace("k04", "k\0"), r"t\.csv:6: holds a NUL byte"),
    "xlsx": (b"PK\x03\x04\x14\x00", r"t\.csv: a zip file, as a workbook \(xlsx, ods\) is, .*save the table as CSV"),
    "parquet": (b"PAR1\x15\x04", r"t\.csv: a Parquet file, not a table of text"),
    "gzip": (b"\x1f\x8b\x08\x00", r"t\.csv: compressed by gzip"),
    "JSON": (json.dumps(OBJECTS), r"t\.csv: begins like JSON; name JSON lines \.jsonl"),
    "empty": ("", r"t\.csv: no rows in it"),
    "empty lines": ("\n\n", r"t\.csv: no rows in it"),
    "unclosed quote": (COMMA.replace("k04", '"k04'), r"t\.csv:6: a quote opens in this line and never ends"),
    "unclosed last quote": (COMMA.replace("k19", '"k19'), r"t\.csv:21: a quote opens in this line and never ends"),
    "quote up to a later quote": (
        COMMA.replace("k04", '"k04').replace("k17", '"k17"'),
        r"t\.csv:6: a quote opens in this",
    ),
    "quote over rows": (
        COMMA.replace("k04", '"k04').replace("k17.wav", 'k17.wav"'),
        r"t\.csv:6: a quote that opens .* in line 19",
    ),
    "quote over a line": (
        COMMA.replace("k04", '"k04').replace("k05.wav", 'k05.wav"'),
        r"t\.csv:6: a quote that opens .* in line 7",
    ),
    "columns twice": (COMMA.replace("system", "overall"), r"t\.csv: two columns have the same name: overall"),
    "columns alike": (COMMA.replace("system,overall", "Overall,OVERALL"), r"'overall' may be Overall or OVERALL"),
    "many names": (
        ",".join(map(str, range(10**5))) + "\n" + "," * (10**5 - 1) + "x\n",
        r"no column for the audio file",
    ),
    "a long line": ("file,overall\n" + "x" * 10**7, r"t\.csv:2: expected 2 columns \(file,overall\), found 1"),
    "a long cell": ("file,overall\na," + "x" * 10**7, r"t\.csv:2: overall is 'x{80}…', expected a number"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_the_one_cause(write, kind):
    text, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message) as caught:
        Table(str(write(text)), AXES).manifest  # noqa: B018
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"file": ["a"], "overall": [3]}), "t.json:1: file is many values"),
        (json.dumps({"file": "a", "overall": 3}, indent=1), "t.json: one JSON object; expected an array"),
        (json.dumps(OBJECTS)[:300], "t.json: not JSON"),
        ("[" * 100_000, "t.json: not JSON that can be read"),
        ('{"file": "a", "overall": %s}' % ("9" * 5000), "t.json:1: not JSON that can be read"),
        ("[3, 4]", "t.json:1: expected a"),
    ],
)
def test_json_that_is_no_table_is_refused(write, text, message):
    with pytest.raises(ValueError, match=message):
        Table(str(write(text, "t.json")), AXES).manifest  # noqa: B018


def test_a_folder_or_a_pipe_is_no_table(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(ValueError, match=r"t\.csv: a folder, expected a file"):
        read_table(tmp_path / "t.csv", AXES)


def test_the_line_of_a_row_is_the_one_it_begins_in(write):
    text = 'sep=,\n# day one\nfile,prompt,overall\n\na.wav,"one\ntwo",3\nb.wav,"x\ny\nz",9\n,,\nc.wav,,bad\n'
    problems = read_table(write(text), AXES).problems
    assert [problem.where.rsplit(":", 1)[1] for problem in problems] == ["7", "11"]


def test_the_front_door_says_the_cause_and_not_what_follows_from_it(write, fails):
    said = fails(
        "fit",
        "--data=Table",
        f"--data.path={write(DECIMAL_COMMA)}",
        "--data.axes={overall: [1, 5]}",
        "--model.encoder=MelSpectrogram",
        "--model.head=MLP",
    )
    assert said.startswith("error: Table: 20 problems.\nbad score: 20\n")
    assert "t.csv:2: overall is '1,0', expected a number from 1 to 5, its decimals after a point" in said
    assert "monitor" not in said


@pytest.mark.parametrize("name", [True, None, 1e5, 1])
def test_names_that_yaml_has_read_as_something_else_are_told(name):
    with pytest.raises(ValueError, match=r"axes names .*put the name in quotes, such as 'ON'"):
        Table("t.csv", {name: [1, 5]})
    with pytest.raises(ValueError, match=r"columns names .*put the name in quotes"):
        Table("t.csv", AXES, columns={"overall": name})


@settings(max_examples=80)
@given(
    st.binary(max_size=80) | st.text("file,overal\n\r\"';\t#=sep{}[]:1.5a\0\ufeff", max_size=80).map(str.encode),
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.json"]),
    st.sampled_from(["", "file,overall\n", '{"file": "a"}\n']),
)
def test_any_bytes_are_a_table_or_refused_by_name(tmp_path, data, name, start):
    (tmp_path / name).write_bytes(start.encode() + data)
    try:
        problems = read_table(tmp_path / name, AXES).problems
    except ValueError as error:
        problems = ()
        said = str(error)
    else:
        said = f"{tmp_path / name}"
    assert said.startswith(f"{tmp_path / name}")
    assert all(problem.where.startswith(f"{tmp_path / name}") for problem in problems)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("A.WAV", "a.wav"),
        (".\\a.wav", "a.wav"),
        ("SUB\\B.Wav", "Sub/b.wav"),
        ("sub/b.wav", "Sub/b.wav"),
        ("a.mp3", "a.wav"),
        ("cafe\u0301.wav", "caf\u00e9.wav"),
        ("Sub/none.wav", None),
        ("\0.wav", None),
        ("x" * 300, None),
    ],
)
def test_a_file_under_another_spelling_is_named(tmp_path, write, written, there):
    (tmp_path / "Sub").mkdir()
    for name in ("a.wav", "Sub/b.wav", "caf\u00e9.wav"):
        (tmp_path / name).touch()
    manifest = read_table(write(json.dumps({"file": written, "overall": 3}), "t.jsonl"), AXES)
    (problem,) = check_audio(manifest.clips, 0.1).problems
    hint = f"Did you mean {str(tmp_path / there)!r}?" if there else ""
    assert problem.kind == "missing file"
    assert (hint in problem.what) if hint else "Did you mean" not in problem.what
    assert ("Write / for \\." in problem.what + ".") == (bool(hint) and "\\" in written)


def test_the_three_splits_are_known_in_any_letter_case(write):
    table = write("file,overall,split\na.wav,3,Train\nb.wav,4,DEV\nc.wav,3,Test\nd.wav,3,train\ne.wav,3,Mine\n")
    assert [clip.split for clip in read_table(table, AXES)] == ["train", "dev", "test", "train", "Mine"]


@pytest.mark.parametrize(
    ("scores", "scale"),
    [((7, 6, 2), "[1, 7]"), ((80, 60, 3), "[0, 100]"), ((0.2, 0.9, 0), "[0, 1]"), ((-3, 0, 2), "[-3, 3]")],
)
def test_scores_of_another_scale_are_told_with_a_scale_that_holds_them(write, scores, scale):
    table = write("file,overall\n" + "".join(f"{n}.wav,{score}\n" for n, score in enumerate(scores)))
    assert read_table(table, AXES).problems[0].what.endswith(f"give axes their scale, such as {scale}")


@pytest.mark.parametrize(
    ("axes", "what"), [({"a": [1, float("inf")]}, "lowest and highest"), ({"mean": [1, 5]}, "mean")]
)
def test_an_axis_that_no_result_can_have_is_told_at_once(write, axes, what):
    with pytest.raises(ValueError, match=what):
        read_table(write("file,a,mean\na.wav,3,3\n"), axes)
