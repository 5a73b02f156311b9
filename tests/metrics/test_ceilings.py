"""What listeners allow: worked by hand, against simulated listeners, and on the released ratings where they are."""

import math
from pathlib import Path

import numpy as np
import pytest

from lightning_aqa.data.aes_natural import AXES, read_aes_natural
from lightning_aqa.metrics.ceilings import ceiling, ceilings, ratings_table, spearman_brown, system_only
from lightning_aqa.metrics.correlation import lcc, mse

REAL = Path(__file__).resolve().parents[3] / "shared" / "ratings"
NAN = math.nan


def _listeners(num_clips=3000, num_listeners=10, noise=1.5, seed=0):
    """Return what clips are worth, and ratings that err about it."""
    generator = np.random.default_rng(seed)
    worth_N = generator.normal(size=num_clips)
    return worth_N, worth_N[:, None] + noise * generator.normal(size=(num_clips, num_listeners))


def test_two_listeners_are_worked_by_hand():
    found = ceiling(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 6.0]]))
    # Halves are 1 2 3 4 and 1 2 3 6 with the last two dealt either way: they agree in rank, and at LCC .9562 or .9562.
    assert (found.n, found.listeners) == (4, 2.0)
    assert found.split_half_srcc == pytest.approx(1)
    assert found.split_half_lcc == pytest.approx(lcc([1, 2, 3, 4], [1, 2, 3, 6]))
    assert found.reliability == pytest.approx(2 * found.split_half_lcc / (1 + found.split_half_lcc))
    assert found.lcc == pytest.approx(math.sqrt(found.reliability))
    # Variances 0 0 0 and 2, of means of two: (0 + 0 + 0 + 1) / 4.
    assert found.mse == pytest.approx(0.25)


def test_spearman_brown_steps_up_and_down():
    assert spearman_brown(0.6, 2) == pytest.approx(0.75)
    assert spearman_brown(spearman_brown(0.6, 5), 1 / 5) == pytest.approx(0.6)


def test_the_ceiling_is_what_a_perfect_predictor_reaches():
    worth_N, ratings_NK = _listeners()
    found = ceiling(ratings_NK)
    assert found.lcc == pytest.approx(lcc(worth_N, ratings_NK.mean(1)), abs=0.006)
    assert found.mse == pytest.approx(mse(worth_N, ratings_NK.mean(1)), rel=0.05)
    # Signal 1, noise 2.25 / 10.
    assert found.reliability == pytest.approx(1 / 1.225, abs=0.01)


@pytest.mark.parametrize("num_listeners", [3, 5])
def test_an_odd_number_of_listeners_is_stepped_up_from_unequal_halves(num_listeners):
    worth_N, ratings_NK = _listeners(num_listeners=num_listeners)
    assert ceiling(ratings_NK).lcc == pytest.approx(lcc(worth_N, ratings_NK.mean(1)), abs=0.012)


def test_listeners_that_differ_in_number_are_those_that_are_there():
    worth_N, ratings_NK = _listeners()
    ratings_NK[:1500, 6:] = NAN
    ratings_NK[0, 1:] = NAN
    found = ceiling(ratings_NK)
    assert (found.n, round(found.listeners)) == (2999, 8)
    assert found.lcc == pytest.approx(lcc(worth_N, np.nanmean(ratings_NK, axis=1)), abs=0.01)


def test_which_column_a_listener_has_does_not_matter():
    _, ratings_NK = _listeners(num_clips=800)
    biased = ratings_NK + np.arange(10) / 4  # the last listeners are generous: fixed halves would differ in level
    shuffled = np.random.default_rng(1).permuted(biased, axis=1)
    assert ceiling(biased, num_splits=100).lcc == pytest.approx(ceiling(shuffled, num_splits=100).lcc, abs=0.01)


def test_means_of_systems_are_surer_than_clips():
    _, ratings_NK = _listeners(num_clips=1200)
    systems = [f"S{i % 40:02}" for i in range(1200)]
    found = ceiling(ratings_NK + np.arange(1200)[:, None] % 40 / 40, systems)
    assert found.n == 40
    assert found.mse == pytest.approx(2.25 / 10 / 30, rel=0.05)
    assert ceiling(ratings_NK).mse == pytest.approx(2.25 / 10, rel=0.05)


@pytest.mark.parametrize("ratings", [np.full((5, 0), NAN), np.full((5, 3), NAN), np.arange(5.0)[:, None]])
def test_without_two_ratings_of_a_clip_there_is_no_ceiling(ratings):
    found = ceiling(ratings)
    assert found.n == 0
    assert math.isnan(found.lcc)


def test_listeners_that_disagree_have_no_ceiling_and_constant_ones_no_correlation():
    assert math.isnan(ceiling(np.array([[1.0, 3.0], [3.0, 1.0]])).lcc)
    assert math.isnan(ceiling(np.array([[3.0, 3.0], [2.0, 4.0]])).lcc)  # the halves correlate by -1 however they fall
    assert math.isnan(spearman_brown(-1.0, 2))
    assert math.isnan(spearman_brown(-0.8, 3))
    found = ceiling(np.full((4, 4), 3.0))
    assert math.isnan(found.split_half_lcc)
    assert found.mse == 0


def test_ratings_are_laid_out_by_clip_and_axis():
    rows = [("b", "PQ", "Ann", 1.0), ("a", "PC", "Bob", 2.0), ("b", "PQ", "Bob", 3.0), ("x", "PQ", "Bob", 9.0)]
    table = ratings_table(["a", "b"], ["PQ", "PC"], rows)
    assert np.array_equal(table, [[[NAN, NAN], [2, NAN]], [[1, 3], [NAN, NAN]]], equal_nan=True)
    assert ratings_table(["a"], ["PQ"], []).shape == (1, 1, 0)


def test_the_system_s_other_clips_predict_a_clip():
    # x: 2 for 1 and 1 for 2; y: others' means 4.5, 4, 3.5 for 3, 4, 5; z alone and the unrated clip do not count.
    systems, targets = ["x", "x", "y", "y", "y", "z", "", "x"], np.array([1, 2, 3, 4, 5, 6, 7, NAN])
    found = system_only(systems, targets)
    assert found["n"] == 5
    assert found["MSE"] == pytest.approx((1 + 1 + 1.5**2 + 0 + 1.5**2) / 5)
    assert found["LCC"] == pytest.approx(lcc([2, 1, 4.5, 4, 3.5], [1, 2, 3, 4, 5]))
    nothing = system_only([""] * 3, np.arange(3.0))
    assert nothing["n"] == 0
    assert math.isnan(nothing["SRCC"])


def test_ceilings_are_by_domain_level_and_axis_whatever_the_order_of_the_clips():
    _, ratings_NK = _listeners(num_clips=60)
    ratings = np.stack([ratings_NK, ratings_NK[::-1]], axis=1)
    ids, systems = [f"{i:02}" for i in range(60)], [f"S{i % 5}" for i in range(60)]
    domains = ["music"] * 30 + [""] * 30
    found = ceilings(ids, systems, domains, ratings, ["PQ", "PC"], num_splits=5)
    assert {domain: list(levels) for domain, levels in found.items()} == {
        "": ["utterance", "system"], "music": ["utterance", "system"],
    }  # fmt: skip
    assert found["music"]["utterance"]["PQ"] == ceiling(ratings_NK[:30], num_splits=5)
    order = np.random.default_rng(0).permutation(60)
    names = ([column[i] for i in order] for column in (ids, systems, domains))
    assert ceilings(*names, ratings[order], ["PQ", "PC"], num_splits=5) == found


@pytest.fixture(scope="module")
def released():
    """The clips, systems, domains and ratings of two splits of the released lists."""
    if not REAL.is_dir():
        pytest.skip("needs the released ratings in ../shared/ratings, which are not part of the project")
    manifest = read_aes_natural(REAL, include=["natural", "evaluation"])
    axes = [axis.name for axis in AXES]

    def table(split):
        clips = manifest.split(split)
        rows = [(c.id, axis, name, of[axis]) for c in clips for name, of in c.ratings.items() for axis in axes]
        columns = [[getattr(clip, name) for clip in clips] for name in ("id", "system", "domain")]
        return *columns, ratings_table([clip.id for clip in clips], axes, rows), axes

    return {split: table(split) for split in ("train", "test")}


def test_the_ceilings_of_the_evaluation_set_are_the_known_ones(released):
    found = ceilings(*released["test"], num_splits=20)[""]
    known = {
        "split_half_srcc": [0.775, 0.852, 0.815, 0.805],
        "lcc": [0.932, 0.959, 0.946, 0.943],
        "mse": [0.28, 0.19, 0.33, 0.39],
    }
    for name, values in known.items():
        got = [getattr(entry, name) for entry in found["utterance"].values()]
        assert got == pytest.approx(values, abs={"mse": 0.005}.get(name, 0.002)), name
    got = [entry.split_half_srcc for entry in found["system"].values()]
    assert got == pytest.approx([0.986, 0.974, 0.989, 0.992], abs=0.002)


def test_the_predictor_that_knows_only_the_system_is_as_good_as_known(released):
    _, systems, _, ratings, _ = released["test"]
    got = [system_only(systems, ratings[:, a].mean(1))["SRCC"] for a in range(4)]
    assert got == pytest.approx([0.732, 0.787, 0.778, 0.767], abs=0.0006)


def test_inside_one_domain_listeners_agree_much_less(released):
    ids, _, domains, ratings, _ = released["train"]
    found = ceilings(ids, [""] * len(ids), domains, ratings[:, 1:2], ["PC"], num_splits=20)
    assert found["speech"]["utterance"]["PC"].split_half_srcc == pytest.approx(0.25, abs=0.02)
    assert found["sound"]["utterance"]["PC"].split_half_srcc == pytest.approx(0.51, abs=0.01)
