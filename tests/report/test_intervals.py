"""Intervals of clips among the numbers of the page."""

import math
from pathlib import Path

import numpy as np
import pytest

from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.report.tables import numbers_of
from lightning_aqa.results.runs import Run
from lightning_aqa.results.variants import SharedClips, Variant


@pytest.mark.parametrize(("split", "held", "width"), [("test", 0.75, 2.0), ("dev", math.nan, math.nan)])
def test_the_page_says_what_intervals_hold_but_not_of_the_clips_that_calibrate_them(split, held, width):
    y, p = np.array([[1.0], [2.0], [3.0], [5.0]]), np.array([[1.5], [2.0], [2.5], [3.0]])
    names = ["a", "b", "c", "d"], ["S"] * 4, [""] * 4
    table = Predictions(*names, y, p, intervals=np.stack([p - 1, p + 1], axis=-1))
    run = Run(Path("runs/a"), {split: table}, ["mos"])
    evidence = SharedClips(split, ["mos"], *names, [""] * 4, y, [Variant("a", [run], p[None])], [])
    found = numbers_of(evidence, 0, 0)
    assert (found["held"], found["width"]) == pytest.approx((held, width), nan_ok=True)
