"""What is said beside a result: where the system alone is as good, and why there is no ceiling."""

import math

import numpy as np
import pytest

from lightning_aqa.report.summary import system_alone
from lightning_aqa.results.comparison import compare_variants
from lightning_aqa.results.reference_points import behind_system, run_notes
from lightning_aqa.results.runs import find_runs
from lightning_aqa.results.variants import collect
from tests.small_sweep import table, write_run


@pytest.mark.parametrize(
    ("own", "is_said"),
    [((0.9, 0.1), False), ((0.5, 0.1), True), ((0.9, 0.3), True), ((0.7, 0.2), True), ((math.nan, 0.1), False)],
)
def test_a_model_that_is_not_better_than_the_system_alone_is_told_so(own, is_said):
    said = behind_system("PQ", dict(zip(("LCC", "MSE"), own, strict=True)), {"LCC": 0.7, "MSE": 0.2})
    assert bool(said) == is_said


def test_a_run_says_so_per_split_and_axis_and_not_for_the_mean():
    entry = {"LCC": 0.598, "MSE": 0.123, "system_only": {"LCC": 0.686, "MSE": 0.101}}
    ceiling = {"assumes": "", "why": "no clip has the ratings of two listeners", "lcc": math.nan}
    split = {"utterance": {"overall": {**entry, "ceiling": ceiling}, "mean": entry}}
    notes = run_notes({"test": split, "train": {"utterance": {"overall": {"ceiling": ceiling}}}})
    assert notes == [
        "Highest LCC: none for overall: no clip has the ratings of two listeners.",
        "test: overall: knowing the system alone would give LCC .686 and MSE 0.101; this model has .598 and 0.123.",
    ]


def test_the_report_says_so_too(tmp_path):
    clips = table(40)
    noise = np.random.default_rng(0).normal(3, 1, clips.scores.shape)
    run = write_run(tmp_path / "run", clips._replace(scores=noise))
    blocks = compare_variants(collect(find_runs([run])[0], "test"), num_resamples=500)
    assert "Knowing only which system made a clip" in system_alone(blocks)
    assert system_alone([block for block in blocks if block.level != "utterance"]) == ""
