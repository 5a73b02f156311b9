"""The plots: drawn from any table that a run can leave, with what they must show in them."""

import math

import numpy as np
import pytest
from PIL import Image

from lightning_aqa.batch import Axis
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.history import write_history
from lightning_aqa.results.plots import draw_error_by_domain, draw_learning_curves, draw_run, draw_scatter
from lightning_aqa.results.predictions import write_predictions


def _axes(count):
    return [Axis(name, f"Axis {name}", 1, 5) for name in "ABCD"[:count]]


def _table(num_clips, num_axes=1, systems=("",), domains=("",)):
    generator = np.random.default_rng(num_clips)
    targets = generator.uniform(1, 5, (num_clips, num_axes))
    names = [[group[i % len(group)] for i in range(num_clips)] for group in (systems, domains)]
    ids = [f"c{i}" for i in range(num_clips)]
    return Predictions(ids, *names, targets, targets + generator.normal(0, 0.3, targets.shape))


def _titles(figure):
    return [panel.get_title("center").strip() or panel.get_title("left") for panel in figure.axes]


def _texts(panel):
    return " ".join(text.get_text() for text in panel.texts)


def test_clips_above_and_systems_below_for_each_axis():
    figure = draw_scatter(_table(12, 2, systems=("S1", "S2", "S3")), _axes(2), "dev")
    assert _titles(figure) == [
        "Axis A (A), clips", "Axis B (B), clips", "Axis A (A), systems", "Axis B (B), systems",
    ]  # fmt: skip
    assert "split dev" in figure.get_suptitle()
    assert [len(panel.collections[0].get_offsets()) for panel in figure.axes] == [12, 12, 3, 3]
    assert {"S1", "S2", "S3"} <= set(_texts(figure.axes[2]).split())


def test_a_panel_is_square_and_tells_its_numbers():
    table = _table(30)
    (panel,) = draw_scatter(table, _axes(1), "test").axes
    assert panel.get_xlim() == panel.get_ylim()
    points = panel.collections[0].get_offsets()
    assert np.allclose(points, np.stack([table.targets[:, 0], table.scores[:, 0]], 1))
    error = np.mean((table.targets - table.scores) ** 2)
    assert f"n 30  MSE {error:.3f}  LCC" in _texts(panel)


@pytest.mark.parametrize("systems", [("",), ("only",)])
def test_without_systems_to_compare_there_is_one_row(systems):
    assert len(draw_scatter(_table(8, 3, systems), _axes(3), "test").axes) == 3


def test_a_legend_names_every_domain_where_there_are_several():
    many = tuple(f"domain {i:02d}" for i in range(12))
    legend = draw_scatter(_table(24, 1, domains=many), _axes(1), "test").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(many)
    assert draw_scatter(_table(24, 1, domains=("music",)), _axes(1), "test").axes[0].get_legend() is None


def test_an_axis_that_nobody_rated_says_so_and_the_others_are_drawn():
    table = _table(10, 3, systems=("S1", "S2"))
    table.targets[:, 1] = np.nan
    figure = draw_scatter(table, _axes(3), "test")
    shown = [_texts(panel) == "nothing rated" for panel in figure.axes]
    assert shown == [False, True, False, False, True, False]


def test_clips_without_a_target_or_a_finite_score_are_left_out():
    table = _table(10)
    table.targets[0], table.scores[1], table.scores[2] = np.nan, np.nan, np.inf
    (panel,) = draw_scatter(table, _axes(1), "test").axes
    assert len(panel.collections[0].get_offsets()) == 7
    assert "n 7 " in _texts(panel)


def test_the_error_is_boxed_per_split_and_domain():
    dev, test = _table(8, 2, domains=("music", "speech")), _table(6, 2)
    dev.targets[0, 0] = np.nan
    figure = draw_error_by_domain([("dev", dev), ("test", test)], _axes(2))
    labels = [[label.get_text() for label in panel.get_yticklabels()] for panel in figure.axes]
    assert labels == [
        ["dev music  (n 3)", "dev speech  (n 4)", "test  (n 6)"],
        ["dev music  (n 4)", "dev speech  (n 4)", "test  (n 6)"],
    ]  # fmt: skip
    assert _titles(figure) == ["Axis A (A)", "Axis B (B)"]


def test_a_figure_grows_with_its_boxes():
    heights = [
        draw_error_by_domain([("dev", _table(40, 1, domains=tuple(map(str, range(n)))))], _axes(1)).get_figheight()
        for n in (2, 20)
    ]
    assert heights[1] > heights[0] + 18 * 0.2


def test_a_curve_per_term_and_stage_and_one_panel_of_correlations_per_level():
    history = [
        {"epoch": epoch, "train/mse": 1 / (epoch + 1), "train/loss": 2.0, "val/mse": 1.5, "val/utterance/SRCC/A": 0.5}
        for epoch in range(3)
    ]
    history[1]["val/utterance/SRCC/mean"] = math.nan
    figure = draw_learning_curves(history)
    assert _titles(figure) == ["mse", "sum of the weighted terms", "SRCC of clips, validation"]
    assert [[line.get_label() for line in panel.lines] for panel in figure.axes] == [
        ["train", "val"], ["train"], ["A", "mean"],
    ]  # fmt: skip
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]


WEIRD = {
    "one clip": _table(1),
    "constant predictions": _table(6, 2, systems=("S1", "S2"))._replace(scores=np.full((6, 2), 3.0)),
    "constant targets": _table(6)._replace(targets=np.full((6, 1), 3.0)),
    "two clips of one system": _table(2, 1, systems=("S1",)),
    "systems on unrated clips alone": _table(6, 1, systems=("S1", "S2"))._replace(
        systems=["S1", "S2", "", "", "", ""], targets=np.array([[np.nan]] * 2 + [[2.0], [3.0], [4.0], [5.0]])
    ),
    "nothing finite": _table(4)._replace(scores=np.full((4, 1), np.nan)),
    "names of mathematics": _table(4, 1, systems=("$\\bad$", "b_$"), domains=("$x$", "<b>")),
}


@pytest.mark.parametrize("name", WEIRD)
def test_a_weird_table_is_drawn(tmp_path, name):
    table = WEIRD[name]
    axes = _axes(table.scores.shape[1])
    write_predictions(tmp_path / "predictions.csv", [("dev/own split", table)], [axis.name for axis in axes])
    paths = draw_run(tmp_path, axes)
    assert [path.name for path in paths] == ["scatter_dev_own_split.png", "error_by_domain.png"]
    for path in paths:
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 3


def test_a_run_s_pictures_follow_from_its_two_files(tmp_path):
    unrated = _table(5)._replace(targets=np.full((5, 1), np.nan))
    write_predictions(tmp_path / "predictions.csv", [("train", _table(5)), ("eval", unrated)], ["A"])
    write_history(tmp_path / "history.csv", [{"epoch": 0, "train/loss": 1.0}])
    names = [path.name for path in draw_run(tmp_path, _axes(1))]
    assert names == ["scatter_train.png", "error_by_domain.png", "learning_curves.png"]
    assert {path.name for path in tmp_path.iterdir()} == {*names, "predictions.csv", "history.csv"}


def test_drawing_leaves_the_user_s_settings_and_figures_alone(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    write_predictions(tmp_path / "predictions.csv", [("train", _table(5))], ["A"])
    draw_run(tmp_path, _axes(1))
    assert dict(mpl.rcParams) == before
