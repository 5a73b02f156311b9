import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_aqa.metrics.levels import METRICS, evaluate, flatten, higher_is_better, to_json

GOLDEN = Path(__file__).resolve().parents[1] / "fixtures" / "metrics"
NAN = math.nan
AXES = ["PQ", "PC"]


def golden():
    with open(GOLDEN / "scheme_A.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((GOLDEN / "metrics.json").read_text())["axes"]


def evaluate_golden(order=slice(None)):
    rows, axes = golden()
    rows = np.array(rows)[order]
    tables = [[[float(row[f"{side}_{axis}"]) for axis in axes] for row in rows] for side in ("pred", "truth")]
    ids, systems = ([row[key] for row in rows] for key in ("sample_id", "system_id"))
    return evaluate(ids, systems, [""] * len(rows), *tables, list(axes))


def small(domains=("", "", "", ""), **changes):
    """Two systems of two clips; on PC one clip of the second system is not rated."""
    arguments = {
        "ids": ["a", "b", "c", "d"],
        "systems": ["x", "x", "y", "y"],
        "domains": domains,
        "predictions": np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0], [6.0, 2.0]]),
        "targets": np.array([[1.0, 4.0], [3.0, 4.0], [3.0, 2.0], [5.0, NAN]]),
        "axes": AXES,
    }
    return evaluate(**(arguments | changes))


def test_levels_of_four_clips_are_worked_by_hand():
    results = small()
    assert list(results) == ["utterance", "system"]
    # Squared errors on PQ 0 1 0 1, on PC 1 0 1 and one unrated.
    assert results["utterance"]["PQ"]["MSE"] == 0.5
    assert results["utterance"]["PC"]["MSE"] == pytest.approx(2 / 3)
    assert (results["utterance"]["PC"]["n"], results["utterance"]["PC"]["unrated"]) == (3, 1)
    assert results["utterance"]["mean"]["MSE"] == pytest.approx((0.5 + 2 / 3) / 2)
    # System means on PQ 1.5 and 4.5 against 2 and 4; on PC 4.5 and 3 (rated clip only) against 4 and 2.
    assert (results["system"]["PQ"]["MSE"], results["system"]["PQ"]["n"]) == (0.25, 2)
    assert math.isnan(results["system"]["PQ"]["SRCC"])
    assert results["system"]["PQ"]["why"] == "2 rated, a correlation needs 3"
    assert results["system"]["PC"]["MSE"] == pytest.approx((0.25 + 1) / 2)


def test_published_system_scores_make_a_level_of_their_own_over_all_clips():
    published = {"x": {"PQ": 1.5, "PC": 4.0}, "y": {"PQ": 4.0}}
    level = small(system_scores=published)["system_mos"]
    # Means of all predictions: PQ 1.5 and 4.5, PC 4.5 and 2.5; PC of y is not published.
    assert level["PQ"]["MSE"] == 0.125
    assert (level["PC"]["MSE"], level["PC"]["n"], level["PC"]["unrated"]) == (0.25, 1, 1)


@pytest.mark.parametrize("axis", ["PQ", "PC", "CE", "CU"])
def test_levels_equal_the_golden_values(axis):
    results, expected = evaluate_golden(), golden()[1][axis]
    for metric in METRICS:
        assert results["utterance"][axis][metric] == pytest.approx(expected["utterance"][metric], rel=1e-9)
    for metric in ("MSE", "LCC"):
        assert results["system"][axis][metric] == pytest.approx(expected["system"][metric], rel=1e-9)
    for metric in ("SRCC", "KTAU"):
        # Systems that tie exactly are ordered by rounding in some ways of summing; ours keeps the ties.
        exact = expected["system_with_exact_means"][metric]
        assert results["system"][axis][metric] == pytest.approx(exact, rel=1e-9)
    assert (results["utterance"][axis]["n"], results["system"][axis]["n"]) == (3060, 36)


def test_levels_do_not_depend_on_the_order_of_clips():
    assert evaluate_golden(np.random.default_rng(0).permutation(3060)) == evaluate_golden()


def test_levels_take_tensors():
    tables = {"predictions": torch.ones(4, 2, requires_grad=True), "targets": torch.ones(4, 2)}
    assert small(**tables)["utterance"]["PQ"]["MSE"] == 0


def test_each_named_domain_has_its_levels():
    results = small(domains=["music", "music", "speech", ""])
    assert list(results["domains"]) == ["music", "speech"]
    assert results["domains"]["music"]["utterance"]["PQ"]["n"] == 2
    assert results["domains"]["music"]["system"]["PQ"]["n"] == 1
    assert results["domains"]["speech"]["utterance"]["PQ"]["n"] == 1


def test_clips_without_a_domain_or_a_system_make_no_such_level():
    assert list(small(systems=["", "", "", ""], system_scores={"x": {"PQ": 1.0}})) == ["utterance"]


def test_clips_without_a_system_stay_out_of_the_system_level():
    assert small(systems=["x", "x", "", "y"])["system"]["PQ"]["n"] == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"targets": np.full((4, 2), NAN)}, "0 rated, a correlation needs 3"),
        ({"predictions": np.full((4, 2), 3.0)}, "all predictions are equal"),
        ({"targets": np.full((4, 2), 3.0)}, "all ratings are equal"),
        ({"predictions": np.full((4, 2), NAN)}, "4 of 4 predictions are not finite"),
    ],
)
def test_undefined_metrics_are_nan_and_say_why(changes, why):
    entry = small(**changes)["utterance"]["PQ"]
    assert math.isnan(entry["SRCC"])
    assert entry["why"] == why


def test_mean_over_axes_leaves_out_an_axis_that_nobody_is_rated_on():
    results = small(targets=np.array([[1.0, NAN], [3.0, NAN], [3.0, NAN], [5.0, NAN]]))
    assert results["utterance"]["mean"]["SRCC"] == results["utterance"]["PQ"]["SRCC"]
    assert results["utterance"]["mean"]["n"] == 1


def test_mean_over_axes_is_nan_when_a_rated_axis_is_undefined():
    predictions = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [6.0, 5.0]])
    mean = small(predictions=predictions)["utterance"]["mean"]
    assert math.isnan(mean["SRCC"])
    assert mean["MSE"] == pytest.approx((0.5 + 11 / 3) / 2)
    assert mean["why"] == "undefined on PC"


def test_flatten_names_split_level_domain_metric_and_axis():
    flat = flatten(small(domains=["music", "music", "speech", "speech"]), "val")
    assert flat["val/utterance/SRCC/PQ"] == pytest.approx(0.9487, abs=1e-4)
    assert flat["val/utterance@music/MSE/PQ"] == 0.5
    # Overall and two domains, two levels, four metrics, two axes and their mean.
    assert len(flat) == 3 * 2 * 4 * 3


def test_to_json_gives_what_json_can_hold():
    results = to_json(small(predictions=np.full((4, 2), 3.0), domains=["music"] * 4))
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert results["domains"]["music"]["utterance"]["PQ"]["SRCC"] is None


def test_higher_is_better_for_all_but_the_error():
    assert [higher_is_better(metric) for metric in METRICS] == [False, True, True, True]
    with pytest.raises(ValueError, match="metric must be one of MSE, LCC, SRCC, KTAU, got 'RMSE'"):
        higher_is_better("RMSE")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ["a", "b", "b", "d"]}, "1 ids repeat, such as 'b'"),
        ({"systems": ["x"]}, r"4 ids and 2 axes need .* tables of shape \(4, 2\), got 1 systems"),
        ({"predictions": np.zeros((3, 2))}, r"predictions \(3, 2\)"),
        ({"axes": ["PQ", "mean"]}, "an axis cannot be named 'mean'"),
    ],
)
def test_levels_refuse_arguments_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)
