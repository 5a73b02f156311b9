"""Small pictures: round ticks, places worked by hand, nothing from outside unescaped."""

import re

import numpy as np
import pytest

from lightning_aqa.report.svg import Panel, Span, number, shade, span, ticks


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (Span(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Span(1, 5), [1, 2, 3, 4, 5]),
        (Span(-0.03, 0.021), [-0.02, 0, 0.02]),
        (Span(0.9, 0.96), [0.9, 0.92, 0.94, 0.96]),
        (Span(0, 3000), [0, 1000, 2000, 3000]),
    ],
)
def test_ticks_are_round_and_inside(of, expected):
    assert ticks(of) == pytest.approx(expected)


@pytest.mark.parametrize("low", [-7.3, 0.0, 1e-4, 998.0])
@pytest.mark.parametrize("width", [1e-3, 0.7, 6.0, 12345.0])
def test_there_are_a_handful_of_ticks_for_any_span(low, width):
    found = ticks(Span(low, low + width))
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 <= tick <= low + width + 1e-9 for tick in found)


def test_a_span_leaves_out_what_is_not_finite_and_has_a_width():
    assert span([2.0, np.nan, np.inf, 4.0], margin=0.0) == (2.0, 4.0)
    assert span([3.0], least=0.5) == (2.75, 3.25)
    assert span([]) == (0.0, 1.0)


def _panel():
    return Panel(Span(0, 10), Span(0, 1), width=120, height=70, margins=(5, 10, 15, 10))


def test_points_lie_where_they_are_by_hand():
    panel = _panel()
    assert [values.tolist() for values in panel.position([0, 10, 5], [0, 1, 0.5])] == [[10, 110, 60], [55, 5, 30]]
    panel.dots([5.0, np.nan], [0.5, 0.5], "c1", 3)
    assert panel.parts == ['<path class="dots c1" stroke-width="3" d="M60.0 30.0h0"/>']


def test_an_interval_ends_at_the_sides_of_the_panel():
    panel = _panel()
    panel.across(-5, 5, 0.5, "c0")
    panel.upright(5, 0.5, 7, "c0")
    panel.across(np.nan, 5, 0.5, "c0")
    assert [re.search(' d="(.*)"', part)[1] for part in panel.parts] == ["M10.0 30.0H60.0", "M60.0 30.0V5.0"]


def test_a_line_has_a_gap_where_a_value_is_missing():
    panel = _panel()
    panel.line([0, 2, 4, 6, 8], [0, 0, np.nan, 0, 0], "c0")
    assert re.search(' d="(.*)"', panel.parts[0])[1] == "M10.0 55.0L30.0 55.0M70.0 55.0L90.0 55.0"


def test_words_from_outside_are_escaped_and_long_names_cut():
    panel = _panel()
    panel.mark(1, 1, "c0", "<script>")
    panel.text(1, 1, "a<b")
    panel.side_text(0.5, "&" * 30)
    panel.x_axis('"x" <')
    whole = panel.svg('"quoted"')
    assert "<script>" not in whole
    assert "a&lt;b" in whole
    assert 'aria-label="&quot;quoted&quot;"' in whole
    assert f"{'&amp;' * 21}…</text>" in whole


def test_numbers_and_shades():
    assert [number(value) for value in (2.0, 0.125, 1234567.0)] == ["2", "0.125", "1.23457e+06"]
    assert [shade(value, Span(0, 9)) for value in (-1, 0, 1.5, 8.5, 9, 99)] == [0, 0, 1, 8, 8, 8]
