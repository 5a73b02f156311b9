import logging

import pytest

from lightning_aqa.data.musiceval import MusicEval, read_musiceval
from lightning_aqa.data.validation import CorpusError

PREFIX = "audiomos2025-track1-"


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def write_prompts(folder, demo_key=f"{PREFIX}S001_P003.wav"):
    write(folder / "prompt_info.txt", "id\ttext", 'P044\ta "calm" piano, slow', "P003\tnot for demos")
    write(folder / "demo_prompt_info.txt", "id\ttext", f"{demo_key}\ta demo of rain")


def write_phase1(folder):
    write(folder / "sets/train_mos_list.txt", f"{PREFIX}S002_P044.wav,3.2,4.0", f"{PREFIX}S001_P003.wav,1,5.0")
    write(folder / "sets/dev_mos_list.txt", f"{PREFIX}S005_P044.wav,2.8,3.4")
    write(
        folder / "person_mos/train_person_mos.txt",
        f"{PREFIX}S002_P044.wav,R1,3,4", f"{PREFIX}S002_P044.wav,R2,3.4,4", f"{PREFIX}S001_P003.wav,R1,1,5",
    )  # fmt: skip
    write(folder / "system_mos/system_mos_phase1.csv", "S002,3.21,4.01", "S001,1.5,4.5")
    write_prompts(folder)
    return folder


def write_full(folder):
    lines = {
        "train": ["S002_P044.wav,3.2,4.0"],
        "dev": ["S005_P044.wav,2.8,3.4"],
        "test": ["S001_P003.wav,1.0,5.0"],
    }
    for split, rows in lines.items():
        write(folder / f"sets/{split}_mos_list.txt", *rows)
    write(folder / "sets/total_mos_list.txt", *(row for rows in lines.values() for row in rows), "S007_P044.wav,2,2")
    write(folder / "person_mos/total_person_mos.txt", "S002_P044.wav,R1,3,4", "S007_P044.wav,R1,2,2")
    write(folder / "person_mos/train_person_mos.txt", "S002_P044.wav,R1,3,4")
    write_prompts(folder)
    return folder


def write_eval(folder):
    write(folder / "DATA/sets/eval_list.txt", f"{PREFIX}S033_P001", f"{PREFIX}S004_P044")
    return folder


def test_phase_1_gives_scores_prompts_ratings_and_system_scores(tmp_path):
    manifest = read_musiceval(write_phase1(tmp_path / "MusicEval-phase1"))
    assert manifest.problems == ()
    first, demo, dev = manifest
    assert first.id == f"{PREFIX}S002_P044"
    assert first.path == str(tmp_path / f"MusicEval-phase1/wav/{PREFIX}S002_P044.wav")
    assert (first.system, first.domain, first.split, first.source) == ("S002", "music", "train", "MusicEval")
    assert first.scores == {"MI": 3.2, "TA": 4.0}
    assert first.ratings == {"R1": {"MI": 3.0, "TA": 4.0}, "R2": {"MI": 3.4, "TA": 4.0}}
    assert first.prompt == 'a "calm" piano, slow'
    assert demo.prompt == "a demo of rain"
    assert (dev.split, dev.ratings) == ("dev", {})
    assert manifest.system_scores == {"S002": {"MI": 3.21, "TA": 4.01}, "S001": {"MI": 1.5, "TA": 4.5}}
    assert [(axis.name, axis.low, axis.high) for axis in manifest.axes] == [("MI", 1, 5), ("TA", 1, 5)]


@pytest.mark.parametrize("key", [f"{PREFIX}S001_P003", "S001_P003.wav", "S001_P003"])
def test_demo_prompts_are_found_with_and_without_wav_and_prefix(tmp_path, key):
    folder = write_phase1(tmp_path / "MusicEval-phase1")
    write_prompts(folder, key)
    assert read_musiceval(folder)[1].prompt == "a demo of rain"


@pytest.mark.parametrize(
    ("place", "root"),
    [("MusicEval-full", "MusicEval-full"), ("MusicEval-full", ""), ("renamed", "renamed"),
     ("MusicEval-full/MusicEval-full", "MusicEval-full"), ("MusicEval-full/MusicEval-full", "")],
)  # fmt: skip
def test_full_is_found_from_itself_its_parent_and_doubled(tmp_path, place, root):
    write_full(tmp_path / place)
    manifest = read_musiceval(tmp_path / root)
    assert manifest.problems == ()
    assert {clip.id: clip.split for clip in manifest} == {
        "S002_P044": "train",
        "S005_P044": "dev",
        "S001_P003": "test",
        "S007_P044": "total",
    }
    assert [len(clip.ratings) for clip in manifest] == [1, 0, 0, 1]


def test_the_evaluation_phase_has_no_scores_and_takes_prompts_from_its_neighbour(tmp_path):
    write_phase1(tmp_path / "MusicEval-phase1")
    write_eval(tmp_path / "audiomos2025-track1-eval-phase")
    manifest = read_musiceval(tmp_path)
    clip = manifest.split("eval")[1]
    assert (clip.id, clip.scores, clip.prompt) == (f"{PREFIX}S004_P044", {}, 'a "calm" piano, slow')
    assert clip.path.endswith(f"audiomos2025-track1-eval-phase/DATA/wav/{PREFIX}S004_P044.wav")
    assert [(p.kind, p.clip_id) for p in manifest.problems] == [("prompt not found", f"{PREFIX}S033_P001")]
    assert manifest.problems[0].what == f"no {PREFIX}S033_P001.wav in demo_prompt_info.txt"


def test_the_evaluation_phase_alone_says_once_that_it_lacks_prompts(tmp_path):
    manifest = read_musiceval(write_eval(tmp_path / "x"))
    assert [(p.kind, p.clip_id) for p in manifest.problems] == [("prompt not found", "")]
    assert len(manifest) == 2


def test_a_clip_of_several_copies_is_taken_from_the_fullest(tmp_path):
    write_full(tmp_path / "MusicEval-full")
    write(tmp_path / "MusicEval-phase1/sets/train_mos_list.txt", "S002_P044.wav,1,1", "S009_P044.wav,1,1")
    manifest = read_musiceval(tmp_path)
    assert len(manifest) == 5
    assert manifest[0].scores["MI"] == 3.2
    assert manifest.problems == ()


def test_everything_wrong_is_reported_with_its_line(tmp_path):
    folder = write_phase1(tmp_path / "MusicEval-phase1")
    train = write(
        folder / "sets/train_mos_list.txt",
        "S002_P044.wav,three,4.0", "S003_P044.wav,5.5,0", "S002_P044.wav,3,3", "S004_P999.wav,3,3",
        "oddly named.wav,3,3", "S008_P044.wav,3",
    )  # fmt: skip
    manifest = read_musiceval(folder)
    found = [(p.kind, p.where, p.clip_id) for p in manifest.problems]
    assert sorted(found) == sorted([
        ("bad row", f"{train}:6", ""),
        ("bad score", f"{train}:1", "S002_P044"),
        ("score out of scale", f"{train}:2", "S003_P044"),
        ("score out of scale", f"{train}:2", "S003_P044"),
        ("prompt not found", f"{train}:4", "S004_P999"),
        ("unknown system", f"{train}:5", ""),
        ("duplicate id", f"{train}:3", ""),
    ])  # fmt: skip
    assert len({clip.id for clip in manifest}) == len(manifest) == 5


def test_one_clip_in_two_splits_is_a_duplicate(tmp_path):
    folder = write_full(tmp_path / "MusicEval-full")
    write(folder / "sets/dev_mos_list.txt", "S002_P044.wav,3.2,4.0")
    (problem,) = read_musiceval(folder).problems
    assert problem.kind == "duplicate id"
    assert f"{folder / 'sets/train_mos_list.txt'}:1" in problem.what


@pytest.mark.parametrize(
    ("rows", "ratings", "read_as"),
    [(["R1,S002_P044.wav,3,4"], {"R1": {"MI": 3.0, "TA": 4.0}}, "rater,file,MI,TA"),
     (["S002_P044.wav,3,4", "S002_P044.wav,2,2"],
      {"1": {"MI": 3.0, "TA": 4.0}, "2": {"MI": 2.0, "TA": 2.0}}, "the raters numbered")],
)  # fmt: skip
def test_ratings_in_other_columns_are_read_and_said_to_be(tmp_path, caplog, rows, ratings, read_as):
    folder = write_full(tmp_path / "MusicEval-full")
    write(folder / "person_mos/train_person_mos.txt", *rows)
    with caplog.at_level(logging.WARNING):
        manifest = read_musiceval(folder)
    assert manifest[0].ratings == ratings
    assert read_as in caplog.text
    assert manifest.problems == ()


def test_ratings_in_unknown_columns_are_a_problem(tmp_path):
    folder = write_full(tmp_path / "MusicEval-full")
    path = write(folder / "person_mos/train_person_mos.txt", "S002_P044.wav,3,4,good,bad")
    (problem,) = read_musiceval(folder).problems
    assert (problem.kind, problem.where) == ("unknown columns", f"{path}:1")
    assert "found S002_P044.wav,3,4,good,bad" in problem.what


def test_a_rater_who_rates_twice_counts_once(tmp_path):
    folder = write_full(tmp_path / "MusicEval-full")
    write(folder / "person_mos/train_person_mos.txt", "S002_P044.wav,R1,3,4", "S002_P044.wav,R1,5,5")
    manifest = read_musiceval(folder)
    assert manifest[0].ratings == {"R1": {"MI": 3.0, "TA": 4.0}}
    assert [p.kind for p in manifest.problems] == ["duplicate rating"]


def test_no_layout_says_what_was_looked_for_and_found(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(CorpusError, match=r"looked for sets/train_mos_list.txt .* it holds holiday.jpg"):
        read_musiceval(tmp_path)
    (tmp_path / "MusicEval-ful").mkdir()
    with pytest.raises(CorpusError, match=r"does not exist. Did you mean 'MusicEval-ful'"):
        read_musiceval(tmp_path / "MusicEval-full")


def write_shards(folder):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder.mkdir(parents=True)
    rows = {"train-00000-of-00001": ["S002_P044", "S005_P044"], "validation-00000-of-00001": ["S003_P044"]}
    for stem, names in rows.items():
        audio = [{"bytes": f"audio of {name}".encode(), "path": f"{name}.wav"} for name in names]
        columns = {"audio": audio, "overall quality": [3.5] * len(names), "textual alignment": [2.0] * len(names)}
        parquet.write_table(pa.table(columns), folder / f"{stem}.parquet")
    return folder


def test_hub_shards_are_extracted_once(tmp_path):
    write_shards(tmp_path / "data")
    write_prompts(tmp_path)
    manifest = read_musiceval(tmp_path)
    assert manifest.problems == ()
    assert [(c.id, c.split, c.system, c.prompt) for c in manifest] == [
        ("S002_P044", "train", "S002", 'a "calm" piano, slow'),
        ("S005_P044", "train", "S005", 'a "calm" piano, slow'),
        ("S003_P044", "dev", "S003", 'a "calm" piano, slow'),
    ]
    path = tmp_path / "extracted/dev/S003_P044.wav"
    assert manifest[2].path == str(path)
    assert path.read_bytes() == b"audio of S003_P044"
    path.write_bytes(b"kept")
    (tmp_path / "extracted/train/S005_P044.wav").unlink()
    again = read_musiceval(tmp_path)
    assert path.read_bytes() == b"kept"
    assert (tmp_path / "extracted/train/S005_P044.wav").read_bytes() == b"audio of S005_P044"
    assert list(again) == list(manifest)
    assert sorted(p.name for p in path.parent.iterdir()) == ["S003_P044.wav"]


def test_hub_shards_can_be_extracted_elsewhere(tmp_path):
    write_shards(tmp_path / "data")
    manifest = read_musiceval(tmp_path / "data", extract_to=tmp_path / "cache")
    assert manifest[0].path == str(tmp_path / "cache/train/S002_P044.wav")
    assert not (tmp_path / "data/extracted").exists()


def test_a_shard_without_a_column_names_it(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"audio": [{"bytes": b"", "path": ""}], "quality": [1.0]}), tmp_path / "test.parquet")
    with pytest.raises(CorpusError, match="no column 'overall quality' among audio, quality"):
        read_musiceval(tmp_path)


def test_a_shard_of_no_split_is_refused(tmp_path):
    write_shards(tmp_path / "data")
    (tmp_path / "data/train-00000-of-00001.parquet").rename(tmp_path / "data/part-0.parquet")
    with pytest.raises(CorpusError, match="its name should begin with a split"):
        read_musiceval(tmp_path)


def test_the_datamodule_reads_the_same_manifest(tmp_path):
    folder = write_full(tmp_path / "MusicEval-full")
    data = MusicEval(root=str(folder), batch_size=2)
    data.setup()
    assert list(data.manifest) == list(read_musiceval(folder))
