import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_aqa.batch import Axis
from lightning_aqa.objectives.qamro import INTERVAL_QUALITY, QAMRO, qamro_loss

GOLDEN = Path(__file__).resolve().parents[1] / "fixtures" / "qamro"
NAN = math.nan


def golden_cases():
    for track in (1, 2):
        for case in json.loads((GOLDEN / f"qamro_track{track}.json").read_text())["cases"]:
            yield pytest.param(track, case, id=f"track{track}-{case['case']}")


@pytest.fixture(scope="module")
def golden_arrays():
    return {track: dict(np.load(GOLDEN / f"qamro_track{track}.npz")) for track in (1, 2)}


def quality_of(y, rated, quality, axis):
    if quality == "none":
        return 0.0
    if quality == "minmax":
        spread = max(rated) - min(rated)
        return (y - min(rated)) / spread if spread else 0.0
    return INTERVAL_QUALITY[axis.upper()][min(int(y), 9) - 1] / 9.5


def reference_qamro(
    scores, targets, margin_scale=0.2, preference_factor=7.0, quality="minmax", axis=None, margin=None, tolerance=0.0
):
    """One pair at a time, as the paper words it."""
    rated = [y for y in targets.tolist() if not math.isnan(y)]
    total, count = scores.sum() * 0, 0
    for i, j in combinations(range(len(scores)), 2):
        yi, yj = targets[i].item(), targets[j].item()
        if math.isnan(yi) or math.isnan(yj) or yi == yj or abs(yi - yj) <= tolerance:
            continue
        if quality == "interval" and not (1 <= yi <= 10 and 1 <= yj <= 10):
            continue
        best = max(quality_of(yi, rated, quality, axis), quality_of(yj, rated, quality, axis))
        allowed = margin_scale * abs(yi - yj) if margin is None else margin
        hinge = torch.relu(allowed - math.copysign(1, yi - yj) * (scores[i] - scores[j]))
        total, count = total + (1 + (preference_factor - 1) * best) * hinge, count + 1
    return total / max(count, 1)


def random_pair(size, seed, missing=0):
    generator = torch.Generator().manual_seed(seed)
    scores = 9 * torch.rand(size, generator=generator, dtype=torch.float64) + 0.5
    targets = (40 * torch.rand(size, generator=generator, dtype=torch.float64)).round() / 4 + 0.5
    targets[:missing] = NAN
    return scores.requires_grad_(), targets


def test_qamro_of_one_misordered_pair_is_worked_by_hand():
    # The better clip (y = 3) has p = 1, the other (y = 1) p = 2: hinge 0.2 * 2 + 1 = 1.4, weight 7 as it is the best.
    scores = torch.tensor([2.0, 1.0], requires_grad=True)
    loss = qamro_loss(scores, torch.tensor([1.0, 3.0]))
    loss.backward()
    assert loss.item() == pytest.approx(9.8)
    assert scores.grad.tolist() == [7.0, -7.0]


def test_qamro_weighs_intervals_by_the_table_of_the_axis():
    # PQ: [1, 2) has quality 0 and [6, 7) has 9.5 / 9.5 = 1; hinge 0.2 * 5 + 0 = 1, weight 7.
    loss = qamro_loss(torch.tensor([2.0, 2.0]), torch.tensor([1.5, 6.5]), quality="interval", axis="pq")
    assert loss.item() == pytest.approx(7.0)


@pytest.mark.parametrize(("track", "case"), list(golden_cases()))
def test_qamro_equals_the_released_code(golden_arrays, track, case):
    arrays = {key: torch.from_numpy(golden_arrays[track][f"{case['case']}.{key}"]) for key in ("preds", "labels")}
    scores = arrays["preds"].requires_grad_()
    options = {"quality": "minmax"} if track == 1 else {"quality": "interval", "axis": case["task"]}
    loss = qamro_loss(
        scores,
        arrays["labels"],
        margin_scale=case["margin_scale"],
        preference_factor=case["preference_factor"],
        **options,
    )
    loss.backward()
    # The released Track 2 weights pass through float32, and so do Track 1's where the labels are integers.
    exact = track == 1 and arrays["labels"].is_floating_point()
    float64 = {"rtol": 1e-12, "atol": 1e-13} if exact else {"rtol": 1e-6, "atol": 1e-8}
    tolerance = float64 if case["dtype"] == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(loss.item(), case["value"], **tolerance)
    np.testing.assert_allclose(scores.grad, golden_arrays[track][f"{case['case']}.grad"], **tolerance)


@pytest.mark.parametrize("tolerance", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("margin", [None, 0.0, 0.3])
@pytest.mark.parametrize("preference_factor", [0.5, 7.0])
@pytest.mark.parametrize("quality", ["minmax", "interval", "none"])
@pytest.mark.parametrize("missing", [0, 3])
def test_qamro_equals_a_loop_over_pairs(quality, preference_factor, margin, tolerance, missing):
    options = {
        "quality": quality,
        "preference_factor": preference_factor,
        "margin": margin,
        "tolerance": tolerance,
        "axis": "CE",
    }
    scores, targets = random_pair(14, seed=5, missing=missing)
    ours, expected = qamro_loss(scores, targets, **options), reference_qamro(scores, targets, **options)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


def test_qamro_does_not_change_when_all_scores_shift():
    scores, targets = random_pair(9, seed=1)
    torch.testing.assert_close(qamro_loss(scores + 3, targets), qamro_loss(scores, targets))


def test_qamro_does_not_change_with_the_order_of_clips():
    scores, targets = random_pair(9, seed=2)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(qamro_loss(scores[order], targets[order]), qamro_loss(scores, targets))


def test_qamro_of_perfect_scores_is_zero():
    _, targets = random_pair(9, seed=3)
    assert qamro_loss(targets, targets).item() == 0


def test_qamro_takes_columns():
    scores, targets = random_pair(5, seed=4)
    assert qamro_loss(scores[:, None], targets[:, None]) == qamro_loss(scores, targets)


def test_qamro_counts_neither_ties_nor_pairs_within_the_tolerance():
    # 4.2 - 4.0 is a bit above 0.2 in binary, and a tie at a tolerance of 0.2 all the same.
    scores, targets = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([4.0, 4.2, 5.0])
    kept = qamro_loss(scores, targets, quality="none", tolerance=0.2)
    assert kept.item() == pytest.approx(0.2 * (1.0 + 0.8) / 2)


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        ([3.0], [2.0]),
        ([3.0, 1.0], [2.0, 2.0]),
        ([math.inf, NAN, 1.0], [NAN, NAN, 2.0]),
        ([NAN, math.inf], [NAN, NAN]),
    ],
    ids=["one clip", "all ties", "one rated", "nobody rated"],
)
@pytest.mark.parametrize("quality", ["minmax", "interval", "none"])
def test_qamro_is_zero_with_gradient_when_no_pair_is_left(scores, targets, quality):
    scores = torch.tensor(scores, requires_grad=True)
    loss = qamro_loss(scores, torch.tensor(targets), quality=quality, axis="PC")
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.tolist() == [0.0] * len(scores)


def test_qamro_ignores_the_scores_of_unrated_clips():
    scores = torch.tensor([NAN, 2.0, 1.0, math.inf], requires_grad=True)
    loss = qamro_loss(scores, torch.tensor([NAN, 1.0, 3.0, NAN]))
    loss.backward()
    assert loss.item() == pytest.approx(9.8)
    assert scores.grad.tolist() == [0.0, 7.0, -7.0, 0.0]


def test_qamro_shows_a_nan_score_of_a_rated_clip():
    assert qamro_loss(torch.tensor([NAN, 1.0]), torch.tensor([1.0, 3.0])).isnan()


def test_qamro_of_half_precision_is_computed_in_float32():
    scores = torch.tensor([2.0, 1.0], dtype=torch.bfloat16, requires_grad=True)
    loss = qamro_loss(scores, torch.tensor([1.0, 3.0]))
    loss.backward()
    assert (loss.dtype, scores.grad.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("quality", ["minmax", "interval", "none"])
def test_qamro_gradient_is_that_of_its_value(quality):
    scores, targets = random_pair(7, seed=6, missing=1)
    assert torch.autograd.gradcheck(lambda p: qamro_loss(p, targets, quality=quality, axis="CU"), (scores,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "best"}, "quality must be 'minmax', 'interval' or 'none', got 'best'"),
        ({"quality": "interval"}, "tables for the axes PQ, PC, CE, CU, got None"),
        ({"quality": "interval", "axis": "MI"}, "got 'MI'; use quality='minmax'"),
        ({"margin_scale": -1.0}, "margin_scale must be a number of at least 0, got -1"),
        ({"preference_factor": NAN}, "preference_factor must be a number of at least 0, got nan"),
        ({"margin": -0.1}, "margin must be a number of at least 0, got -0.1"),
        ({"tolerance": -0.1}, "tolerance must be a number of at least 0, got -0.1"),
    ],
)
def test_qamro_refuses_options_it_does_not_know(options, message):
    with pytest.raises(ValueError, match=message):
        qamro_loss(torch.zeros(2), torch.zeros(2), **options)


def test_qamro_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"must both be \(B,\) or \(B, 1\), got \(3,\) and \(2,\)"):
        qamro_loss(torch.zeros(3), torch.zeros(2))


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 9.8 + 4.2), ("mean", (9.8 + 4.2) / 2)])
def test_qamro_class_reduces_over_the_axes_that_are_rated(make_step, reduction, expected):
    # The second axis: gap 1, hinge 0.2 + 0.4 = 0.6, weight 7. Nobody is rated on the third.
    scores, targets = [[2.0, 1.4, 9.0], [1.0, 1.0, 0.0]], [[1.0, 2.0, NAN], [3.0, 3.0, NAN]]
    assert QAMRO(axis_reduction=reduction).loss(*make_step(scores, targets)).item() == pytest.approx(expected)


@pytest.mark.parametrize("hook", ["on_fit_start", "on_validation_start"])
def test_qamro_class_takes_the_table_of_each_axis_from_the_module(make_step, make_module, hook):
    objective = QAMRO(quality="interval")
    getattr(objective, hook)(None, make_module([Axis("PQ", "", 0, 10), Axis("PC", "", 0, 10)]))
    targets = [[1.5, 1.5], [6.5, 6.5]]
    # Hinge 1; quality 1 on PQ, and on PC the higher of 8.5 for [1, 2) and 5.5 for [6, 7), over 9.5.
    expected = 7.0 + (1 + 6 * 8.5 / 9.5)
    assert objective.loss(*make_step([[2.0, 2.0], [2.0, 2.0]], targets)).item() == pytest.approx(expected)


def test_qamro_class_refuses_an_axis_without_a_table_when_the_fit_starts(make_module):
    with pytest.raises(ValueError, match="got 'MI'"):
        QAMRO(quality="interval").on_fit_start(None, make_module([Axis("PQ", "", 0, 10), Axis("MI", "", 1, 5)]))


def test_qamro_class_refuses_intervals_before_it_knows_the_axes(make_step):
    with pytest.raises(ValueError, match="learns when a fit or a validation starts"):
        QAMRO(quality="interval").loss(*make_step([[1.0]], [[1.0]]))


def test_qamro_class_refuses_unknown_options():
    with pytest.raises(ValueError, match="quality must be"):
        QAMRO(quality="best")
    with pytest.raises(ValueError, match="axis_reduction must be 'sum' or 'mean', got 'max'"):
        QAMRO(axis_reduction="max")
