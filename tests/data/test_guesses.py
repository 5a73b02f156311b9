"""The axis that nobody names: the column that holds scores, a usual scale, and lines to choose from."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.data.guesses import USUAL_SCALES, axes_option, guess_scales, plausible_axes, usual_scale
from lightning_aqa.data.parsing import Row
from lightning_aqa.data.validation import CorpusError

PATH = Path("ratings.csv")


def rows(columns):
    """Rows of a table, by column; files are numbered."""
    length = len(next(iter(columns.values())))
    named = {"file": [f"{n}.wav" for n in range(length)], **columns}
    return [Row(f"{PATH}:{n + 2}", {name: cells[n] for name, cells in named.items()}) for n in range(length)]


def guess(columns, **roles):
    return guess_scales(PATH, rows(columns), roles)


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        ("1 2 5", [1, 5]), ("2 3 4", [1, 5]), ("1.5 2.5 4.5", [1, 5]), ("-3 0 2", [-3, 3]), ("1 97 40", [0, 100]),
        ("0 5 3", [0, 5]), ("1 7 6", [1, 7]), ("1 10 9", [1, 10]), ("0.2 0.9 1", [0, 1]), ("1 1 1", [1, 5]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["mos", "Overall Quality", "dMOS", "rater_score"])
def test_a_usual_scale_holds_the_scores(scores, scale, name):
    assert guess({name: scores.split()}) == {name: scale}


@given(st.sampled_from(USUAL_SCALES), st.data())
def test_a_scale_holds_all_scores_whatever_the_order_of_the_rows(scale, data):
    scores = data.draw(st.lists(st.integers(2 * scale[0], 2 * scale[1]).map(lambda n: n / 2), min_size=2, max_size=19))
    ((low, high),) = guess({"mos": list(map(str, scores))}).values()
    assert low <= min(scores) <= max(scores) <= high
    assert high - low <= scale[1] - scale[0] or max(scores) == min(scores) == 1
    order = data.draw(st.permutations(scores))
    assert guess({"mos": list(map(str, order))}) == {"mos": [low, high]}


@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.sampled_from(
    ["listener_id", "subject", "clipID", "age", "Year", "duration_s", "sample_rate", "num_ratings", "start", "mos_std"]
))  # fmt: skip
def test_what_is_no_score_is_not_an_axis(numbers, other):
    assert list(guess({"mos": ["3"] * len(numbers), other: list(map(str, numbers))})) == ["mos"]
    assert plausible_axes(PATH, rows({other: list(map(str, numbers))}), {}) == []


def test_a_column_whose_name_says_nothing_is_taken_where_it_alone_looks_like_scores():
    assert guess({"bright": ["3", "1", "5", "2"], "take": ["1", "2", "3", "4"], "flag": ["0", "1", "0", "1"]}) == {
        "bright": [1, 5]
    }


def test_several_columns_are_lines_to_choose_from():
    with pytest.raises(CorpusError, match="several axes") as caught:
        guess({"overall": ["1", "5", "3"], "clarity": ["4", "2", "5"]})
    options = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert options == [
        "--data.axes='{overall: [1, 5], clarity: [1, 5]}'", "--data.axes='{overall: [1, 5]}'",
        "--data.axes='{clarity: [1, 5]}'",
    ]  # fmt: skip


def test_no_column_or_one_with_a_slip_is_told_with_a_line():
    with pytest.raises(CorpusError, match=r"no column that looks like scores.*--data\.axes="):
        guess({"comment": ["good", "bad"]})
    with pytest.raises(CorpusError, match=r"nearly all in \[1, 5\].*--data.axes='\{mos: \[1, 5\]\}' or"):
        guess({"mos": ["3"] * 39 + ["55"]})
    with pytest.raises(CorpusError, match="no usual scale"):
        guess({"mos": ["-40", "160"]})


def test_a_column_of_axes_gives_one_axis_per_name():
    table = {"axis": ["MI", "TA"] * 2, "score": ["1", "50", "5", "99"]}
    found = [Row(f"{n}", {"file": f"{n // 2}.wav", **{k: v[n] for k, v in table.items()}}) for n in range(4)]
    assert [(axis.name, axis.scale) for axis in plausible_axes(PATH, found, {})] == [("MI", (1, 5)), ("TA", (0, 100))]


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: name.strip() == name))
def test_an_option_is_read_as_the_name_that_it_writes(name):
    import shlex

    (word,) = shlex.split(axes_option({name: [1, 5]}))
    if json.dumps(name) == f'"{name}"':  # a YAML reader folds line ends and the like even in quotes
        assert yaml.safe_load(word.removeprefix("--data.axes=")) == {name: [1, 5]}


def test_no_score_lies_outside_the_usual_scale():
    assert usual_scale([0.5, 100]) == (0, 100)
    assert usual_scale([101]) is None
