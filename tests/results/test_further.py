"""Further numbers of a run: what stands in results.json, and that its older readers pass over it."""

import json

import numpy as np
import pytest

from lightning_aqa.metrics.levels import evaluate
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.further import with_further
from lightning_aqa.results.predictions import write_results
from lightning_aqa.results.side_files import read_results


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    y = np.arange(8.0)[:, None]
    scores, ids = y + np.array([[0.5, -0.5] * 4]).T, [*"abcdefgh"]
    table = Predictions(ids, [*"PPQQRRSS"], [""] * 8, y, scores, deviations=np.full((8, 1), 0.4))
    ratings = [(id_, "PQ", name, y[i, 0] + d) for i, id_ in enumerate(ids) for name, d in (("1", -0.02), ("2", 0.02))]
    results = evaluate(ids, table.systems, table.domains, scores, y, ["PQ"])
    path = tmp_path_factory.mktemp("further") / "results.json"
    write_results(path, {"test": with_further(results, table, ["PQ"], ratings)})
    return path, results


def test_calibration_pairs_best_systems_and_mapped_errors_stand_in_the_file(written):
    entry = json.loads(written[0].read_text())["test"]["utterance"]["PQ"]
    assert entry["calibration"]["bias"] == 0
    assert entry["calibration"]["coverage"]["covered"] == {"0.68": 0, "0.95": 1}  # errors of .5, deviations of .4
    assert entry["pairs"][2] == {"low": 0.5, "high": 1, "pairs": 7, "accuracy": pytest.approx(5 / 7)}  # ties count half
    assert entry["pairs"][-1]["high"] is None
    assert entry["top_k"] == {"3": 1}
    assert entry["p1401"]["none"]["rmse"] == pytest.approx(0.5)
    width = 12.7062047 * 0.02  # t of one degree of freedom times the standard error of two ratings .04 apart
    assert entry["p1401"]["none"]["rmse_star"] == pytest.approx(0.5 - width)
    assert set(entry["p1401"]) == {"none", "linear", "cubic"}


def test_readers_of_numbers_pass_over_what_is_nested(written):
    path, results = written
    assert read_results(path)["test"]["utterance"]["PQ"] == results["utterance"]["PQ"]
