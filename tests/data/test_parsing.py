import pytest

from lightning_aqa.batch import Axis
from lightning_aqa.data.parsing import by_listener, did_you_mean, mean_scores, parse_score, read_csv, read_jsonl
from lightning_aqa.data.validation import CorpusError

MI = Axis("MI", "Musical impression", 1.0, 5.0)


def test_csv_keeps_quoted_commas_and_the_number_of_each_line(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('file,MI\r\n"Jokers, Jacks & Kings.wav",3\r\n\r\nlast.wav,0')
    rows = read_csv(path, [])
    assert rows[0].fields == {"file": "Jokers, Jacks & Kings.wav", "MI": "3"}
    assert rows[1].where == f"{path}:4"
    assert rows[1].fields["MI"] == "0"


@pytest.mark.parametrize(("name", "text"), [("a.tsv", "file\tMI\na\t3\n"), ("a.csv", "\ufefffile;MI\na;3\n")])
def test_csv_takes_tabs_semicolons_and_a_byte_order_mark(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_csv(tmp_path / name, [])[0].fields == {"file": "a", "MI": "3"}


def test_a_row_of_another_width_is_a_problem_and_not_a_shift(tmp_path):
    path, problems = tmp_path / "list.txt", []
    path.write_text("a.wav,3,4\nb.wav,3\nc.wav,1,2,3\n")
    assert [row.fields["file"] for row in read_csv(path, problems, ["file", "MI", "TA"])] == ["a.wav"]
    assert [(p.kind, p.where, p.what) for p in problems] == [
        ("bad row", f"{path}:2", "expected 3 columns (file,MI,TA), found 2"),
        (
            "bad row",
            f"{path}:3",
            "expected 3 columns (file,MI,TA), found 4; write decimals with a point, and texts with commas in quotes",
        ),
    ]


def test_jsonl_notes_lines_that_are_not_objects_and_keeps_odd_separators(tmp_path):
    path, problems = tmp_path / "list.jsonl", []
    path.write_text('{"a": "x\u2028y"}\n{oops\n\n[1]\n{"a": 2}', encoding="utf-8")
    rows = read_jsonl(path, problems)
    assert [row.fields["a"] for row in rows] == ["x\u2028y", 2]
    assert [problem.where for problem in problems] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("3,5", "bad score"), ("", "bad score"), ("nan", "bad score"), (True, "bad score"), (None, "bad score"),
     ("0", "score out of scale"), ("inf", "score out of scale"), ("5.01", "score out of scale")],
)  # fmt: skip
def test_a_score_that_cannot_be_one_says_why(text, kind):
    problems = []
    score = parse_score(text, MI, "list.txt:7", problems, "clip")
    assert score != score
    assert [(p.kind, p.where, p.clip_id) for p in problems] == [(kind, "list.txt:7", "clip")]


def test_the_ends_of_the_scale_belong_to_it():
    problems = []
    assert [parse_score(text, MI, "", problems) for text in (" 1", "5.0 ", 3)] == [1.0, 5.0, 3.0]
    assert problems == []


def test_the_mean_runs_over_those_who_rated_the_axis():
    ratings = by_listener({"MI": [3.0, float("nan"), 4.0], "TA": [1.0]})
    assert ratings == {"1": {"MI": 3.0, "TA": 1.0}, "3": {"MI": 4.0}}
    assert mean_scores(ratings, [MI, Axis("TA", "", 1, 5), Axis("XX", "", 1, 5)]) == {"MI": 3.5, "TA": 1.0}


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "ratings.csv").write_text("a\n1\n")
    with pytest.raises(CorpusError, match=r"rating.csv: no such file. Did you mean 'ratings.csv'\?"):
        read_csv(tmp_path / "rating.csv", [])


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"file,caf\xe9\n")
    with pytest.raises(CorpusError, match="not UTF-8 text"):
        read_csv(tmp_path / "a.csv", [])


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("file,MI,MI\n")
    with pytest.raises(CorpusError, match="two columns have the same name"):
        read_csv(tmp_path / "a.csv", [])


def test_no_name_is_suggested_where_none_is_near():
    assert did_you_mean("zebra", ["LibriTTS"]) == ""
