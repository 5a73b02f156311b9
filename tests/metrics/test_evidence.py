"""Results with intervals and ceilings beside them."""

import json
import math

import numpy as np
import pytest

from lightning_aqa.metrics.ceilings import axis_ceilings, with_ceilings
from lightning_aqa.metrics.intervals import intervals, with_intervals
from lightning_aqa.metrics.levels import METRICS, evaluate, flatten, to_json
from lightning_aqa.metrics.listeners import ListenerRatings

AXES = ["PQ", "PC"]


@pytest.fixture(scope="module")
def corpus():
    generator = np.random.default_rng(0)
    ids, systems = [f"{i:02}" for i in range(40)], [f"S{i % 8}" for i in range(40)]
    ratings = generator.integers(1, 6, (40, 2, 4)) + np.arange(40)[:, None, None] % 8
    targets = ratings.mean(2)
    table = (ids, systems, ["music"] * 30 + [""] * 10, targets + generator.normal(size=(40, 2)), targets)
    published = {f"S{i}": {"PQ": float(i)} for i in range(8)}
    return table, ratings, published


def test_each_entry_gets_its_interval_and_what_was_there_stays(corpus):
    table, _, published = corpus
    before = evaluate(*table, AXES, published)
    found = with_intervals(before, *table, AXES, None, published)
    expected = intervals(*table, AXES)
    entries = {
        "": found, "music": found["domains"]["music"],
    }  # fmt: skip
    for domain, levels in entries.items():
        for level in ("utterance", "system"):
            for axis in (*AXES, "mean"):
                ci = levels[level][axis].pop("ci")
                assert ci == {metric: list(expected[domain][level][axis][metric].interval) for metric in METRICS}
                if level == "utterance":
                    over_systems = levels[level][axis].pop("ci_system")
                    assert over_systems != ci
    low, high = found["system_mos"]["PQ"]["ci"]["MSE"]
    assert low < found["system_mos"]["PQ"]["MSE"] < high
    assert math.isnan(found["system_mos"]["PC"]["ci"]["MSE"][0])
    assert found["system_mos"]["PC"]["ci_why"]["MSE"] == "0 systems: an interval needs 6"
    for axis in (*AXES, "mean"):
        del found["system_mos"][axis]["ci"]
        found["system_mos"][axis].pop("ci_why", None)
    assert to_json(found) == to_json(before)
    assert "ci" not in before["utterance"]["PQ"]


def _known(values):
    return ListenerRatings(values.astype(float), np.broadcast_to(np.arange(4), values.shape))


def test_each_rated_axis_gets_its_ceiling_and_the_predictor_that_knows_the_system(corpus):
    table, ratings, _ = corpus
    ids, systems, domains, _, targets = table
    ratings = _known(np.where(np.arange(2)[:, None] == 1, math.nan, ratings))
    found = with_ceilings(evaluate(*table, AXES), ids, systems, domains, targets, ratings, AXES)
    assert found["utterance"]["PQ"]["ceiling"] == axis_ceilings(ratings, systems, AXES, "utterance")["PQ"]._asdict()
    assert found["system"]["PQ"]["ceiling"]["n"] == 8
    assert found["domains"]["music"]["utterance"]["PQ"]["ceiling"]["n"] == 30
    assert "ceiling" not in found["utterance"]["PC"]
    assert found["utterance"]["PC"]["system_only"]["n"] == 40
    assert "system_only" not in found["system"]["PQ"]


def test_evidence_is_json_and_is_not_logged(corpus):
    table, ratings, _ = corpus
    ids, systems, domains, _, targets = table
    results = evaluate(*table, AXES)
    keys = flatten(results, "val").keys()
    results = with_intervals(results, *table, AXES)
    results = with_ceilings(results, ids, systems, domains, targets, _known(ratings), AXES)
    assert flatten(results, "val").keys() == keys
    results["utterance"]["PQ"]["ci"]["SRCC"] = [math.nan, 1.0]
    held = json.loads(json.dumps(to_json(results), allow_nan=False))
    assert held["utterance"]["PQ"]["ci"]["SRCC"] == [None, 1.0]
