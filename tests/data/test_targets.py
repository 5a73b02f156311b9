"""Recovered targets through the front door: what a run learns and says, and what it cannot do."""

import csv
import json

import numpy as np
import pytest

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.targets import with_targets

AXES = [Axis("PQ", "Quality", 1, 5)]


def _clips(split, rng, shift=0.0):
    bias = {"x": -1, "y": 0, "z": 1}
    for n in range(20):
        quality = rng.uniform(2, 4)
        chosen = rng.permutation([*bias])[:2]
        given = {name: {"PQ": quality + bias[name] + shift + 0.1 * rng.normal()} for name in chosen}
        mean = np.mean([scores["PQ"] for scores in given.values()])
        yield Clip(f"{split}{n}", "", split=split, scores={"PQ": mean}, ratings=given, prompt=str(quality))


def test_splits_do_not_see_each_other_and_the_truth_is_nearer():
    train, test = (list(_clips(split, np.random.default_rng(n))) for n, split in enumerate(["train", "test"]))
    other = list(_clips("train", np.random.default_rng(7), shift=0.5))
    both, changed = (with_targets(Manifest([*first, *test], AXES), "recovered", "X") for first in (train, other))
    assert [clip.scores for clip in both.split("test")] == [clip.scores for clip in changed.split("test")]
    truth = np.array([float(clip.prompt) for clip in test])
    error, before = (np.std(m.split("test").scores()[:, 0] - truth) for m in (both, Manifest(test, AXES)))
    assert error < before / 2


def test_names_that_mean_nothing_leave_the_mean_and_say_so(caplog):
    clips = [
        Clip(str(n), "", split="test", scores={"PQ": 3}, ratings={f"{n}a": {"PQ": 2}, f"{n}b": {"PQ": 4}}) for n in "12"
    ]
    clips.append(Clip("3", "", split="test", scores={"PQ": 1}))
    assert with_targets(Manifest(clips, AXES), "recovered", "X").scores()[:, 0].tolist() == [3, 3, 1]
    assert "no id is on two clips" in caplog.text
    assert "1 of 3 clips have no single ratings and keep their mean" in caplog.text


def test_means_alone_cannot_be_recovered():
    told = r"^X: targets=recovered needs ratings of single listeners, .* or drop it \(--data.targets=mean\)"
    with pytest.raises(ValueError, match=told):
        with_targets(Manifest([Clip("a", "", scores={"PQ": 3})], AXES), "recovered", "X")


def test_a_run_says_which_targets_its_numbers_are_of(corpora, fit):
    root = f"--data.root={corpora['musiceval']}"
    folder = fit("--config=experiments/musiceval/qamro_melspectrogram.yaml", root, "--data.targets=recovered")
    assert json.loads((folder / "run.json").read_text())["targets"] == "recovered"
    with open(folder / "ratings.csv", newline="") as file:
        given = list(csv.DictReader(file))
    with open(folder / "predictions.csv", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["split"] == "test")
    own = [float(r["rating"]) for r in given if (r["id"], r["axis"]) == (row["id"], row["axis"])]
    assert own
    assert abs(float(row["target"]) - np.mean(own)) > 1e-6
