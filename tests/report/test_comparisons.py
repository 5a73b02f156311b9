"""Pictures of many variants: shapes of verdicts, shades no finer than noise, the epoch that was kept."""

import math
import re

import numpy as np
import pytest

from lightning_aqa.report.comparisons import Curve, Effect, draw_curves, draw_effects, draw_grid, find_grids
from lightning_aqa.report.plots import SystemMeans
from lightning_aqa.report.svg import Span
from lightning_aqa.results.history import kept_epoch

NAN = math.nan


def test_each_verdict_has_its_shape_and_its_numbers_beside_it():
    verdicts = ["better", "worse", "equal", "undecided", ""]
    effects = [Effect(name or "none", 0.1, 0.0, 0.2, name, "", f"{name}!") for name in verdicts]
    picture = draw_effects([*effects, Effect("nothing", NAN, NAN, NAN, "", "", "")], "SRCC", "x", margin=0.05)
    assert re.findall(r'<circle class="(\w+) c0"', picture) == ["dot", "dot", "ring", "ring"]
    assert picture.count('<path class="mark c0"') == 1
    assert all(f">{name}!<" in picture for name in verdicts)
    assert picture.count('class="cell band"') == 1
    assert "band" not in draw_effects(effects, "SRCC", "x")


def test_cells_that_differ_by_less_than_noise_have_one_shade():
    settings = [{"margin": margin, "weight": weight} for margin in (None, 0.2) for weight in (1, 7)]
    (grid,) = find_grids(settings, [0.80, 0.78, 0.71, 0.50])
    assert (grid.rows, grid.columns) == (["0.2", "not set"], ["1", "7"])
    assert grid.values.tolist() == [[0.71, 0.50], [0.80, 0.78]]
    shades = re.findall(r'class="cell (q\d)"', draw_grid(grid, True, "x", step=0.08))
    assert shades == ["q4", "q0", "q6", "q6"]
    errors = re.findall(r'class="cell (q\d)"', draw_grid(grid, False, "x", step=0.08))
    assert errors == ["q2", "q6", "q0", "q0"]
    assert set(re.findall(r'class="cell (q\d)"', draw_grid(grid, True, "x", step=NAN))) == {"q6"}


HISTORY = [
    {"epoch": e, "val/utterance/SRCC/PQ": r, "val/loss": x} for e, r, x in [(0, 0.5, 3), (1, 0.7, 2), (2, 0.7, 1)]
]


@pytest.mark.parametrize(
    ("monitor", "kept"), [("val/utterance/SRCC/PQ", 1), ("val/loss", 2), (None, 2), ("val/other", None)]
)
def test_the_epoch_that_was_kept_is_the_first_best_one(monitor, kept):
    assert kept_epoch(HISTORY, monitor) == kept
    assert kept_epoch([], monitor) is None


def test_a_curve_says_what_it_is_of_and_has_a_dot_at_the_epoch_that_was_kept():
    curves = [Curve(0, "a", [1, 2, 3], [0.5, 0.7, 0.7], kept=2), Curve(1, "b", [1, 2, 3], [0.5, 0.6, 0.7])]
    picture = draw_curves(curves, "SRCC", "x")
    assert re.findall("<title>([^<]*kept[^<]*)</title>", picture) == ["a: kept epoch 2"]
    assert ">SRCC</text>" in picture


def test_intervals_of_systems_end_at_the_scale_unless_the_mean_lies_outside():
    targets, scores = np.array([1.0, 2.0, 5.0, 4.0]), np.array([1.2, 1.1, 6.0, 6.4])
    means = SystemMeans(targets, scores, ["a", "a", "b", "b"], Span(1, 5))
    assert means.names == ["b", "a"]
    assert means.rated_ends.T.tolist() == [[1, 5], [1, 5]]
    assert means.predicted_ends[1, 0] == pytest.approx(6.2)
    assert means.predicted_ends[0, 1] == 1
