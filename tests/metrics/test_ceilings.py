"""What listeners allow: worked by hand, against simulated listeners, and on the released ratings where they are."""

import math
from pathlib import Path

import numpy as np
import pytest

from lightning_aqa.data.aes_natural import AXES, read_aes_natural
from lightning_aqa.metrics.ceilings import (
    DRAWN_ANEW,
    KNOWN,
    axis_ceilings,
    ceiling,
    ceilings,
    spearman_brown,
    system_only,
)
from lightning_aqa.metrics.correlation import ktau, lcc, mse, srcc
from lightning_aqa.metrics.listeners import ListenerRatings, ratings_table

REAL = Path(__file__).resolve().parents[3] / "shared" / "ratings"
NAN = math.nan


def _listeners(num_clips=3000, num_listeners=10, noise=1.5, seed=0):
    """Return what clips are worth, and ratings that err about it."""
    generator = np.random.default_rng(seed)
    worth_N = generator.normal(size=num_clips)
    return worth_N, worth_N[:, None] + noise * generator.normal(size=(num_clips, num_listeners))


def test_two_listeners_are_worked_by_hand():
    found = ceiling(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 6.0]]))
    assert (found.n, found.listeners) == (4, 2.0)
    # Variances 0 0 0 and 2, of means of two: (0 + 0 + 0 + 1) / 4. The means 1 2 3 5 have the variance 8.75 / 3.
    assert found.mse == pytest.approx(0.25)
    assert found.reliability == pytest.approx(1 - 0.25 / (8.75 / 3))
    assert found.lcc == pytest.approx(math.sqrt(found.reliability))
    assert found.reliability == pytest.approx(2 * found.split_half_lcc / (1 + found.split_half_lcc))
    assert found.srcc < found.lcc


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
    assert (found.n, round(found.listeners)) == (3000, 8)
    assert found.lcc == pytest.approx(lcc(worth_N, np.nanmean(ratings_NK, axis=1)), abs=0.01)


def test_which_column_a_listener_has_does_not_matter():
    _, ratings_NK = _listeners(num_clips=800)
    biased = ratings_NK + np.arange(10) / 4  # the last listeners are generous: fixed halves would differ in level
    shuffled = np.random.default_rng(1).permuted(biased, axis=1)
    assert ceiling(biased).lcc == pytest.approx(ceiling(shuffled).lcc, abs=1e-9)


def test_means_of_systems_are_surer_than_clips():
    _, ratings_NK = _listeners(num_clips=1200)
    systems = [f"S{i % 40:02}" for i in range(1200)]
    found = ceiling(ratings_NK + np.arange(1200)[:, None] % 40 / 40, systems)
    assert found.n == 40
    assert found.mse == pytest.approx(2.25 / 10 / 30, rel=0.05)
    assert ceiling(ratings_NK).mse == pytest.approx(2.25 / 10, rel=0.05)


@pytest.mark.parametrize(
    ("ratings", "why"),
    [
        (np.full((5, 0), NAN), "no single ratings"),
        (np.full((5, 3), NAN), "no single ratings"),
        (np.arange(5.0)[:, None], "no clip has the ratings of two listeners"),
        (np.array([[1.0, 1.5], [3.0, 3.0]]), "fewer than 3 clips"),
        (np.full((4, 2), 3.0), "all mean ratings are equal"),
        (np.array([[1.0, 3.0], [3.0, 1.5], [2.0, 1.0]]), "listeners agree no better than by chance"),
    ],
)
def test_where_there_is_no_ceiling_it_says_why(ratings, why):
    found = ceiling(ratings)
    assert found.why == why
    assert math.isnan(found.lcc)
    assert found.assumes == ""


def test_spearman_brown_has_no_sense_far_below_nought():
    assert math.isnan(spearman_brown(-1.0, 2))


DESIGNS = [
    # who rated, spread of listeners, of their views of systems, share of clips with one rating
    ("anew", 0.0, 0.0, 0.0),
    ("anew", 0.0, 0.0, 0.5),
    ("random", 0.8, 0.0, 0.0),
    ("same", 0.8, 0.0, 0.0),
    ("same", 0.0, 0.6, 0.0),
    ("own", 0.8, 0.0, 0.0),
]


@pytest.mark.parametrize("level", ["utterance", "system"])
@pytest.mark.parametrize(("who", "bias", "view", "alone"), DESIGNS)
def test_the_ceiling_is_what_the_truth_reaches_whoever_rated(who, bias, view, alone, level):
    printed, true = [], []
    for seed in range(12):
        worth, systems, table = _design(np.random.default_rng(seed), who, bias, view, alone)
        found = axis_ceilings(table, systems, ["Q"], level)["Q"]
        mos = np.nanmean(table.values[:, 0], axis=1)
        if level == "system":
            worth, mos = (values.reshape(-1, 20).mean(0) for values in (worth, mos))
        printed.append([found.lcc, found.srcc, found.mse])
        true.append([lcc(worth, mos), srcc(worth, mos), (worth - mos).var(ddof=1)])
    gap = np.mean(printed, axis=0) - np.mean(true, axis=0)
    wide = 2 if who == "own" and level == "system" else 1  # 20 panels say little of how panels differ
    assert np.abs(gap[:2]).max() < 0.02 * wide, gap
    share = 0.4 if level == "system" else 0.12  # of 20 systems the variance itself is known to a third
    assert abs(gap[2]) < share * np.mean(true, axis=0)[2], gap
    assert found.assumes == (DRAWN_ANEW if who == "anew" else KNOWN)


def _design(generator, who, bias, view, alone):
    of, k = np.arange(300) % 20, np.where(generator.random(300) < alone, 1, 5)
    people = {
        "anew": np.arange(1500).reshape(300, 5),
        "same": np.tile(np.arange(5), (300, 1)),
        "own": of[:, None] * 5 + np.arange(5),
        "random": generator.permuted(np.tile(np.arange(60), (300, 1)), axis=1)[:, :5],
    }[who]
    worth = generator.normal(0, 0.7, 20)[of] + generator.normal(0, 0.5, 300)
    level, seen = generator.normal(0, bias, 1500)[people], generator.normal(0, view, (1500, 20))[people, of[:, None]]
    values = worth[:, None] + level + seen + generator.normal(0, 0.8, (300, 5))
    there = np.arange(5) < k[:, None]
    table = ListenerRatings(np.where(there, values, NAN)[:, None], np.where(there, people, -1)[:, None])
    return worth, [f"S{i:02}" for i in of], table


def test_ratings_are_laid_out_by_clip_and_axis():
    rows = [("b", "PQ", "Ann", 1.0), ("a", "PC", "Bob", 2.0), ("b", "PQ", "Bob", 3.0), ("x", "PQ", "Bob", 9.0)]
    table = ratings_table(["a", "b"], ["PQ", "PC"], rows)
    assert np.array_equal(table.values, [[[NAN, NAN], [2, NAN]], [[1, 3], [NAN, NAN]]], equal_nan=True)
    assert (table.listeners >= 0).tolist() == np.isfinite(table.values).tolist()
    assert ratings_table(["a"], ["PQ"], []).values.shape == (1, 1, 0)


@pytest.mark.parametrize(("systems", "clips", "icc"), [(12, 3, 0.5), (12, 20, 0.5), (2, 20, 0.0)])
def test_knowing_the_system_alone_is_as_good_as_knowing_its_true_mean(systems, clips, icc):
    printed, true, metrics = [], [], {"LCC": lcc, "SRCC": srcc, "KTAU": ktau}
    for seed in range(150):
        generator = np.random.default_rng(seed)
        known = np.repeat(generator.normal(0, math.sqrt(icc), systems), clips)
        y = known + generator.normal(0, math.sqrt(1 - icc), systems * clips)
        found = system_only([f"S{i}" for i in np.repeat(np.arange(systems), clips)], y)
        printed.append([found[name] for name in (*metrics, "MSE")])
        true.append([of(known, y) if icc else 0.0 for of in metrics.values()] + [mse(known, y)])
        assert min(printed[-1]) >= 0
    gap = np.mean(printed, axis=0) - np.mean(true, axis=0)
    assert np.abs(gap).max() < (0.03 if icc else 0.08), gap  # nothing below 0: with no difference at all a little above


def test_clips_without_a_system_or_a_rating_do_not_count_and_too_few_say_nothing():
    found = system_only(["x", "x", "y", "y", "", "x"], np.array([1.0, 2.0, 4.0, 5.0, 9.0, NAN]))
    assert (found["n"], found["MSE"]) == (4, 0.5)
    # Between 9, within 1, of which 2 degrees of freedom: (9 - .5) / 10.
    assert found["LCC"] == pytest.approx(math.sqrt(0.85))
    for systems in ([""] * 4, ["x"] * 4, [*"abcd"]):
        assert math.isnan(system_only(systems, np.arange(4.0))["SRCC"])


def test_ceilings_are_by_domain_level_and_axis_whatever_the_order_of_the_clips():
    _, ratings_NK = _listeners(num_clips=60)
    values = np.stack([ratings_NK, ratings_NK[::-1]], axis=1)
    ratings = ListenerRatings(values, np.broadcast_to(np.arange(10), values.shape))
    ids, systems = [f"{i:02}" for i in range(60)], [f"S{i % 5}" for i in range(60)]
    domains = ["music"] * 30 + [""] * 30
    found = ceilings(ids, systems, domains, ratings, ["PQ", "PC"])
    assert {domain: list(levels) for domain, levels in found.items()} == {
        "": ["utterance", "system"], "music": ["utterance", "system"],
    }  # fmt: skip
    assert found["music"]["system"] == axis_ceilings(ratings[:30], systems[:30], ["PQ", "PC"], "system")
    order = np.random.default_rng(0).permutation(60)
    names = ([column[i] for i in order] for column in (ids, systems, domains))
    assert ceilings(*names, ratings[order], ["PQ", "PC"]) == found


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
    found = ceilings(*released["test"])[""]
    # Halves dealt at random agree at SRCC .775 .852 .815 .805, and positions have a small level of their own.
    known = {
        "split_half_srcc": [0.775, 0.852, 0.815, 0.805],
        "lcc": [0.932, 0.959, 0.946, 0.943],
        "mse": [0.28, 0.19, 0.33, 0.39],
    }
    for name, values in known.items():
        got = [getattr(entry, name) for entry in found["utterance"].values()]
        assert got == pytest.approx(values, abs={"split_half_srcc": 0.016, "mse": 0.02}.get(name, 0.005)), name
    got = [entry.split_half_srcc for entry in found["system"].values()]
    assert got == pytest.approx([0.986, 0.974, 0.989, 0.992], abs=0.015)


def test_the_predictor_that_knows_only_the_system_is_as_good_as_known(released):
    _, systems, _, ratings, _ = released["test"]
    got = [system_only(systems, ratings.values[:, a].mean(1))["SRCC"] for a in range(4)]
    assert got == pytest.approx(
        [0.749, 0.795, 0.794, 0.778], abs=0.0006
    )  # the mean of the other clips: .732 .787 .778 .767


def test_inside_one_domain_listeners_agree_much_less(released):
    ids, _, domains, ratings, _ = released["train"]
    found = ceilings(
        ids, [""] * len(ids), domains, ListenerRatings(ratings.values[:, 1:2], ratings.listeners[:, 1:2]), ["PC"]
    )
    assert found["speech"]["utterance"]["PC"].split_half_lcc == pytest.approx(0.357, abs=0.01)
    assert found["sound"]["utterance"]["PC"].split_half_lcc == pytest.approx(0.566, abs=0.01)
