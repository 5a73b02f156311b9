"""Answers to challenges: written and read back, every fault with its line, places by the organisers' rules."""

import json
import math
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.batch import Axis
from lightning_aqa.results.challenges.answering import read_answer, write_answer
from lightning_aqa.results.challenges.checking import by_kind, check_answer
from lightning_aqa.results.challenges.formats import AnswerFormat, pack, stem, write_text
from lightning_aqa.results.challenges.known import KNOWN
from lightning_aqa.results.challenges.lists import read_labels, read_names
from lightning_aqa.results.challenges.local import own_rows, published_beside
from lightning_aqa.results.challenges.ranking import DenseRanks, MeanOf, Standing, standing
from lightning_aqa.results.challenges.settings import Files
from lightning_aqa.results.published import read_published

ROOT = Path(__file__).resolve().parents[2]
AXES = (Axis("MI", "Musical impression", 1.0, 5.0), Axis("TA", "Textual alignment", 0.0, 10.0))
PLAIN = AnswerFormat("answer.txt", AXES)
HEADED = PLAIN._replace(header=("sample_id", "MI", "TA"))
SPACED = PLAIN._replace(delimiter=" ", file="mos.scp")
NAMES = [f"sys{s}-utt{n:04d}" for s in range(3) for n in range(2)]
LINES = [f"{name},{1 + n / 2},{n}.25" for n, name in enumerate(NAMES)]

ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
forms = st.builds(
    lambda header, delimiter, keeps: PLAIN._replace(header=header, delimiter=delimiter, keeps_suffix=keeps),
    st.sampled_from([(), ("id", "MI", "TA"), ("a clip", 'the "MI"', "TA,;")]),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.booleans(),
)


def _writable(form, name):
    return name and not (form.delimiter == " " and re.search(r"\s", name))


@given(forms, st.lists(ids, min_size=1, max_size=8, unique=True), st.data(), st.booleans())
def test_what_is_written_has_no_fault_and_is_read_back_to_the_bit(tmp_path, form, given_ids, data, is_zip):
    if form.delimiter == " ":
        form = form._replace(header=tuple(name.replace(" ", "_") for name in form.header))
    names = list(dict.fromkeys(name for name in map(form.name, given_ids) if _writable(form, name)))
    if not names:
        return
    cells = st.tuples(st.floats(1.0, 5.0), st.floats(0.0, 10.0))
    scores = np.array(data.draw(st.lists(cells, min_size=len(names), max_size=len(names))))
    path = tmp_path / f"answer{'.zip' if is_zip else '.txt'}"
    path.unlink(missing_ok=True)
    assert write_answer(path, Files(), form, names, scores)
    assert not write_answer(path, Files(), form, names, scores)  # the same bytes again
    found, faults = read_answer(path, form, names)
    assert faults == []
    assert np.array_equal(found, scores)


def _text(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def _changed(line, old, new):
    return [*LINES[:line], LINES[line].replace(old, new), *LINES[line + 1 :]]


@pytest.mark.parametrize(
    ("data", "kind", "line", "told"),
    [
        (b"", "empty file", 0, "expected 6 of id,MI,TA"),
        (b"\xff\xfe", "not UTF-8", 1, "save the file as UTF-8"),
        (b"\xef\xbb\xbf" + _text(LINES), "byte order mark", 1, "save it as UTF-8 without one"),
        (_text(LINES).replace(b"\n", b"\r\n"), "line end", 1, "with \\n alone"),
        (_text(["id,MI,TA", *LINES]), "header", 1, "asks for none, so delete the line"),
        (_text([*LINES[:3], "", *LINES[3:]]), "empty line", 4, "delete it"),
        (_text(LINES[:4]), "missing clip", 0, "no line for sys2-utt0000"),
        (
            _text([*LINES, "sys9-utt0000,3,3"]),
            "unknown clip",
            7,
            "is not in the list, which has 'sys2-utt0000'; delete or",
        ),
        (_text([*LINES, LINES[0]]), "clip comes twice", 7, "is in line 1 too; keep one"),
        (_text([LINES[1], LINES[0], *LINES[2:]]), "order", 1, "is where the list has sys0-utt0000"),
        (_text(_changed(2, "sys1-utt0000", "sys1-utt0000.wav")), "name of a clip", 3, "is called 'sys1-utt0000'"),
        (_text(_changed(2, "sys1-utt0000", "SYS1-utt0000.WAV")), "name of a clip", 3, "is called 'sys1-utt0000'"),
        (_text(_changed(2, "sys1-utt0000", " sys1-utt0000")), "space", 3, "is called 'sys1-utt0000'"),
        (_text(_changed(2, ",2.25", ", 2.25")), "space", 3, "TA has a space beside it"),
        (_text(_changed(2, ",2.25", ",2,25")), "columns", 3, "4 columns, expected 3 .*decimals with a point"),
        (_text(_changed(2, ",2.25", "")), "columns", 3, "2 columns, expected 3 "),
        (_text(_changed(2, ",2.25", ',"2,25"')), "no number", 3, "write its decimals after a point"),
        (_text(_changed(2, ",2.25", ",")), "no number", 3, "TA is ''"),
        (_text(_changed(2, ",2.25", ",٣")), "no number", 3, "expected a number from 0 to 10"),
        (_text(_changed(2, ",2.25", ",nan")), "not finite", 3, "score the clip anew"),
        (_text(_changed(2, ",2.25", ",1e999")), "not finite", 3, "score the clip anew"),
        (_text(_changed(2, ",2.25", ",10.01")), "out of range", 3, "TA is 10.01, expected a number from 0 to 10"),
        (_text(_changed(2, "sys1", '"sys1')), "open quote", 3, "close the quote"),
    ],
)
def test_each_fault_has_its_kind_its_line_and_what_to_do(data, kind, line, told):
    found = {fault.kind: fault for fault in reversed(check_answer(data, PLAIN, NAMES))}
    assert found[kind].line == line
    assert re.search(re.escape(told) if "*" not in told else told, found[kind].what)


def test_a_sound_answer_has_none_and_a_header_is_held_to_its_words():
    assert check_answer(_text(LINES), PLAIN, NAMES) == []
    assert check_answer(_text(["sample_id,MI,TA", *LINES]), HEADED, NAMES) == []
    (missing,) = check_answer(_text(LINES), HEADED, NAMES)
    assert missing[:2] == ("header", 1)
    assert "there is no header; write sample_id,MI,TA" in missing.what
    (other,) = check_answer(_text(["sample_id,TA,MI", *LINES]), HEADED, NAMES)
    assert "the header is 'sample_id,TA,MI'; write sample_id,MI,TA" in other.what
    assert check_answer(_text(line.replace(",", " ") for line in LINES), SPACED, NAMES) == []
    assert check_answer(_text(line.replace(",", "  ") for line in LINES), SPACED, NAMES)[0].kind == "columns"


@given(st.lists(st.sampled_from(range(6)), max_size=8), st.integers(0, 5))
def test_whatever_lines_there_are_each_clip_is_missing_twice_or_once(rows, extra):
    data = _text([*(LINES[row] for row in rows), *(f"x{n},3,3" for n in range(extra))])
    kinds = [fault.kind for fault in check_answer(data, PLAIN, NAMES)]
    assert kinds.count("missing clip") == (len(NAMES) - len(set(rows)) if rows or extra else 0)
    assert kinds.count("clip comes twice") == len(rows) - len(set(rows))
    assert kinds.count("unknown clip") == extra
    assert ("order" in kinds) == (list(dict.fromkeys(rows)) != sorted(set(rows)))


def test_faults_are_summed_up_in_one_line_per_kind():
    said = by_kind(check_answer(_text(LINES[:1]), PLAIN, NAMES))
    assert said == [
        "missing clip, 5 times: no line for sys0-utt0001; score it too; no line for sys1-utt0000; score it too; "
        "no line for sys1-utt0001; score it too; and 2 more"
    ]


def test_an_archive_is_held_to_what_belongs_in_it(tmp_path):
    form = SPACED._replace(beside=("README.yaml",))
    scores, path = np.full((6, 2), 3.0), tmp_path / "a.zip"
    text = write_text(form, NAMES, scores)
    path.write_bytes(pack(path, form, text, {"notes.txt": b""}))
    found, faults = read_answer(path, form, NAMES)
    assert found is None
    assert [fault.what for fault in faults] == [
        "no README.yaml in it; the organisers ask for it",
        "notes.txt is in it too; pack mos.scp and README.yaml alone",
    ]
    with pytest.raises(ValueError, match=r"the organisers want README\.yaml in it too; name yours with readme"):
        write_answer(tmp_path / "b.zip", Files(), form, NAMES, scores)
    (tmp_path / "r.yaml").write_text("just words")
    with pytest.raises(ValueError, match="no settings in it, such as team: NAME"):
        write_answer(tmp_path / "b.zip", Files(readme=str(tmp_path / "r.yaml")), form, NAMES, scores)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("folder/mos.scp", text)
    with pytest.raises(
        ValueError, match=r"0 files called mos\.scp in it, expected one, at the top; it holds folder/mos"
    ):
        read_answer(tmp_path / "c.zip", form, NAMES)
    (tmp_path / "d.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match="cannot be read as a zip file"):
        read_answer(tmp_path / "d.zip", form, NAMES)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.zip", "c.zip", "d.zip", "r.yaml"]


LISTS = {
    "plain.txt": "0012\na.wav\nb.WAV\n v1.5 \n",
    "bom.txt": "\ufeff0012\r\na.wav\r\nb.WAV\r\nv1.5\r\n",
    "wide.txt": "0012\r\na.wav\r\nb.WAV\r\nv1.5\r\n",
    "mos.txt": "0012,3.2,4\na.wav,1,2\nb.WAV,3,3\nv1.5,2,2\n",
    "table.csv": "data_path;Sample_ID;x\n/p/q;0012;1\n/p/a.wav;a.wav;2\n/p/b;b.WAV;3\n/p/v;v1.5;4\n",
    "spaced.scp": "0012 3.2 4\na.wav 1 2\nb.WAV 3 3\nv1.5 2 2\n",
    "list.jsonl": '{"id": "0012"}\n{"id": "a.wav"}\n{"id": "b.WAV"}\n{"id": "v1.5"}',
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_read_however_it_is_written_and_ids_stay_text(name, tmp_path):
    path, form = tmp_path / name, SPACED if name.endswith("scp") else PLAIN
    path.write_bytes(LISTS[name].encode("utf-16" if name == "wide.txt" else "utf-8"))
    faults = []
    assert read_names(path, form, faults) == ["0012", "a", "b", "v1.5"]
    assert read_names(path, form._replace(keeps_suffix=True), faults) == ["0012", "a.wav", "b.WAV", "v1.5"]
    assert faults == []


def test_a_list_names_each_clip_once(tmp_path):
    path, faults = tmp_path / "list.txt", []
    path.write_text("a.wav\na\n.wav\nc\n")
    assert read_names(path, PLAIN, faults) == ["a", ".wav", "c"]
    assert [fault[:2] for fault in faults] == [("clip listed twice", 2)]
    assert "list.txt: 'a' is 'a', as line 1 is; list it once" in faults[0].what
    path.write_text("id,x\na b,1\n")
    assert read_names(path, SPACED, faults) == []
    assert faults[-1].what == "list.txt: 'a b' cannot be written; rename it"
    path.write_text("\n\n")
    with pytest.raises(ValueError, match=r"list\.txt: no clip in it"):
        read_names(path, PLAIN, faults)


LABELS = {
    "mos_list.txt": "a.wav,3.5,4\nb.wav,2,\nother.wav,1,1\n",
    "table.csv": "clip_id,Textual_Alignment,mi,system\na,4,3.5,S1\nb,,2,S2\nother,1,1,S3\n",
    "ratings.jsonl": '{"data_path": "a", "MI": [3, 4], "TA": [4]}\n{"data_path": "b", "MI": 2, "TA": []}',
    "song.jsonl": '{"file_name": "a.mp3", "annotation": [{"MI": 3, "TA": 4}, {"MI": 4, "TA": 4}]}\n'
    '{"file_name": "b.mp3", "annotation": [{"MI": 2}]}',
}


@pytest.mark.parametrize("name", LABELS)
def test_ratings_are_read_however_they_are_written(name, tmp_path):
    (tmp_path / name).write_text(LABELS[name])
    found = read_labels(tmp_path / name, PLAIN, ["b", "a", "c"], "^(.)$")
    assert np.array_equal(found.scores, [[2, math.nan], [3.5, 4], [math.nan, math.nan]], equal_nan=True)
    assert found.systems == (["S2", "S1", "c"] if name == "table.csv" else ["b", "a", "c"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.wav,6,4\n", "MI is 6, the scale is 1 to 5"),
        ("a,nan5,4\nb,x,3\n", r"MI is 'nan5', expected a number from 1 to 5; and 1 more like it"),
        ("a,3,4\na.wav,3,4\n", "a is rated above too"),
        ("x,3,4\n", "rates none of the clips, such as b, on MI, TA; leave it out"),
        ("a,3,5,4\nb,3\n", "expected 4 columns"),
    ],
)
def test_ratings_that_are_wrong_are_told(text, told, tmp_path):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_labels(tmp_path / "labels.txt", PLAIN, ["b", "a"], "")


def test_an_answer_is_scored_as_scipy_and_sklearn_do():
    from scipy import stats
    from sklearn.metrics import f1_score

    random, of = np.random.default_rng(0), KNOWN["asae2026_track2"]
    names = [f"s{n % 7}-{n}" for n in range(70)]
    truth = np.round(np.clip(random.normal(3.5, 0.8, (70, 5)), 1, 5), 2)
    scores = np.clip(truth + random.normal(0, 0.6, (70, 5)), 1, 5)
    labels = read_labels_of(names, truth)
    rows = {(row.level, row.axis): row for row in own_rows(of, names, scores, labels)}
    for a, axis in enumerate(axis.name for axis in of.form.axes):
        p, y, found = scores[:, a], truth[:, a], rows["utterance", axis].values
        assert list(found) == ["LCC", "SRCC", "KTAU", "TTA"]
        threshold = of.top_tier[axis]
        wanted = [stats.pearsonr(p, y)[0], stats.spearmanr(p, y)[0], stats.kendalltau(p, y)[0]]
        assert list(found.values()) == pytest.approx([*wanted, f1_score(y >= threshold, p >= threshold)])
        means = [[values[n::7].mean() for n in range(7)] for values in (p, y)]
        assert rows["system", axis].values["SRCC"] == pytest.approx(stats.spearmanr(*means)[0])
        assert rows["system", axis].n == 7
        assert math.isfinite(rows["system", axis].intervals["SRCC"].low)


def read_labels_of(names, truth):
    from lightning_aqa.results.challenges.lists import Labels

    return Labels(truth, [name.split("-")[0] for name in names])


def test_places_follow_the_rule_of_the_challenge():
    def numbers(*values):
        keys = [
            (level, "mos", metric) for level in ("system", "utterance") for metric in ("MSE", "LCC", "SRCC", "KTAU")
        ]
        return dict(zip(keys, values, strict=True))

    own = numbers(0.2, 0.90, 0.80, 0.60, 0.4, 0.70, 0.70, 0.50)
    best = numbers(0.1, 0.95, 0.90, 0.70, 0.3, 0.75, 0.70, 0.50)
    half = numbers(0.3, 0.90, 0.85, 0.60, 0.5, 0.60, 0.60, 0.40)
    rule = DenseRanks((("MSE",), ("LCC",), ("SRCC", "KTAU")))
    # own: MSE (2 + 2) / 2, LCC (2 + 2) / 2, ranks (3 + 1 + 2 + 1) / 4
    assert standing(rule, own, {"a": best, "b": half}, ["mos"]) == Standing(2, round((2 + 2 + 7 / 4) / 3, 9), 3)
    lacking = {key: value for key, value in best.items() if key[2] != "KTAU"}
    assert standing(rule, own, {"a": lacking, "b": half}, ["mos"]).of == 2
    assert standing(rule, lacking, {"a": best}, ["mos"]) is None
    assert standing(MeanOf("system", ("SRCC",)), own, {"a": best, "b": half}, ["mos"]) == Standing(3, 0.8, 3)


def test_published_numbers_are_numbers_with_a_source_and_intervals_where_n_is_told():
    for row in read_published():
        assert math.isfinite(float(row["value"]))
        assert row["source"].strip()
        assert not row["n"] or int(row["n"]) > 2
    for of in KNOWN.values():
        rows = published_beside(of)
        assert rows, of.title
        for row in rows:
            for metric, ends in row.intervals.items():
                assert row.n < 6 or ends.low <= row.values[metric] <= ends.high, (row, metric)


def test_the_published_numbers_of_the_page_of_methods_stand_in_the_one_file():
    text = (ROOT / "docs" / "methods.md").read_text().partition("## Published numbers")[2]
    told = {
        float(number)
        for line in text.splitlines()
        if line.startswith("|")
        for number in re.findall(r"(?<![\d.])\d?\.\d{3}(?!\d)", line)
    }
    assert len(told) > 30
    assert told <= {float(row["value"]) for row in read_published()}


def test_known_challenges_name_their_clips_and_systems():
    for of in KNOWN.values():
        name = of.example.format(s=7, n=3)
        assert stem(name) == name
        if of.system:
            assert "7" in re.search(of.system, name)[1]
        assert not set(of.top_tier) - {axis.name for axis in of.form.axes}
        assert json.dumps(of.asked)
