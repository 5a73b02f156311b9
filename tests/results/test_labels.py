"""Names in scatter plots cover neither each other nor a marker, and lie inside the axes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.batch import Axis
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.labels import Box, place_labels
from lightning_aqa.results.plots import draw_scatter

AREA = Box(0, 0, 200, 150)


def _check(points, sizes, radius, boxes):
    """The three promises."""
    found = [box for box in boxes if box is not None]
    assert len(boxes) == len(sizes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(found, 2))
    markers = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    assert not any(box.overlaps(marker) for box in found for marker in markers)
    assert all(box.within(AREA) for box in found)


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 150)), min_size=1, max_size=30),
    st.lists(st.tuples(st.floats(1, 80), st.floats(1, 20)), min_size=1, max_size=30),
    st.floats(0, 8),
)
def test_no_label_covers_another_or_a_marker_or_the_edge(points, sizes, radius):
    sizes = sizes[: len(points)]
    _check(points, sizes, radius, place_labels(np.array(points), sizes, radius, AREA))


def test_a_lone_label_is_always_placed_and_points_on_one_spot_get_one_each_while_there_is_room():
    for x, y in itertools.product((5.0, 100.0, 195.0), (5.0, 75.0, 145.0)):
        assert place_labels(np.array([[x, y]]), [(30, 8)], 3, AREA) != [None]
    boxes = place_labels(np.full((12, 2), [100.0, 75.0]), [(30, 8)] * 12, 3, AREA)
    assert sum(box is not None for box in boxes) >= 8
    assert place_labels(np.array([[100.0, 75.0]]), [(300, 8)], 3, AREA) == [None]


@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_names_of_a_drawn_figure_do_not_overlap(spread):
    generator = np.random.default_rng(3)
    means = 3 + spread * generator.normal(size=12)
    systems = [f"S{i:03d}" for i in range(12) for _ in range(3)]
    targets = (means.repeat(3) + 0.001 * generator.normal(size=36))[:, None]
    scores = targets + 0.2 * spread * generator.normal(size=(36, 1))
    table = Predictions([str(i) for i in range(36)], systems, [""] * 36, targets, scores)
    figure = draw_scatter(table, [Axis("q", "Quality", 1, 5)], "test")
    panel = figure.axes[1]
    figure.canvas.draw()
    names = [text for text in panel.texts if text.get_text().startswith("S0")]
    assert 5 <= len(names) <= 10
    assert f"{len(names)} named" in panel.texts[0].get_text()
    boxes = [Box(*text.get_window_extent().extents) for text in names]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(box.within(Box(*panel.get_window_extent().extents)) for box in boxes)
    half = 3 * figure.dpi / 72
    dots = panel.transData.transform(panel.collections[0].get_offsets())
    assert not any(box.overlaps(Box(x - half, y - half, x + half, y + half)) for box in boxes for x, y in dots)
