"""How numbers and marks are written; the CSV and the Markdown of a report."""

import csv
import math

import pytest

from lightning_aqa.metrics.uncertainty import Interval
from lightning_aqa.results.comparison import ONE_SEED
from lightning_aqa.results.tables import (
    Marks,
    axes_of,
    columns_of,
    legend_of,
    marks_of,
    reasons_of,
    shown,
    shown_interval,
    signed,
    write_markdown,
)
from tests.small_table import block, cell, difference, variants

SRCC = ("PQ", "SRCC")


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [(0.9999, "SRCC", "1.000"), (-0.0001, "LCC", ".000"), (0.05, "MSE", "0.050"), (math.nan, "MSE", "\u2013")],
)
def test_numbers_are_written_with_three_decimals(value, metric, text):
    assert shown(value, metric) == text


def test_an_interval_is_written_as_it_is_or_not_at_all():
    assert shown_interval(Interval(-0.2, 0.3), "SRCC") == "\u2212.200, .300"
    assert shown_interval(Interval(math.nan, 1.0), "MSE") == ""
    assert [signed(value, "SRCC") for value in (0.02, -0.02)] == ["+.020", "\u2212.020"]


def test_the_headline_number_comes_first():
    table = block({(axis, metric): [cell(0.5)] for axis in ("PQ", "CE", "mean") for metric in ("MSE", "SRCC")})
    assert axes_of(table) == ["mean", "PQ", "CE"]
    assert columns_of(table)[:2] == [("mean", "SRCC"), ("mean", "MSE")]


def _marks(table, column=SRCC):
    return [marks_of(table, v, column) for v in range(len(table.rows))]


def test_marks_say_something_or_are_not_there():
    best, tied, apart = cell(0.9, best=True, tied=True), cell(0.89, tied=True), cell(0.5, verdict="worse")
    assert _marks(block({SRCC: [best, tied, apart]})) == [Marks(True), Marks(False, "\u2020"), Marks(against="*")]
    assert _marks(block({SRCC: [best, apart]})) == [Marks(True), Marks(against="*")]
    assert _marks(block({SRCC: [tied, best]})) == [Marks(), Marks(True, "\u2020")]
    assert _marks(block({SRCC: [best, cell(0.89, tied=True, verdict="equal"), apart]}))[1] == Marks(
        False, "\u2020", "="
    )
    assert _marks(block({SRCC: [best]})) == [Marks()]
    assert _marks(block({SRCC: [best, cell(0.89, tied=True, why="3 systems: an interval needs 6")]})) == [Marks()] * 2
    assert _marks(block({SRCC: [best, tied, apart]}, one_seed=True)) == [Marks()] * 3
    assert _marks(block({SRCC: [best, cell(math.nan)]})) == [Marks(True, "\u2020"), Marks()]


def test_the_legend_says_what_is_there_and_no_more():
    table = block({SRCC: [cell(0.9, best=True, tied=True, deviation=0.1), cell(0.8, tied=True)]})
    assert (
        legend_of(variants("x"), [table])
        == "Mean ± standard deviation over seeds; [95 % interval over clips and seeds]."
    )
    two = variants("x", "y")
    assert "differs from the baseline, x. All at 5 %" in legend_of(two, [table])
    assert "=: equal to it within .010." in legend_of(two, [table._replace(equivalence=0.01)])
    one = block({SRCC: [cell(0.9), cell(0.8)]}, "system", one_seed=True)
    assert legend_of(two, [one]) == f"[95 % interval over systems]. {ONE_SEED}"
    assert "interval over systems and prompts and seeds]" in legend_of(two, [table], "system+prompt")
    assert "over clips (utterance level) or systems (system level)" in legend_of(two, [table, one])


def test_a_number_without_an_interval_is_there_with_the_reason(tmp_path):
    few = "3 systems: a perfect order comes by luck in 1 of 3"
    table = block({SRCC: [cell(1.0, why=few)], ("CE", "SRCC"): [cell(0.9, (0.8, 0.95))]}, "system")
    assert reasons_of(table) == [f"{few} (PQ)"]
    assert reasons_of(block({SRCC: [cell(1.0, why=few)]})) == [few]
    two = block({SRCC: [cell(1.0, why=few)], ("PQ", "MSE"): [cell(1.0, why="an interval needs 6")]})
    assert reasons_of(two) == [f"{few} (SRCC)", "an interval needs 6 (MSE)"]
    assert reasons_of(block({SRCC: [cell(math.nan, why=few)]})) == []
    write_markdown(tmp_path / "t.md", _with_links(tmp_path), [table])
    text = (tmp_path / "t.md").read_text()
    assert "| 1.000 | .900 [.800, .950] |" in text
    assert f"No interval: {few} (PQ)." in text


def _with_links(folder):
    of = variants("x")
    of.variants[0].runs[0].folder = folder
    return of


def test_markdown_has_the_same_marks(tmp_path):
    best, tied = cell(0.9, best=True, tied=True), cell(0.89, tied=True)
    worse = cell(0.5, against=difference(-0.4), verdict="worse", deviation=0.01)
    of = variants("x", "y", "z")
    for variant in of.variants:
        variant.runs[0].folder = tmp_path
    write_markdown(tmp_path / "t.md", of, [block({SRCC: [best, tied, worse]})])
    text = (tmp_path / "t.md").read_text()
    assert "| x | **.900** |" in text
    assert "| y | .890\u2020 |" in text
    assert "| z | .500\\* ± .010 |" in text


def test_the_csv_has_every_number_with_its_config_and_command(report, sweep):
    with open(report / "tables.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    named = [row for row in rows if row["row"].startswith("margin_scale")]
    assert len(named) == 6 * 4 * 3 * 4
    first = named[0]
    assert (report / first["config"]).resolve() == (sweep / "t0" / "config.yaml").resolve()
    assert first["command"] == "python -m x"
    assert {row["row"] for row in rows} - {row["row"] for row in named} == {"Ceiling", "Split half", "System mean"}
    assert {row["verdict"] for row in named} <= {"", "better", "worse", "equal", "undecided"}


def test_the_markdown_is_a_table_with_links(report):
    text = (report / "tables.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in lines if not line.startswith("|--")} == {12}
    assert "](<../" in text
    assert "margin\\_scale=0.1" in text
