"""The answer in words: every sentence, on tables written by hand."""

import math
import re

import pytest

from lightning_aqa.report.summary import (
    against_baseline,
    answer,
    ceiling,
    elsewhere,
    how_known,
    sentences,
    system_alone,
    told_apart,
    what_it_takes,
)
from lightning_aqa.results.comparison import CEILING, ONE_SEED, SYSTEM_MEAN
from tests.small_table import block, cell, difference, pairs, variants

SRCC, MSE = ("PQ", "SRCC"), ("PQ", "MSE")
OF_EACH = "; the subcommand plan tells how many of each."
NAMES = ["base", "a", "b"]
BASE = cell(0.80, (0.7, 0.9))
BETTER = cell(0.85, (0.8, 0.9), difference(0.05, 0.01, 0.09, 0.002, 0.04), "better", best=True)
WORSE = cell(0.70, (0.6, 0.8), difference(-0.1, -0.15, -0.05, 0.001, 0.05), "worse")
OPEN = cell(0.81, (0.7, 0.9), difference(0.01, -0.126, 0.06, 0.4, 0.03), "undecided", best=True, tied=True)
LOW = cell(0.70, (0.6, 0.8), difference(-0.1, -0.15, 0.05, 0.06, 0.05), "undecided")
EQUAL = cell(0.801, (0.7, 0.9), difference(0.001, -0.004, 0.006, 0.9, 0.01), "equal")
UNTOLD = cell(0.9, against=difference(0.1), best=True, why="3 systems: a perfect order comes by luck in 1 of 3")


def _column(*cells, level="system", column=SRCC, **more):
    return block({column: list(cells)}, level, **more)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            _column(BASE, OPEN),
            "No difference from the baseline, base, was shown in SRCC of systems: the largest is +.010 "
            "[\u2212.126, .060] of a; differences above .126 can be excluded; "
            "the smallest that this test could show is .030.",
        ),
        (
            _column(BASE, BETTER, WORSE, level="utterance"),
            "Better than the baseline, base, in SRCC of clips: a (+.050 [.010, .090]). "
            "Worse than it: b (\u2212.100 [\u2212.150, \u2212.050]).",
        ),
        (
            _column(BASE, EQUAL, OPEN, equivalence=0.01),
            "Equal to the baseline, base, in SRCC of systems within .010: a (+.001 [\u2212.004, .006]). "
            "Not shown to differ from it: b (+.010 [\u2212.126, .060]).",
        ),
        (
            block({("mean", "SRCC"): [BASE, BETTER]}, n={"PQ": 36, "CE": 36}),
            "Better than the baseline, base, in SRCC of clips, mean over axes: a (+.050 [.010, .090]).",
        ),
        (
            _column(BASE._replace(why=UNTOLD.why), UNTOLD),
            "Of differences in SRCC of systems nothing can be said: "
            "3 systems: a perfect order comes by luck in 1 of 3.",
        ),
    ],
)  # fmt: skip
def test_each_variant_is_better_worse_equal_or_not_shown_to_differ(table, told):
    assert against_baseline(NAMES, table, table.columns[0]) == told


def test_a_variant_that_is_tied_is_not_called_equal_and_what_could_be_seen_stands_beside():
    tied = _column(BASE._replace(is_tied=True), OPEN, pairs={SRCC: pairs([[0, 0.03], [0.03, 0]])})
    text = "Not told apart from it: base (the smallest difference that this test could show is .030)."
    assert told_apart(NAMES, tied, SRCC) == text
    wide = _column(OPEN._replace(is_best=False), BASE._replace(is_tied=True), OPEN,
                   pairs={SRCC: pairs([[0] * 3, [0] * 3, [0.02, 0.1, 0]])})  # fmt: skip
    assert "is .020 to .100)" in told_apart(NAMES, wide, SRCC)
    assert told_apart(NAMES, _column(BASE, BETTER), SRCC) == "It is told apart from every other variant."
    assert told_apart(NAMES, _column(BASE, UNTOLD), SRCC) == ""


def test_other_columns_are_looked_at_at_every_level_before_nothing_is_said_to_differ():
    quiet = block({SRCC: [BASE, OPEN, OPEN], MSE: [BASE, OPEN, OPEN]}, "system")
    loud = block({SRCC: [BASE, OPEN, OPEN], MSE: [BASE, WORSE, OPEN], ("PQ", "LCC"): [BASE, BETTER, WORSE]})
    assert elsewhere(NAMES, [quiet, quiet]) == "None of the 2 other columns shows a difference either."
    told = "In other columns: a is better in LCC of clips and worse in MSE of clips; b is worse in LCC of clips."
    assert elsewhere(NAMES, [quiet, loud]) == told
    headline = block({SRCC: [BASE, BETTER, WORSE], MSE: [BASE, OPEN, OPEN]})
    assert elsewhere(NAMES, [quiet, headline]) == "None of the 2 other columns does."
    many = block({(axis, metric): [BASE, WORSE] for axis in ("PQ", "CE", "mean") for metric in ("SRCC", "MSE", "LCC")})
    text = elsewhere(NAMES[:2], [many, many._replace(level="system")])
    one = "LCC (mean, PQ, CE), MSE (mean, PQ, CE), SRCC (PQ, CE) of"
    assert f"a is worse in {one} clips and {one} systems." in text
    assert text.endswith("By luck about 1 of these 16 columns would show some difference.")
    assert "MSE (mean, PQ, CE) of systems against published scores" in elsewhere(
        NAMES[:2], [quiet, many._replace(level="system_mos")]
    )


def test_the_words_name_both_levels_and_the_variant_of_the_largest_difference():
    system = _column(BASE, OPEN, LOW, n={"PQ": 12})
    clips = _column(BASE, BETTER, WORSE, level="utterance")
    text = " ".join(sentences(NAMES, [system, clips]))
    assert "was shown in SRCC of systems: the largest is \u2212.100 [\u2212.150, .050] of b" in text
    assert "Better than the baseline, base, in SRCC of clips: a" in text
    assert "No variant differs" not in text


@pytest.mark.parametrize(
    ("smallest", "seeds", "told"),
    [
        (
            0.03,
            3,
            "To show a difference of .01 would take about 9.0 times the systems and seeds" + OF_EACH,
        ),
        (
            0.03,
            1,
            "To show a difference of .01 would take about 9.0 times the systems.",
        ),
        (
            0.123,
            3,
            "To show a difference of .01 would take about 150 times the systems and seeds" + OF_EACH,
        ),
        (0.009, 3, ""),
        (math.nan, 3, ""),
    ],
)
def test_it_is_said_what_a_small_difference_would_take(smallest, seeds, told):
    against = cell(0.81, (0.7, 0.9), difference(0.0, -0.1, 0.1, 0.4, smallest), "undecided", best=True, tied=True)
    assert what_it_takes(_column(BASE._replace(num_seeds=seeds), against), SRCC) == told


def test_the_ceiling_of_several_axes_is_their_mean_and_only_where_all_rated_ones_have_one():
    beside = [(CEILING, "", {("PQ", "SRCC"): 0.9, ("CE", "SRCC"): 0.8})]
    mean = ("mean", "SRCC")
    table = block({mean: [BASE]}, n={"PQ": 36, "CE": 36}, beside=beside)
    assert ceiling(table, mean) == "A predictor that knew the true quality would be expected to reach about .850."
    assert ceiling(table._replace(n={"PQ": 36, "CE": 36, "CU": 0}), mean)
    assert ceiling(table._replace(n={"PQ": 36, "CE": 36, "CU": 9}), mean) == ""
    assert ceiling(table._replace(beside=[]), mean) == ""


def test_it_is_said_where_no_model_beats_knowing_the_system_alone():
    columns = {SRCC: [cell(0.598), cell(0.6)], MSE: [cell(0.123), cell(0.13)]}
    beside = [(SYSTEM_MEAN, "", {SRCC: 0.686, MSE: 0.101})]
    told = "Knowing only which system made a clip, its true mean, beats every variant in "
    assert (
        system_alone([block(columns, beside=beside)]) == told + "MSE (0.101 against 0.123), SRCC (.686 against .600)."
    )
    two = block({**columns, ("CE", "SRCC"): [cell(0.1), cell(0.2)]}, beside=beside)
    assert "MSE of PQ (0.101 against 0.123)" in system_alone([two])
    assert system_alone([block(columns, beside=[(SYSTEM_MEAN, "", {SRCC: 0.5, MSE: 0.2})])]) == ""
    assert system_alone([block(columns, "system", beside=beside)]) == ""


def test_the_headline_has_its_interval_in_words_once_or_the_reason_why_it_has_none():
    assert how_known(_column(BASE, n={"PQ": 12}), SRCC, 0) == "95 % interval .700 to .900, 12 systems, 3 seeds"
    one = _column(BASE._replace(num_seeds=1), level="utterance", n={"PQ": 1})
    assert how_known(one, SRCC, 0) == "95 % interval .700 to .900, 1 clip"
    assert how_known(_column(UNTOLD._replace(num_seeds=1), n={"PQ": 3}), SRCC, 0) == f"no interval: {UNTOLD.why}"
    text = answer(variants(*NAMES[:2]), [_column(BASE, OPEN), _column(BASE, OPEN, level="utterance")])
    assert text.count("95 %") == 1
    assert "<b>a</b> is highest with <b>.810</b>" in text


def test_one_seed_says_nothing_of_a_method():
    table = _column(BASE, BETTER, WORSE, one_seed=True)
    text = answer(variants(*NAMES), [table], "made up")
    assert ONE_SEED in text
    assert re.findall('class="note warn">([^<]*)<', text)[0] == "made up"
    for claim in ("Better than", "told apart", "differ from", "excluded"):
        assert claim not in text
    alone = answer(variants("base"), [_column(BASE._replace(is_best=True), one_seed=True)])
    assert ONE_SEED not in alone
    assert "SRCC at system level: <b>.800</b> (95 % interval .700 to .900, 3 seeds)" in re.sub(
        ", 36 systems", "", alone
    )


def test_what_is_undefined_is_said_to_be_and_names_are_escaped():
    nothing = _column(cell(math.nan), cell(math.nan))
    assert "SRCC at system level is undefined for every variant." in answer(variants("x", "y"), [nothing])
    text = answer(variants("<b>", "a&b"), [_column(BASE, OPEN)])
    assert "<b>a&amp;b</b> is highest" in text
    assert "the baseline, &lt;b&gt;, was" in text
