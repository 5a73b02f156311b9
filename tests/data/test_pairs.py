import csv
import io
import json
import math
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.batch import make_axes
from lightning_aqa.data.manifest import Clip, Manifest, Pair
from lightning_aqa.data.pair_batches import PairBatches
from lightning_aqa.data.pair_table import PairTable
from lightning_aqa.data.pairs import read_pairs
from lightning_aqa.data.validation import CorpusError

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8).filter(
    lambda name: name.lower() not in ("nan", "na", "n/a", "#n/a", "<na>", "null", "none") and "/" not in name
    and name not in (".", "..") and not name.startswith(("#", '"', "[", "{"))
)  # fmt: skip
WORDS = {
    "a": ["a", "A", "left", "model_a", "1"],
    "b": ["b", "Right", "clip b", "2"],
    "tie": ["tie", "Draw", "both_bad"],
}
HEADERS = {"clip_a": ["clip_a", "File_A", "wav1", "left"], "clip_b": ["clip_b", "audio_b", "path2", "right"],
           "winner": ["winner", "Preference", "vote"], "listener": ["listener", "rater_id", "judge"],
           "axis": ["axis", "criterion"], "weight": ["weight", "votes"]}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A folder with clips of which the name says how loud they are."""
    for i in range(24):
        noise = np.random.default_rng(i).standard_normal(4000)
        soundfile.write(tmp_path / f"c{i:02d}.wav", (0.3 / (1 + i) * noise).clip(-1, 1), 8000)
    return tmp_path


def write(path, rows, header="clip_a,clip_b,winner"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(NAMES, NAMES, st.sampled_from("ab") | st.just("tie"), st.floats(0.01, 100)), min_size=1),
    st.data(),
)
def test_a_table_comes_back_whatever_its_columns_and_words_are_called(tmp_path, rows, data):
    rows = [row for row in rows if row[0] != row[1]] or [("x", "y", "a", 1.0)]
    names = [data.draw(st.sampled_from(HEADERS[role])) for role in HEADERS]
    said = [data.draw(st.sampled_from(WORDS[winner])) for _, _, winner, _ in rows]
    # a word for the winner that is the name of a clip means the clip
    said = [winner if word in (one, other) else word for word, (one, other, winner, _) in zip(said, rows, strict=True)]
    rows = [row for row, word in zip(rows, said, strict=True) if word not in row[:2]]
    said = [word for word, row in zip(said, rows, strict=True)] if len(rows) == len(said) else [row[2] for row in rows]
    cells = [[one, other, word, f"L{i}", "MI", weight] for i, ((one, other, _, weight), word) in
             enumerate(zip(rows, said, strict=True))]  # fmt: skip
    if not cells:
        return
    text = io.StringIO()
    csv.writer(text).writerows([names, *cells])
    (tmp_path / "pairs.csv").write_bytes(text.getvalue().encode())
    lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in cells]
    (tmp_path / "pairs.jsonl").write_bytes("\n".join(lines).encode())
    wanted = [Pair(one, other, winner, "MI", f"L{i}", weight) for i, (one, other, winner, weight) in enumerate(rows)]
    for name in ("pairs.csv", "pairs.jsonl"):
        problems = []
        assert [row.pair() for row in read_pairs(tmp_path / name, problems)] == wanted
        assert problems == []


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "tie", "0", "nan", "", "-1", "x" * 400]), max_size=6)))
def test_every_row_is_a_pair_or_has_one_line(tmp_path, rows):
    text = io.StringIO()
    csv.writer(text).writerows([["clip_a", "clip_b", "winner", "listener", "weight"], *rows])
    (tmp_path / "pairs.csv").write_text(text.getvalue())
    problems = []
    if not any(len(row) == 5 or any(row) for row in rows):
        with pytest.raises(CorpusError, match="expected a row per pair"):
            read_pairs(tmp_path / "pairs.csv", problems)
        return
    try:
        found = read_pairs(tmp_path / "pairs.csv", problems)
    except CorpusError:  # no row has as many cells as the header
        return
    assert all(row.clips[0] != row.clips[1] and 0 < row.weight < math.inf for row in found)
    places = [problem.where for problem in problems]
    assert max(Counter(places).values(), default=1) == 1
    contradicted = sum(problem.kind == "contradicting pairs" for problem in problems)
    rows_read = sum(any(cell.strip() for cell in row) for row in rows) - sum(row[:1] == ["#"] for row in rows)
    assert rows_read - contradicted <= len(found) + len(problems) <= rows_read


def test_what_is_wrong_with_a_table_is_said_row_by_row(folder, fails):
    rows = ["c00.wav,c01.wav,a,L1,1", "c01.wav,c00.wav,a,L1,1", "c02.wav,c02.wav,b,L1,1", "c02.wav,c30.wav,b,L1,1",
            "c02.wav,c03.wav,0,L1,1", "c04.wav,,b,L1,1", "c04.wav,c05.wav,tie,L1,-2", "c04.wav,c05.wav,tie,L1,1",
            "c05.wav,c04.wav,draw,L1,1"]  # fmt: skip
    path = write(folder / "pairs.csv", rows, "clip_a,clip_b,winner,listener,weight")
    said = fails("fit", "--data=PairTable", f"--data.path={path}", "--objectives.mse=BradleyTerry").splitlines()
    told = {
        line.split(": ", 1)[0].strip().rsplit(":")[-1]: line.split(": ", 1)[1] for line in said if f"{path}:" in line
    }
    assert told == {
        "3": "L1 on c01.wav and c00.wav: c01.wav wins, but c00.wav wins at " f"{path}:2; neither row is used",
        "4": "'c02.wav' is compared with itself",
        "5": "'c30.wav' is no file of the folder of audio (--data.audio_root). Did you mean 'c05.wav'?",
        "6": "winner is '0', expected a, b, tie, or the name of one of the two clips",
        "7": "no clip_b in the column 'clip_b'",
        "8": "weight is '-2', expected a number above 0, at most 1e+09",
        "10": "L1 on c05.wav and c04.wav: the same as " f"at {path}:9; this row is not used",
    }  # fmt: skip


def test_a_file_by_several_names_is_one_clip(folder):
    (folder / "sub").mkdir()
    path = write(
        folder / "pairs.csv", ["c00,c01.wav,a", "c00.wav,./c02.wav,b", "c02,sub/../c01.wav,tie", "c03.wav,c03,a"]
    )
    data = PairTable(path, fractions={"train": 1.0}, on_bad_clip="skip")
    assert sorted(clip.id for clip in data.manifest) == ["./c02.wav", "c00", "c01.wav"]
    assert [(pair.clip_a, pair.clip_b) for pair in data.manifest.pairs] == [
        ("c00", "c01.wav"), ("c00", "./c02.wav"), ("./c02.wav", "c01.wav")
    ]  # fmt: skip
    assert [problem.what for problem in data.manifest.problems] == ["'c03.wav' is compared with itself"]


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        ("clip_a,clip_b,winner,weight", ["c01,c02,a,1e300"], "weight is '1e300', expected a number above 0, at most"),
        ("clip_a,clip_b,winner,user", ["c01,c02,a,L", "c01,c02,b,L"], "neither row is used; no pair of the table can"),
    ],
)  # fmt: skip
def test_rows_that_would_give_wrong_numbers_or_none_are_told(folder, header, rows, expected):
    with pytest.raises(CorpusError, match=expected):
        PairTable(write(folder / "pairs.csv", rows, header), audio_root=str(folder)).read()


@pytest.mark.parametrize(
    ("header", "row", "words", "expected"),
    [
        ("clip_a,clip_b,outcom", "c00.wav,c01.wav,a", [], "no column for winner (winner, preference, preferred, "),
        ("clip_a,clip_b,winner", "q.wav,r.wav,a", [], "'q.wav' is no file of the folder of audio"),
        ("clip_a,clip_b,winner", "c00.wav,c01.wav,a", ["--data.columns={winer: x}"], "Did you mean 'winner'?"),
        ("clip_a,clip_b,winner", "c00.wav,c01.wav,a", ["--data.rating_columns={file: x}"], "none is given"),
        ("clip_a,clip_b,winner,axis", "c00.wav,c01.wav,a,qualty", ["--data.axes={quality: [1, 5]}",
         "--data.ratings={folder}/ratings.csv"], "axis is 'qualty', expected quality. Did you mean 'quality'"),
    ],
)  # fmt: skip
def test_a_table_of_another_kind_is_refused_in_words(folder, fails, header, row, words, expected):
    write(folder / "ratings.csv", [f"c{i:02d}.wav,{1 + i % 5}" for i in range(20)], "file,quality")
    path = write(folder / "pairs.csv", [row], header)
    given_words = [word.replace("{folder}", str(folder)) for word in words]
    said = fails("fit", "--data=PairTable", f"--data.path={path}", "--objectives.mse=BradleyTerry", *given_words)
    assert expected in said


def test_no_clip_is_in_two_splits_and_lost_pairs_are_counted(folder, caplog):
    random = np.random.default_rng(0)
    drawn = [random.choice(24, 2, replace=False) for _ in range(200)]
    path = write(folder / "pairs.csv", [f"c{a:02d}.wav,c{b:02d}.wav,a" for a, b in drawn])
    fractions = {"train": 0.5, "dev": 0.25, "test": 0.25}
    data = PairTable(path, fractions=fractions)
    of = {clip.id: clip.split for clip in data.manifest}
    inside = Counter(of[pair.clip_a] for pair in data.manifest.pairs if of[pair.clip_a] == of[pair.clip_b])
    assert sum(inside.values()) == len(data.manifest.pairs) < 200
    assert f"{200 - sum(inside.values())} of 200 pairs compare clips of different splits" in caplog.text
    assert all(f"{name} {count}" in caplog.text for name, count in inside.items())
    assert {name: len(data.manifest.split(name).pairs) for name in fractions} == dict(inside)
    caplog.clear()
    path = write(folder / "battles.csv", [f"c{2 * i:02d}.wav,c{2 * i + 1:02d}.wav,b" for i in range(12)])
    data = PairTable(path, fractions=fractions)  # each clip in one pair: none need be lost
    assert len(data.manifest.pairs) == 12
    assert "different splits" not in caplog.text


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_each_rating_and_each_pair_comes_once_an_epoch_with_both_clips_in_its_batch(num_ranks):
    random = np.random.default_rng(1)
    clips = [Clip(f"c{i}", f"c{i}.wav", scores={"MI": 3.0} if i % 3 == 0 else {}) for i in range(20)]
    drawn = [random.choice(20, 2, replace=False) for _ in range(31)]
    pairs = [Pair(f"c{a}", f"c{b}", "ab"[i % 2], "MI", weight=1.0 + i) for i, (a, b) in enumerate(drawn)]
    axes = make_axes({"MI": [1, 5]})
    made = [
        PairBatches(Manifest(clips, axes, pairs=pairs), [1.0 + i for i in range(20)], 6, 2.0, 5, rank, num_ranks)
        for rank in range(num_ranks)
    ]
    for epoch in (0, 1):
        for batches in made:
            batches.set_epoch(epoch)
        rated, seen = Counter(), Counter()
        parts = [list(batches) for batches in made]
        assert len({len(part) for part in parts}) == 1
        for windows in zip(*parts, strict=True):
            assert all(len(own) for own in windows)
            assert len({own[0].pairs for own in windows}) == 1  # all ranks have all pairs
            everywhere = {rank + num_ranks * i: w for rank, own in enumerate(windows) for i, w in enumerate(own)}
            rated.update(w.clip for w in everywhere.values() if w.counts and clips[w.clip].scores)
            for a, b, winner, weight, axis in windows[0][0].pairs:
                pair = pairs[round(weight) - 1]
                assert (f"c{everywhere[a].clip}", f"c{everywhere[b].clip}") == (pair.clip_a, pair.clip_b)
                assert ("ab"[winner], axis) == (pair.winner, 0)
                seen[pair] += 1
            assert len(everywhere) <= 6 * num_ranks + 2
        assert rated == Counter(i for i in range(0, 20, 3))
        assert seen == Counter(pairs)
