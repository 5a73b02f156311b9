import json
import logging
from pathlib import Path

import pytest

from lightning_aqa.batch import make_axes
from lightning_aqa.data.table import Table, read_table
from lightning_aqa.data.validation import CorpusError

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "real" / "music"
AXES = {"overall": [1, 5]}


@pytest.fixture
def table(tmp_path):
    def write(text, name="ratings.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_wide_table_is_a_row_per_clip(table):
    path = table("file,System,caption,set,overall\nsub/a.wav,S1,rain,valid,3\n/abs/b.wav,S2,wind,train,4.5\n")
    manifest = read_table(path, AXES)
    assert manifest.problems == ()
    first, second = manifest
    assert (first.id, first.path) == ("sub/a.wav", str(path.parent / "sub/a.wav"))
    assert (first.system, first.prompt, first.split, first.scores) == ("S1", "rain", "dev", {"overall": 3.0})
    assert second.path == "/abs/b.wav"


def test_a_long_table_averages_its_ratings(table):
    manifest = read_table(table("wav\trater\toverall\na\tL1\t3\nb\tL1\t1\na\tL2\t4\n", "r.tsv"), AXES)
    assert [(clip.id, clip.scores["overall"]) for clip in manifest] == [("a", 3.5), ("b", 1.0)]
    assert manifest[0].ratings == {"L1": {"overall": 3.0}, "L2": {"overall": 4.0}}


def test_a_long_table_without_listeners_numbers_them(table):
    manifest = read_table(table("file,overall\na,3\na,4\nb,1\nb,2\n"), AXES)
    assert manifest[0].ratings == {"1": {"overall": 3.0}, "2": {"overall": 4.0}}


def test_a_tidy_table_names_the_axis_in_a_column(table):
    axes = {"MI": [1, 5], "TA": [1, 5]}
    manifest = read_table(table("file,listener,axis,score\na,L1,MI,3\na,L1,TA,5\na,L2,MI,4\n"), axes)
    assert manifest[0].ratings == {"L1": {"MI": 3.0, "TA": 5.0}, "L2": {"MI": 4.0}}
    assert manifest[0].scores == {"MI": 3.5, "TA": 5.0}
    unnamed = read_table(table("file,axis,score\na,MI,3\na,TA,5\na,MI,4\n"), axes)
    assert unnamed[0].ratings == {"1": {"MI": 3.0, "TA": 5.0}, "2": {"MI": 4.0}}


def test_a_column_of_that_name_without_a_score_is_about_something_else(table):
    manifest = read_table(table("file,overall,aspect\na,3,loud\nb,1,calm\n"), AXES)
    assert [clip.scores["overall"] for clip in manifest] == [3.0, 1.0]


def test_an_axis_that_no_row_of_a_tidy_table_rates_is_refused(table):
    with pytest.raises(CorpusError, match=r"no row rates the axis 'overal'; they rate overall. Did you mean 'overall'"):
        read_table(table("file,axis,score\na,overall,3\n"), {"overal": [1, 5]})


def test_json_lines_may_hold_lists_of_ratings(table):
    lines = [{"path": "a.wav", "overall": [3, 4], "extra": {"x": 1}}, {"path": "b.wav", "overall": 2, "prompt": "hi"}]
    manifest = read_table(table("\n".join(map(json.dumps, lines)), "r.jsonl"), AXES)
    assert [clip.scores["overall"] for clip in manifest] == [3.5, 2.0]
    assert manifest[0].ratings == {"1": {"overall": 3.0}, "2": {"overall": 4.0}}
    assert manifest[1].prompt == "hi"


def test_columns_can_be_named_and_switched_off(table):
    path = table("clip name,subject,q,text\na.wav,folk,3,yes\nb.wav,folk,4,no\n")
    columns = {"file": "clip name", "overall": "q", "listener": "", "prompt": ""}
    manifest = read_table(path, AXES, columns=columns)
    assert [(c.id, c.prompt, c.ratings, c.scores) for c in manifest] == [
        ("a.wav", "", {}, {"overall": 3.0}),
        ("b.wav", "", {}, {"overall": 4.0}),
    ]


def test_parts_of_a_file_are_clips_of_their_own(table):
    manifest = read_table(table("file,start,end,overall\na,0,5,3\na,5,,4\na,2,1,3\na,x,1,3\n"), AXES)
    assert [(c.id, c.start, c.end) for c in manifest][:2] == [("a#0-5", 0.0, 5.0), ("a#5-", 5.0, None)]
    assert [(p.kind, p.where[-2:]) for p in manifest.problems] == [("bad time", ":4"), ("bad time", ":5")]


def test_audio_can_lie_elsewhere(table):
    assert read_table(table("file,overall\na.wav,3\n"), AXES, audio_root="/audio")[0].path == "/audio/a.wav"


def test_everything_wrong_in_a_wide_table_is_reported(table):
    path = table("file,overall\na,3\nb,high\nc,6\na,4\nd,\n,3\ne,1,2\n")
    manifest = read_table(path, AXES)
    assert sorted((p.kind, p.where, p.clip_id) for p in manifest.problems) == sorted([
        ("bad score", f"{path}:3", "b"), ("score out of scale", f"{path}:4", "c"), ("duplicate id", f"{path}:5", ""),
        ("bad row", f"{path}:7", ""), ("bad row", f"{path}:8", ""),
    ])  # fmt: skip
    assert [clip.id for clip in manifest] == ["a", "b", "c", "d"]


def test_a_bad_rating_is_left_out_and_its_clip_kept(table):
    path = table("file,listener,system,overall\na,L1,S1,3\na,L2,S1,9\na,L1,S1,5\na,L3,S2,4\nb,L1,S1,?\n")
    manifest = read_table(path, AXES)
    assert manifest[0].ratings == {"L1": {"overall": 3.0}, "L3": {"overall": 4.0}}
    assert sorted((p.kind, p.where, p.clip_id) for p in manifest.problems) == sorted([
        ("score out of scale", f"{path}:3", ""), ("duplicate rating", f"{path}:4", ""),
        ("rows disagree", f"{path}:5", "a"), ("bad score", f"{path}:6", ""),
    ])  # fmt: skip


def test_one_repeated_row_does_not_make_a_table_long(table):
    text = "file,overall\na,3\nb,3\nc,3\na,3\n"
    assert [p.kind for p in read_table(table(text), AXES).problems] == ["duplicate id"]
    assert len(read_table(table(text), AXES, layout="long")[0].ratings) == 2


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [("file,overal\na,3\n", {}, "no column 'overall'; it has file, overal. Did you mean 'overal'"),
     ("sound,overall\na,3\n", {}, "no column for the audio file"),
     ("file,overall\na,3\n", {"system": "modle"}, "no column 'modle' for system"),
     ("file,overall\n", {}, "no rows in it")],
)  # fmt: skip
def test_a_column_that_is_not_there_is_named(table, text, columns, message):
    with pytest.raises(CorpusError, match=message):
        read_table(table(text), AXES, columns=columns)


def test_a_role_that_nobody_knows_names_the_nearest():
    with pytest.raises(ValueError, match=r"columns names 'sytem', .* Did you mean 'system'\?"):
        Table("x.csv", AXES, columns={"sytem": "model"})


@pytest.mark.parametrize("scale", [[5, 1], [1], [1, 2, 3], [1, float("nan")]])
def test_a_scale_is_its_two_ends(scale):
    with pytest.raises(ValueError, match=r"axes.overall must be its lowest and highest score"):
        make_axes({"overall": scale})


def test_axes_are_needed():
    with pytest.raises(ValueError, match="axes is empty"):
        Table("x.csv", {})


def rows(num_clips, **columns):
    header = ",".join(["file", "overall", *columns])
    lines = [",".join([f"{n}.wav", "3", *(str(make(n)) for make in columns.values())]) for n in range(num_clips)]
    return "\n".join([header, *lines])


def counts(data):
    return {split: len(data.manifest.split(split)) for split in ("train", "dev", "test")}


def test_a_table_without_splits_is_split_by_fractions(table):
    path = str(table(rows(50)))
    assert counts(Table(path, AXES)) == {"train": 40, "dev": 5, "test": 5}
    assert counts(Table(path, AXES, fractions={"train": 0.5, "test": 0.5})) == {"train": 25, "dev": 0, "test": 25}


def test_given_splits_are_kept_and_a_clip_without_one_is_reported(table):
    path = str(table(rows(10, split=lambda n: "" if n == 3 else "train" if n < 8 else "test")))
    data = Table(path, AXES)
    assert counts(data) == {"train": 7, "dev": 0, "test": 2}
    assert [(p.kind, p.clip_id) for p in data.manifest.problems] == [("no split", "3.wav")]


def test_folds_are_made_or_taken_from_a_column(table):
    made = str(table(rows(50)))
    assert counts(Table(made, AXES, folds=5, fold=2)) == {"train": 30, "dev": 10, "test": 10}
    assert counts(Table(made, AXES, folds=5, fold=0, dev_fraction=0.1)) == {"train": 36, "dev": 4, "test": 10}
    assert counts(Table(made, AXES, folds=5, dev_fraction=0.1)) == {"train": 45, "dev": 5, "test": 0}  # held out: none
    assert counts(Table(made, AXES, folds=5, fold="all", dev_fraction=0)) == {"train": 50, "dev": 0, "test": 0}
    with pytest.raises(CorpusError, match="fold=2 needs folds, or a column of folds"):
        Table(made, AXES, fold=2).setup()
    given = str(table(rows(50, fold=lambda n: n % 10), "given.csv"))
    data = Table(given, AXES, fold=2)
    assert counts(data) == {"train": 40, "dev": 5, "test": 5}
    assert [clip.id for clip in data.manifest.split("test")] == ["2.wav", "12.wav", "22.wav", "32.wav", "42.wav"]


def test_the_table_s_own_folds_count_before_the_number_that_is_asked_for(table):
    given = str(table(rows(50, fold=lambda n: n % 10)))
    assert counts(Table(given, AXES, folds=5, fold=7, dev_fraction=0)) == {"train": 45, "dev": 0, "test": 5}
    aside = {"split": ""}
    assert counts(Table(given, AXES, folds=5, fold=0, dev_fraction=0, columns=aside)) == {
        "train": 40,
        "dev": 0,
        "test": 10,
    }
    with pytest.raises(ValueError, match="fold must be from 0 to 9, got 10"):
        Table(given, AXES, folds=5, fold=10, dev_fraction=0).setup()


def test_leakage_is_logged(table, caplog):
    path = str(table(rows(40, prompt=lambda n: n % 4)))
    with caplog.at_level(logging.WARNING):
        Table(path, AXES).setup()
    assert "4 prompts are in more than one split" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        Table(path, AXES, split_by="prompt").setup()
    assert caplog.text == ""


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/music")
def test_real_ratings_of_music_are_read_whole():
    manifest = read_table(REAL / "ratings.csv", AXES, audio_root=REAL / "audio")
    assert manifest.problems == ()
    assert (len(manifest), sum(len(clip.ratings) for clip in manifest)) == (104, 2906)
    assert {clip.system for clip in manifest} == {"human-single", "human-multi", "computer-single", "computer-multi"}
    assert 2.05 < min(clip.scores["overall"] for clip in manifest) < 2.15
    assert all(Path(clip.path).is_file() for clip in manifest)
