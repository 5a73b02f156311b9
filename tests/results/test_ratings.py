"""Ratings of single listeners, into a run folder and out again."""

import math

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.results.ratings import ratings_of, read_ratings, write_ratings

AXES = [Axis("PQ", "Quality", 0, 10), Axis("CE", "Enjoyment", 0, 10)]
CLIPS = [
    Clip("b", "b.wav", ratings={"Ann": {"PQ": 3.0, "CE": 4.0}, "O'Hara, Jr": {"PQ": 0.1, "CE": math.nan}}),
    Clip("a", "a.wav", ratings={"1": {"CE": 1.0, "XX": 9.0}}),
    Clip("c", "c.wav"),
]
ROWS = [("a", "CE", "1", 1.0), ("b", "PQ", "Ann", 3.0), ("b", "PQ", "O'Hara, Jr", 0.1), ("b", "CE", "Ann", 4.0)]


def test_ratings_of_the_asked_clips_and_axes_are_listed_and_missing_ones_are_not():
    manifest = Manifest(CLIPS, AXES)
    assert ratings_of(manifest, ["a", "b", "c", "not here"], ["PQ", "CE"]) == ROWS
    assert ratings_of(manifest, ["a"], ["PQ"]) == []


def test_the_file_gives_back_what_went_in(tmp_path):
    write_ratings(tmp_path / "r.csv", [("dev", ROWS), ("odd, split", ROWS[:1]), ("no ratings", [])])
    assert (tmp_path / "r.csv").read_text().splitlines()[:2] == ["split,id,axis,listener,rating", "dev,a,CE,1,1.0"]
    assert read_ratings(tmp_path / "r.csv") == {"dev": ROWS, "odd, split": ROWS[:1]}


def test_a_run_folder_without_the_file_has_no_ratings(tmp_path):
    write_ratings(tmp_path / "r.csv", [("dev", [])])
    assert list(tmp_path.iterdir()) == []
    assert read_ratings(tmp_path / "r.csv") == {}
