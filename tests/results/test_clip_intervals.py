"""Coverage of intervals in results.json and on the screen: of clips that did not calibrate them, by domain too."""

import numpy as np
import pytest

from lightning_aqa.batch import make_axes
from lightning_aqa.metrics.levels import evaluate
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.clip_intervals import (
    calibrated_by,
    calibrated_by_dev,
    coverage_notes,
    read_calibration,
    with_coverage,
    with_ends,
    write_calibration,
)
from lightning_aqa.results.predictions import read_predictions, write_predictions

AXES = make_axes({"mos": [0, 100]})


def _table(n, seed, prefix):
    rng = np.random.default_rng(seed)
    domains = ["music", "speech"] * (n // 2)
    scores = rng.uniform(30, 70, (n, 1))
    targets = scores + rng.normal(size=(n, 1)) * np.where(np.arange(n) % 2, 8.0, 2.0)[:, None]
    ids = [f"{prefix}{i:04d}" for i in range(n)]
    return Predictions(ids, [f"S{i % 3}" for i in range(n)], domains, targets, scores, [""] * n)


def _results(table):
    return evaluate(table.ids, table.systems, table.domains, table.scores, table.targets, ["mos"])


def test_results_say_what_the_intervals_of_other_clips_hold_by_domain_too(tmp_path):
    write_calibration(tmp_path, calibrated_by("dev", _table(200, 0, "a"), ["mos"], None))
    calibration = read_calibration(tmp_path)
    table = with_ends(_table(1000, 1, "b"), AXES, calibration)
    found = with_coverage(_results(table), table, calibration)
    for level, n in ((found, 1000), (found["domains"]["music"], 500), (found["domains"]["speech"], 500)):
        of = level["utterance"]["mos"]["interval"]
        assert of["n"] == n
        assert of["covered"] == pytest.approx(0.9, abs=0.05)
    widths = [found["domains"][name]["utterance"]["mos"]["interval"]["width"] for name in ("music", "speech")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.3)
    (said,) = coverage_notes({"test": found})
    assert said.startswith("Intervals of clips, 90 %, test (calibrated on dev): mos holds ")
    assert "of 1000" in said
    assert "(music " in said
    own = with_ends(_table(200, 0, "a"), AXES, calibration)
    assert "interval" not in with_coverage(_results(own), own, calibration)["utterance"]["mos"]  # these calibrate it


def test_too_few_clips_are_told_and_leave_no_columns(tmp_path):
    calibration = calibrated_by_dev({"dev": _table(8, 0, "a")}, ["mos"], "system")
    table = with_ends(_table(20, 1, "b"), AXES, calibration)
    said = coverage_notes({"test": with_coverage(_results(table), table, calibration)})
    assert said == ["No intervals of clips, test: 3 rated systems of dev to calibrate by, 0.9 takes at least 9."]
    write_predictions(tmp_path / "p.csv", [("test", table)], ["mos"])
    assert "low" not in (tmp_path / "p.csv").read_text().splitlines()[0]
    assert calibrated_by_dev({"test": table}, ["mos"], None) is None


def test_intervals_come_back_from_predictions_csv_beside_splits_without(tmp_path):
    calibration = calibrated_by("dev", _table(20, 0, "a"), ["mos"], None)
    train, test = _table(4, 2, "c"), with_ends(_table(6, 1, "b"), AXES, calibration)
    write_predictions(tmp_path / "p.csv", [("train", train), ("test", test)], ["mos"])
    tables = dict(read_predictions(tmp_path / "p.csv")[0])
    assert tables["train"].intervals is None
    np.testing.assert_array_equal(tables["test"].intervals, test.intervals)
