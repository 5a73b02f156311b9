"""The report of all that is wrong with a corpus, before any training."""

import csv

import numpy as np
import pytest
import soundfile

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.validation import NUM_SHOWN, check_audio, report, without, write_skipped

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)


@pytest.fixture
def clip(tmp_path):
    """Write samples to a file and return its clip."""

    def make(name, samples, rate=16000, **fields):
        soundfile.write(tmp_path / name, samples, rate, subtype="FLOAT" if name.endswith(".wav") else None)
        return Clip(name, str(tmp_path / name), **fields)

    return make


def _kinds(clips, min_seconds=0.0, **options):
    return [(problem.kind, problem.clip_id) for problem in check_audio(clips, min_seconds, **options).problems]


def test_good_clips_have_a_length_and_no_problem(clip):
    clips = [clip("a.wav", NOISE), clip("b.flac", NOISE, 8000), clip("c.wav", NOISE, start=0.1, end=0.3)]
    found = check_audio([*clips, clip("d.wav", NOISE, start=0.4, end=9.0)], 0.05)
    assert found.problems == []
    assert found.seconds == pytest.approx({"a.wav": 0.5, "b.flac": 1.0, "c.wav": 0.2, "d.wav": 0.1}, abs=1e-9)


def test_no_clips_are_no_problem():
    assert check_audio([], 0.0) == ({}, [])


def test_a_missing_file_is_told_with_its_source(tmp_path):
    (problem,) = check_audio([Clip("x", str(tmp_path / "x.wav"), source="LibriTTS")], 0.0).problems
    assert problem == Problem("missing file", str(tmp_path / "x.wav"), "no such file", "x", "LibriTTS")


def test_a_folder_in_the_place_of_a_file_is_missing(tmp_path):
    assert _kinds([Clip("x", str(tmp_path))]) == [("missing file", "x")]


def test_unreadable_audio_is_told_without_repeating_the_path(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFF and no more")
    (problem,) = check_audio([Clip("x", str(path))], 0.0).problems
    assert (problem.kind, problem.where, problem.clip_id) == ("unreadable audio", str(path), "x")
    assert str(path) not in problem.what
    assert problem.what.startswith("cannot be read as audio (")


def test_empty_audio_and_a_start_behind_the_end(clip):
    clips = [clip("a.wav", NOISE[:0]), clip("b.wav", NOISE, start=0.5), clip("c.wav", NOISE, start=7.0, end=8.0)]
    assert _kinds(clips) == [("empty audio", "a.wav"), ("empty audio", "b.wav"), ("empty audio", "c.wav")]


def test_a_clip_too_short_for_the_encoder_is_told_both_lengths(clip):
    clips = [clip("a.wav", NOISE), clip("b.wav", NOISE, start=0.4)]
    assert _kinds(clips, 0.5) == [("too short", "b.wav")]
    assert check_audio(clips, 0.5).problems[0].what == "0.100 s long, the encoder needs 0.500 s"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_sample_that_is_not_finite_is_found(clip, value):
    samples = NOISE.copy()
    samples[7123] = value
    bad = clip("a.wav", samples)
    assert _kinds([bad]) == [("not finite", "a.wav")]
    assert _kinds([bad], decode=False) == []
    assert _kinds([clip("b.wav", samples, end=0.4)]) == []


def test_a_file_that_ends_early_is_found(clip, tmp_path):
    tone = 0.3 * np.sin(np.arange(16000 * 4) / 7)
    whole = clip("a.mp3", tone)
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(data[: len(data) // 2])
    ((kind, clip_id),) = _kinds([whole])
    assert (kind, clip_id) == ("unreadable audio", "a.mp3")
    flac = clip("b.flac", NOISE)
    data = (tmp_path / "b.flac").read_bytes()
    (tmp_path / "b.flac").write_bytes(data[: len(data) // 2])
    assert _kinds([flac]) == [("unreadable audio", "b.flac")]


def test_problems_come_in_the_order_of_the_clips(clip, tmp_path):
    clips = [Clip(str(i), str(tmp_path / f"{i}.wav")) for i in range(40)]
    assert [clip_id for _, clip_id in _kinds(clips)] == [str(i) for i in range(40)]


# The report


def test_the_report_counts_each_kind_and_shows_the_first_ten():
    problems = [Problem("missing file", f"/data/{i}.wav", "no such file", str(i)) for i in range(13)]
    problems.insert(3, Problem("score out of scale", "list.csv:7", "PQ is 12, the scale is 0 to 10", "q"))
    lines = report(problems, {}).splitlines()
    assert lines[0] == "missing file: 13"
    assert lines[1 : NUM_SHOWN + 1] == [f"    /data/{i}.wav: no such file" for i in range(10)]
    assert lines[NUM_SHOWN + 1] == "    ... and 3 more"
    assert lines[NUM_SHOWN + 2 :] == ["score out of scale: 1", "    list.csv:7: PQ is 12, the scale is 0 to 10"]


def test_the_report_does_not_say_more_where_there_is_no_more():
    problems = [Problem("missing file", str(i), "no such file") for i in range(NUM_SHOWN)]
    assert "more" not in report(problems, {})


def test_the_report_says_how_many_each_source_lacks_and_where_to_get_them():
    sources = ["MUSDB18", "MUSDB18", "", "Own"]
    problems = [Problem("missing file", str(i), "no such file", source=source) for i, source in enumerate(sources)]
    lines = report(problems, {"MUSDB18": "Get it from its page.", "EARS": "not asked for"}).splitlines()
    assert lines[-2:] == ["    2 of MUSDB18. Get it from its page.", "    1 of Own."]


def test_the_clips_with_a_problem_are_left_out_and_no_others():
    manifest = Manifest([Clip("a", "a"), Clip("b", "b")], [Axis("PQ", "Quality", 0, 10)])
    left = without(manifest, [Problem("missing file", "a", "", "a"), Problem("bad row", "list:3", "")])
    assert [clip.id for clip in left] == ["b"]
    assert left.axes == manifest.axes


def test_skipped_clips_are_listed_one_problem_a_row(tmp_path):
    problems = [
        Problem("missing file", "a, b.wav", 'says "no"', "a", "EARS"),
        Problem("bad row", "list:3", "two\nlines"),
    ]
    write_skipped(problems, tmp_path / "skipped.csv")
    with open(tmp_path / "skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Problem(**row) for row in rows] == problems
    write_skipped([], tmp_path / "skipped.csv")
    assert (tmp_path / "skipped.csv").read_text().splitlines() == ["kind,where,what,clip_id,source"]
