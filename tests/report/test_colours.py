"""Colours of categories: a deuteranope tells every two apart, in both themes, and all stand out from the page."""

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest

CSS = files("lightning_aqa.report").joinpath("static", "page.css").read_text(encoding="utf-8")
# Linear RGB as a deuteranope sees it: Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009, severity 1.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def _themes():
    """Return the variables of the light theme and of both ways into the dark one."""
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", CSS)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", text)) for text in blocks if "--c7" in text]


def _linear(colour):
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _lab(linear):
    t = TO_XYZ @ np.clip(linear, 0, 1) / WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_measure_is_that_of_the_books():
    assert _lab(_linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.02)
    assert _lab(_linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


@pytest.mark.parametrize("theme", range(3))
def test_a_deuteranope_tells_every_two_categories_apart(theme):
    colours = _themes()[theme]
    seen = [_lab(DEUTERANOPIA @ _linear(colours[f"c{i}"])) for i in range(8)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 10
    whole = [_lab(_linear(colours[f"c{i}"])) for i in range(8)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(whole, 2)) > 20


@pytest.mark.parametrize("theme", range(3))
def test_every_category_stands_out_from_the_page(theme):
    colours = _themes()[theme]
    paper, *light = (
        float(TO_XYZ[1] @ _linear(colours[name])) + 0.05 for name in ("paper", *(f"c{i}" for i in range(8)))
    )
    assert min(max(paper, of) / min(paper, of) for of in light) >= 3
