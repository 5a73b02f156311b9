"""Scores of other tools: which row is which clip, what is refused, and the row that they get in a report."""

import csv
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.batch import make_axes
from lightning_aqa.cli.main import main
from lightning_aqa.results.judge_scores import read_scores
from lightning_aqa.results.judges import parse_judges
from lightning_aqa.results.predictions import write_predictions
from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.inputs import item_of
from lightning_aqa.scoring.trust import Trust
from lightning_aqa.scoring.writer import ScoreWriter, Stamp
from tests.small_sweep import AXES, table, write_run

IDS = ["sys1/a.wav", "sys1/b.wav", "sys2/a.wav", "c"]


@pytest.fixture
def read(tmp_path):
    """Write a table and read its scores of four clips on one axis."""

    def run(text, name="scores.csv", ids=IDS, axes=("PQ",)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_scores(tmp_path / name, "judge", "test", ids, list(axes))[:, 0].tolist()

    return run


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("id,PQ\nsys1/a.wav,1\nsys1/b.wav,2\nsys2/a.wav,3\nc,4\n", "scores.csv"),
        ("\ufefffile;mos\nsys1/a.flac;1\nb;2\n/data/clips/sys2/a.wav;3\nC.wav;4\n", "scores.csv"),
        ("clip\tjudge\nsys1\\a.wav\t1\nb.wav\t2\nsys2/a\t3\nc\t4\nelsewhere\t9\n", "scores.tsv"),
        (
            '[{"path": "x/sys1/a.wav", "pq": 1}, {"path": "b", "pq": 2},\n'
            ' {"path": "sys2/a", "pq": 3}, {"id": "c", "pq": 4}]',
            "s.json",
        ),
        (
            "split,id,axis,score\ntest,sys1/a.wav,PQ,1\ntest,b,PQ,2\ntest,sys2/a,PQ,3\ntest,c,PQ,4\n"
            "train,c,PQ,9\ntest,c,CE,9\n",
            "predictions.csv",
        ),
    ],
)  # fmt: skip
def test_tables_of_many_tools_are_read(read, text, name):
    assert read(text, name) == [1, 2, 3, 4]


def test_a_clip_without_a_score_has_none(read):
    assert np.isnan(read("id,PQ\nc,4\nsys1/b.wav,\n")[:3]).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,PQ\nc,good\n", ":2: PQ of c is 'good', expected a finite number."),
        ("id,PQ\nc,nan\n", ":2: PQ of c is 'nan', expected a finite number; leave the cell empty where there is none."),
        ("id,PQ\nc,1e999\n", ":2: PQ of c is '1e999', expected a finite number."),
        ("id,PQ\nc,1\nc.wav,2\n", ":3: PQ of c is 2, but 1 at "),
        ("id,PQ\na.wav,1\n", ":2: 'a.wav' may be 'sys1/a.wav' or 'sys2/a.wav'; write the whole id."),
        ("id,file,PQ\nc,b.wav,1\n", ":2: 'c' and 'b.wav' are clips 'c' or 'sys1/b.wav'; leave one of the columns out."),
        ("id,PQ\nsys3/a.wav,1\n", ":2: neither this nor another row is a clip of the runs (here 'sys3/a.wav', there"),
        ("id,quality\nc,1\n", ": no column is called as an axis (PQ); it has id, quality."),
        ("id,axis,score\nc,CE,1\n", ":2: 'CE' is no axis of the runs, which have PQ."),
        ("name,PQ\nc,1\n", ": no column of clips (id, clip_id,"),
        ("id,PQ\nc,1,2\n", ":2: expected 2 columns (id,PQ), found 3"),
        ("id,PQ\n", ": no rows in it."),
    ],
)
def test_what_is_wrong_is_said_with_the_row(read, text, expected):
    with pytest.raises(ValueError, match=r"scores\.csv") as error:
        read(text)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_score_of_several_axes_is_not_guessed(read):
    with pytest.raises(ValueError, match="'score' may be any of them"):
        read("id,score\nc,1\n", axes=("PQ", "CE"))
    with pytest.raises(ValueError, match="Did you mean 'CE'"):
        read("id,axis,score\nc,PQ,1\nc,CEE,1\n", axes=("PQ", "CE"))


_NAMES = st.text("ab=é.'\\", min_size=1, max_size=4).filter(lambda text: text.strip(".") == text)


@given(st.lists(_NAMES, min_size=1, max_size=6, unique=True), st.data())
def test_ids_that_are_written_as_they_are_find_their_clips(tmp_path, ids, data):
    scores = data.draw(st.lists(st.floats(-100, 100), min_size=len(ids), max_size=len(ids)))
    order = data.draw(st.permutations(range(len(ids))))
    nothing = np.full((len(ids), 1), np.nan)
    of = table(2, 1)._replace(
        ids=[ids[i] for i in order], systems=[""] * len(ids), domains=[""] * len(ids), targets=nothing,
        scores=np.array([[scores[i]] for i in order]), prompts=None,
    )  # fmt: skip
    write_predictions(tmp_path / "predictions.csv", [("test", of)], ["PQ"])
    assert read_scores(tmp_path / "predictions.csv", "j", "test", ids, ["PQ"])[:, 0].tolist() == scores


@given(
    st.text('id,PQ\n"c;.wav1e9#\t{}[]:-\\/é', max_size=40),
    st.sampled_from(["", "id,PQ\n", "file;score\n", '{"id": "c"}\n']),
)
def test_any_text_is_scores_or_one_line_of_what_is_wrong(tmp_path, text, head):
    for path in (tmp_path / "scores.csv", tmp_path / "scores.jsonl"):
        path.write_text(head + text, encoding="utf-8")
        try:
            said = f"{path} {read_scores(path, 'j', 'test', IDS, ['PQ']).shape}"
        except ValueError as error:
            said = str(error)
        assert said.startswith(str(path))
        assert "\n" not in said


def _write_scores(path, of, values, columns):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(
            [columns, *([f"clips/{id_}.wav", *row] for id_, row in zip(of.ids, values, strict=True))]
        )
    return path


def test_a_judge_is_a_row_of_the_report(tmp_path):
    of = table(noise=1.0)
    run = write_run(tmp_path / "run", of)
    random = np.random.default_rng(0).normal(size=of.targets.shape)
    good = _write_scores(tmp_path / "good.csv", of, of.targets * 20, ["file", *AXES])
    bad = _write_scores(tmp_path / "bad.csv", of, random[:, :1], ["path", "MI"])
    bad.write_text("".join(bad.read_text().splitlines(keepends=True)[:-3]))
    words = ["--resamples=200", "--clips=0", "--baseline=good", f"--output={tmp_path / 'page'}"]
    assert main(["report", str(run), f"--judge=good={good}", "--judge", f"bad={bad}", *words]) == 0
    with open(tmp_path / "page" / "tables.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] == "utterance" and not row["domain"]]
    cells = {(row["row"], row["metric"]): row for row in rows if row["axis"] == "MI"}
    assert {row["axis"] for row in rows} == {"MI"}
    assert {row["n"] for row in cells.values() if row["n"]} == {"37"}
    assert float(cells["good", "SRCC"]["value"]) == pytest.approx(1)
    assert cells["good", "MSE"]["value"] == cells["good", "MSE"]["low"] == cells["run", "MSE"]["p_adjusted"] == ""
    assert float(cells["run", "MSE"]["value"]) == pytest.approx(float(np.mean((of.scores - of.targets)[:37, 0] ** 2)))
    assert float(cells["run", "SRCC"]["difference"]) < 0
    assert float(cells["bad", "SRCC"]["p_adjusted"]) < 0.05
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert "has no scores of axis TA and 3 of 40 clips, left out of all rows." in page
    assert "good scores MI on a scale of its own" in page
    assert "another tool" in page


def test_one_column_may_stand_for_every_axis(tmp_path):
    (judge,) = parse_judges([f"a={tmp_path / 'scores.csv'}:OVRL"])
    judge.path.write_text("path,SIG,OVRL\nclips/a.wav,1,4\nclips/b.wav,2,3\n")
    found = read_scores(judge.path, judge.name, "test", ["a", "b"], ["MI", "TA"], judge.column)
    assert found.tolist() == [[4, 4], [3, 3]]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_score_writes_is_read_as_it_is(tmp_path, form):
    written = tmp_path / f"scores.{form}"
    names = ["clips/a.wav", "clips/more/=b, c.wav", "clips/caf\udce9.wav", "clips/long.wav"]
    items = [item_of({"path": name}, name) for name in names[:3]] + [
        item_of({"path": names[3], "start": start, "end": start + 2.5}, "") for start in (0, 2.5)
    ]
    with closing(
        ScoreWriter(written, Trust(make_axes({"MI": [1, 5], "seconds": [1, 5]})), Stamp("best.ckpt", {}, "0"))
    ) as writer:
        writer.write([ScoredClip(item, 1.0, (float(i), -float(i))) for i, item in enumerate(items)])
        writer.write([ScoredClip(item_of({"path": "clips/d.wav"}, ""), error="no audio")])
    ids = ["more/=b, c", "caf\udce9.wav", "a", "long.wav#2.5-5", "d"]
    found = read_scores(written, "own", "test", ids, ["MI", "seconds"])
    assert found[:4].tolist() == [[1, -1], [2, -2], [0, 0], [4, -4]]
    assert np.isnan(found[4]).all()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--judge=scores.csv"], "--judge=scores.csv: expected a name and a table of scores, such as"),
        (["--judge=a=x.csv", "--judge=a=y.csv"], "--judge=a=y.csv: there are two judges named 'a'"),
        (["--judge=run=x.csv"], "--judge=run=...: a variant has this name; give another."),
        (["--judge=a=x.csv"], "x.csv: no such file."),
        (["--judge=a=mi.csv", "--judge=b=ta.csv"], "the judges a, b score no axis in common; report them one by one."),
        (["--judge=a=mi.csv", "--judge=b=other.csv"], "no clip has a score of each of the judges a, b; report them"),
        (["--judge=a=mi.csv:IM"], "mi.csv: has no column 'IM'; it has id, MI."),
        (["--judge=a=x.csv", "--baseline=b"], "--baseline=b: no such variant; there are: run."),
    ],
)
def test_judges_that_cannot_be_are_refused(fails, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    ids = table().ids
    for name, axis, id_ in (("mi", "MI", ids[0]), ("ta", "TA", ids[0]), ("other", "MI", ids[1])):
        (tmp_path / f"{name}.csv").write_text(f"id,{axis}\n{id_},3\n")
    assert expected in fails("report", str(write_run(tmp_path / "run", table())), *words)
