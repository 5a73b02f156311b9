"""Tables for an article: chosen columns, every mark, no bare sign; compiled where TeX is there."""

import re
import shutil
import subprocess

import pytest

from lightning_aqa.results.latex import check_columns, choose_columns, escaped, write_latex
from tests.small_table import block, cell, difference, variants

METRICS = ("MSE", "LCC", "SRCC", "KTAU")
PDFLATEX = shutil.which("pdflatex")
HOSTILE = "margin_scale=0.25, preference_factor=0.5 & 50 % of {a}^b~c\\d $x$ #1 <e> \u2212 |f|"


def _table(axes, cells, level="utterance", **more):
    positive = [
        one._replace(value=abs(one.value), interval=one.interval._replace(low=abs(one.interval.low))) for one in cells
    ]
    columns = {(axis, metric): positive if metric == "MSE" else cells for axis in axes for metric in METRICS}
    return block(columns, level, **more)


@pytest.mark.parametrize(
    ("axes", "chosen"),
    [
        (["PQ"], [("PQ", metric) for metric in ("SRCC", "LCC", "KTAU", "MSE")]),
        (["a", "b", "mean"], [(axis, metric) for axis in ("mean", "a", "b") for metric in ("SRCC", "MSE")]),
        (["a", "b", "c", "d", "mean"], [(axis, "SRCC") for axis in ("mean", "a", "b", "c", "d")]),
        ([*"abcdefgh", "mean"], [(axis, "SRCC") for axis in ("mean", *"abcde")]),
    ],
)
def test_without_a_choice_the_headline_numbers_that_fit_an_article_are_taken(axes, chosen):
    assert choose_columns(_table(axes, [cell(0.5)])) == chosen


def test_columns_are_chosen_by_metric_axis_or_both():
    table = _table(["a", "b", "mean"], [cell(0.5)])
    assert choose_columns(table, ["LCC"]) == [(axis, "LCC") for axis in ("mean", "a", "b")]
    assert choose_columns(table, ["b"]) == [("b", metric) for metric in ("SRCC", "LCC", "KTAU", "MSE")]
    assert choose_columns(table, ["MSE", "SRCC", "b", "a"]) == [
        ("b", "MSE"), ("b", "SRCC"), ("a", "MSE"), ("a", "SRCC")
    ]  # fmt: skip
    told = "--columns: no metric or axis 'SRC'; there are MSE, LCC, SRCC, KTAU, a, b, mean. Did you mean 'SRCC'?"
    with pytest.raises(ValueError, match=re.escape(told)):
        check_columns(["LCC", "SRC"], ["a", "b"])


def _written(folder, **more):
    best = cell(0.212, (0.132, 0.284), best=True, tied=True, deviation=0.004)
    tied = cell(0.225, (0.1425, 0.301), difference(0.01, 0.0, 0.02), "equal", tied=True, deviation=0.007)
    worse = cell(-0.309, (-0.5, 0.1), difference(0.1, 0.05, 0.2), "worse", deviation=0.023)
    rows = [best, tied, worse, cell(0.3)]
    beside = [("Ceiling", "", {("MI", "SRCC"): 0.9, ("TA", "SRCC"): 0.8})]
    tables = [
        _table(["MI", "TA", "mean"], rows, level, n={"MI": 12, "TA": 12}, beside=beside, domain=domain, **more)
        for level in ("system", "utterance")
        for domain in ("", "music_50%")
    ]
    write_latex(folder / "tables.tex", variants("regression", "adaptive_margin", HOSTILE, "few"), tables)
    return (folder / "tables.tex").read_text()


def test_a_table_has_a_caption_a_label_and_the_marks_of_the_page(tmp_path):
    text = _written(tmp_path, equivalence=0.01)
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 4
    assert "\\label{tab:system}" in text
    assert "\\label{tab:utterance-music-50-}" in text
    assert "\\caption{Utterance level, music\\_50\\%, split test (n = 12). Mean $\\pm$" in text
    assert "\\stacked{\\textbf{0.212}\\\\[-1pt] \\scriptsize $\\pm$0.004\\\\[-1pt] \\scriptsize [0.132, 0.284]}" in text
    assert ".225$^{\\dagger =}$" in text
    assert "$-$.309$^{*}$" in text
    bodies = [line for line in text.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    assert {line.count(" & ") for line in bodies} == {6}
    assert not set(text) & set("\u2212\u2013\u2020±")
    assert "textbf" not in _written(tmp_path, one_seed=True)
    few = _table(["MI"], [cell(1.0, best=True, why="3 systems: an interval needs 6"), cell(0.5)], "system")
    write_latex(tmp_path / "few.tex", variants("a", "b"), [few])
    assert "No interval: 3 systems: an interval needs 6.}" in (tmp_path / "few.tex").read_text()


def test_signs_of_latex_are_escaped():
    assert escaped("a_b & 50 %") == "a\\_b \\& 50 \\%"


@pytest.mark.skipif(PDFLATEX is None, reason="needs the program pdflatex")
def test_the_tables_compile_and_fit_the_text_of_an_article(tmp_path):
    _written(tmp_path)
    head = "\\documentclass{article}\\usepackage{booktabs,tabularx}\\begin{document}"
    (tmp_path / "article.tex").write_text(f"{head}\\input{{tables}}\\end{{document}}")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "article"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "article.pdf").stat().st_size > 1000
