"""From scored windows to scored clips, and to a CSV that gives back what went in."""

import csv
import json
import math
import random

import numpy as np
import pytest
import torch

from lightning_aqa.batch import Axis, Batch, Output
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.predictions import (
    ScoredWindow,
    gather_predictions,
    read_predictions,
    scored_windows,
    write_predictions,
    write_results,
)

AXES = [Axis("PQ", "Quality", 0, 10), Axis("CE", "Enjoyment", 0, 10)]
AWKWARD = ["plain", "a, b", 'say "hi"', "two\nlines", "a\r\nb", " led by a space", "é音", "#1", "'", ""]


def _manifest():
    clips = [
        Clip("b", "b.wav", system="S1", domain="music", scores={"PQ": 3.7, "CE": 1.0}),
        Clip("a", "a.wav", system="S2", scores={"CE": 2.5}),
        Clip("c", "c.wav"),
    ]
    return Manifest(clips, AXES)


def test_a_clip_s_score_is_the_weighted_mean_of_its_windows():
    windows = [
        ScoredWindow("a", (1.0, 8.0), 0.4),
        ScoredWindow("a", (2.0, 6.0), 0.4),
        ScoredWindow("a", (6.0, 0.0), 0.2),
    ]
    table = gather_predictions(windows, _manifest(), AXES)
    assert table.ids == ["a"]
    assert table.scores == pytest.approx(np.array([[2.4, 5.6]]))


def test_weights_need_not_sum_to_one_and_a_window_of_weight_zero_does_not_count():
    windows = [
        ScoredWindow("a", (1.0, 1.0), 2.0),
        ScoredWindow("a", (4.0, 4.0), 1.0),
        ScoredWindow("a", (9.0, 9.0), 0.0),
    ]
    assert gather_predictions(windows, _manifest(), AXES).scores.tolist() == [[2.0, 2.0]]


def test_the_order_of_the_windows_moves_no_bit():
    draw = random.Random(0)
    windows = [
        ScoredWindow(id_, (draw.random() * 1e3, draw.random()), draw.random()) for id_ in "abc" for _ in range(50)
    ]
    first = gather_predictions(windows, _manifest(), AXES)
    for _ in range(5):
        draw.shuffle(windows)
        again = gather_predictions(windows, _manifest(), AXES)
        assert again.ids == first.ids == ["a", "b", "c"]
        assert np.array_equal(again.scores, first.scores)


def test_the_table_has_what_the_manifest_says_and_no_clip_without_a_window():
    windows = [ScoredWindow("b", (1.0, 2.0), 1.0), ScoredWindow("a", (3.0, 4.0), 1.0)]
    table = gather_predictions(windows, _manifest(), AXES)
    assert (table.ids, table.systems, table.domains) == (["a", "b"], ["S2", "S1"], ["", "music"])
    assert table.targets.dtype == np.float64
    assert np.array_equal(table.targets, [[math.nan, 2.5], [3.7, 1.0]], equal_nan=True)


def test_targets_are_those_of_the_axes_of_the_scores_whatever_the_order_of_the_corpus():
    windows = [ScoredWindow("b", (1.0, 2.0, 3.0), 1.0)]
    axes = [AXES[1], Axis("XX", "Not in this corpus", 0, 1), AXES[0]]
    table = gather_predictions(windows, _manifest(), axes)
    assert np.array_equal(table.targets, [[1.0, math.nan, 3.7]], equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_rows_of_a_batch_are_plain_numbers(dtype):
    scores = torch.tensor([[1.5, 2.5], [3.5, 4.5]], dtype=dtype, requires_grad=True)
    empty = [""] * 2
    batch = Batch(torch.zeros(2, 0), torch.zeros(2), scores, ["a", "b"], empty, empty, empty)
    rows = scored_windows(Output(scores, scores), batch)
    assert rows == [("a", (1.5, 2.5), 1.0, None), ("b", (3.5, 4.5), 1.0, None)]
    weighted = batch._replace(weights=torch.tensor([0.25, 0.0]))
    assert [row.weight for row in scored_windows(Output(scores, scores), weighted)] == [0.25, 0.0]
    sure = scored_windows(Output(scores, scores, deviation=scores / 2), batch)
    assert [row.deviation for row in sure] == [(0.75, 1.25), (1.75, 2.25)]


def test_a_clip_s_deviation_is_that_of_the_mean_of_its_windows_distributions():
    windows = [
        ScoredWindow("a", (1.0, 5.0), 1.0, (3.0, 0.5)),
        ScoredWindow("a", (5.0, 5.0), 3.0, (1.0, 0.5)),
        ScoredWindow("b", (2.0, 2.0), 0.5, (0.25, 4.0)),
    ]
    table = gather_predictions(windows, _manifest(), AXES)
    # Means 4 and 5. First axis: (1 * (9 + 9) + 3 * (1 + 1)) / 4 = 6; the second has no spread between windows.
    assert table.deviations == pytest.approx(np.array([[math.sqrt(6), 0.5], [0.25, 4.0]]))


def test_the_deviation_of_a_mixture_is_that_of_samples_drawn_from_it():
    generator = np.random.default_rng(0)
    means, deviations, weights = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.0, 0.2]), np.array([0.2, 0.5, 0.3])
    drawn = generator.choice(3, 400_000, p=weights)
    expected = generator.normal(means[drawn], deviations[drawn]).std()
    rows = [ScoredWindow("a", (m, m), w, (d, d)) for m, d, w in zip(means, deviations, weights, strict=True)]
    assert gather_predictions(rows, _manifest(), AXES).deviations[0] == pytest.approx([expected] * 2, rel=0.01)


def test_a_head_without_deviations_leaves_none_and_the_prompts_are_the_manifest_s():
    clips = [Clip("a", "a.wav", prompt="a song, slow"), Clip("b", "b.wav")]
    windows = [ScoredWindow("b", (1.0, 2.0), 1.0), ScoredWindow("a", (1.0, 2.0), 1.0)]
    table = gather_predictions(windows, Manifest(clips, AXES), AXES)
    assert table.deviations is None
    assert table.prompts == ["a song, slow", ""]


# The CSV


def _table(ids):
    generator = np.random.default_rng(0)
    targets = generator.uniform(0, 10, (len(ids), 2))
    targets[0, 1] = math.nan
    names = [f"{id_}{id_}" for id_ in ids]
    scores, deviations = generator.uniform(0, 10, (2, len(ids), 2)) / 3
    return Predictions(list(ids), names, names[::-1], targets, scores, names, deviations)


def _same(one, two):
    numbers = ("targets", "scores", "deviations")
    same = (np.array_equal(getattr(one, name), getattr(two, name), equal_nan=True) for name in numbers)
    return all(same) and one[:3] == two[:3] and one.prompts == two.prompts


def test_the_csv_gives_back_every_bit_of_awkward_tables(tmp_path):
    splits = [("train", _table(AWKWARD)), ("odd, split", _table(AWKWARD[::-1])), ("one", _table(["x"]))]
    write_predictions(tmp_path / "p.csv", splits, ["PQ", "C,E"])
    read, axes = read_predictions(tmp_path / "p.csv")
    assert axes == ["PQ", "C,E"]
    assert [split for split, _ in read] == [split for split, _ in splits]
    assert all(_same(one, two) for (_, one), (_, two) in zip(splits, read, strict=True))


def test_the_csv_is_tidy_and_an_unrated_target_is_empty(tmp_path):
    table = Predictions(["a"], ["S"], [""], np.array([[math.nan, 4.0]]), np.array([[1.25, 1 / 3]]))
    write_predictions(tmp_path / "p.csv", [("test", table)], ["PQ", "CE"])
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["split", "id", "system", "domain", "prompt", "axis", "target", "score", "deviation"],
        ["test", "a", "S", "", "", "PQ", "", "1.25", ""],
        ["test", "a", "S", "", "", "CE", "4.0", "0.3333333333333333", ""],
    ]


def test_a_file_from_before_there_were_prompts_and_deviations_is_read(tmp_path):
    (tmp_path / "p.csv").write_text("split,id,system,domain,axis,target,score\ntest,a,S,music,PQ,4.0,3.5\n")
    ((split, table),), axes = read_predictions(tmp_path / "p.csv")
    assert (split, axes, table.prompts, table.deviations) == ("test", ["PQ"], None, None)
    assert (table.targets.tolist(), table.scores.tolist()) == ([[4.0]], [[3.5]])


def test_a_failure_while_writing_leaves_the_table_that_was_there(tmp_path):
    write_predictions(tmp_path / "p.csv", [("test", _table(["x"]))], ["PQ", "CE"])
    before = (tmp_path / "p.csv").read_bytes()
    with pytest.raises(IndexError):
        write_predictions(tmp_path / "p.csv", [("test", _table(["x", "y"]))], ["PQ", "CE", "too many"])
    assert (tmp_path / "p.csv").read_bytes() == before


def test_scores_that_are_not_finite_survive(tmp_path):
    table = Predictions(["a", "b"], ["", ""], ["", ""], np.ones((2, 1)), np.array([[math.nan], [math.inf]]))
    write_predictions(tmp_path / "p.csv", [("test", table)], ["PQ"])
    ((_, read),) = read_predictions(tmp_path / "p.csv")[0]
    assert math.isnan(read.scores[0, 0])
    assert read.scores[1, 0] == math.inf


def test_results_hold_null_where_a_number_is_undefined(tmp_path):
    write_results(tmp_path / "r.json", {"test": {"utterance": {"PQ": {"SRCC": math.nan, "n": 1}}}})
    assert json.loads((tmp_path / "r.json").read_text()) == {"test": {"utterance": {"PQ": {"SRCC": None, "n": 1}}}}
