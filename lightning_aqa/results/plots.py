"""The plots of a run, drawn from its predictions.csv and history.csv alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_aqa.batch import Axis
from lightning_aqa.metrics.correlation import lcc, mse, rows_of_systems, srcc, system_means
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.files import HISTORY, PREDICTIONS
from lightning_aqa.results.history import read_history
from lightning_aqa.results.labels import Box, place_labels
from lightning_aqa.results.predictions import read_predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MOST_NAMES = 10
SYSTEM_SIZE = 36
"""Area of the marker of a system, in square points."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
}


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        yield


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure without pyplot, which would open a window and keep it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_run(folder: Path, axes: Sequence[Axis]) -> list[Path]:
    """Draw every plot of a run folder; return their paths.

    Args:
        folder: The run folder, with predictions.csv and, after training, history.csv.
        axes: The axes with their titles and scales.
    """
    splits, _ = read_predictions(folder / PREDICTIONS)
    pictures: dict[str, Figure] = {}
    with _style():
        for split, table in splits:
            if table.ids and np.isfinite(table.targets).any():
                pictures[_file_name("scatter", split)] = draw_scatter(table, axes, split)
        held_out = [(split, table) for split, table in splits if split != "train"] or splits
        pictures["error_by_domain"] = draw_error_by_domain(held_out, axes)
        if (folder / HISTORY).exists():
            pictures["learning_curves"] = draw_learning_curves(read_history(folder / HISTORY))
        for name, figure in pictures.items():
            figure.savefig(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in pictures]


def _file_name(kind: str, split: str) -> str:
    """Join the two; a split may have any name."""
    return re.sub(r"[^-.\w]", "_", f"{kind}_{split}")


def draw_scatter(table: Predictions, axes: Sequence[Axis], split: str) -> Figure:
    """Plot predicted against rated scores: one column per axis, clips above, systems below."""
    has_systems = len({system for system in table.systems if system}) > 1
    if len(axes) == 1:
        figure, beside = _figure(1, 1 + has_systems, 3.6, 3.8)
        panels = beside.T
    else:
        figure, panels = _figure(1 + has_systems, len(axes), 3.4, 3.7)
    domains = sorted(set(table.domains))
    named: list[tuple[Axes, list[str], Any, Any]] = []
    for a, axis in enumerate(axes):
        rated_N = np.isfinite(table.targets[:, a]) & np.isfinite(table.scores[:, a])
        targets_N, scores_N = table.targets[rated_N, a], table.scores[rated_N, a]
        colours = [COLOURS[domains.index(name) % len(COLOURS)] for name in _chosen(table.domains, rated_N)]
        _draw_points(panels[0, a], targets_N, scores_N, colours, f"{_named(axis)}, clips", size=14)
        if has_systems:
            rows = rows_of_systems(_chosen(table.systems, rated_N))
            both_N2 = np.stack([targets_N, scores_N], axis=1)
            truth_S, score_S = system_means(both_N2, np.full(both_N2.shape, True), rows).reshape(-1, 2).T
            title = f"{_named(axis)}, systems"
            _draw_points(panels[1, a], truth_S, score_S, [COLOURS[0]] * len(rows), title, size=SYSTEM_SIZE)
            named.append((panels[1, a], list(rows), truth_S, score_S))
    for row in panels:
        row[0].set_ylabel("predicted, score points")
    for panel in panels[-1] if len(axes) > 1 else panels[:, 0]:
        panel.set_xlabel("rated, score points")
    if len(domains) > 1:
        for domain, colour in zip(domains, cycle(COLOURS), strict=False):
            panels[0, -1].scatter([], [], s=16, color=colour, label=domain or "no domain")
        panels[0, -1].legend(loc="lower right", fontsize=7, handletextpad=0.2)
    figure.suptitle(f"Predicted against rated, split {split}", fontsize=11)
    figure.canvas.draw()  # now all stands where it will
    for panel, names, truth_S, score_S in named:
        if names:
            _label_points(panel, names, truth_S, score_S)
    return figure


def _named(axis: Axis) -> str:
    return axis.title if axis.title.lower() == axis.name.lower() else f"{axis.title} ({axis.name})"


def _chosen(names: Sequence[str], kept: Any) -> list[str]:
    return [name for name, keep in zip(names, kept, strict=True) if keep]


def _draw_points(panel: Axes, rated: Any, predicted: Any, colours: list[str], title: str, *, size: float) -> None:
    """Plot on a square with the same limits and ticks on both sides, the identity line, and the numbers above."""
    from matplotlib.ticker import MaxNLocator

    panel.set_title(f"{title}\n", fontsize=10)
    if len(rated) == 0:
        panel.text(0.5, 0.5, "nothing rated", transform=panel.transAxes, ha="center", color="#444444")
        panel.set(xticks=[], yticks=[], box_aspect=1)
        return
    values = np.concatenate([rated, predicted])
    margin = 0.06 * max(float(np.ptp(values)), 0.1)
    limits = float(values.min()) - margin, float(values.max()) + margin
    panel.axline((limits[0], limits[0]), slope=1, color="#999999", linewidth=1, linestyle="--", zorder=1)
    panel.scatter(rated, predicted, s=size, c=colours, alpha=0.6, linewidths=0, zorder=2)
    panel.set(xlim=limits, ylim=limits, box_aspect=1)
    for side in (panel.xaxis, panel.yaxis):
        side.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    numbers = f"n {len(rated)}  MSE {mse(predicted, rated):.3f}  "
    numbers += f"LCC {lcc(predicted, rated):.3f}  SRCC {srcc(predicted, rated):.3f}"
    panel.text(0.5, 1.02, numbers, transform=panel.transAxes, ha="center", fontsize=7.5, color="#444444")


def _label_points(panel: Axes, names: list[str], x: Any, y: Any) -> None:
    """Name the systems, those furthest from the line first, ten at most, where a name covers nothing."""
    order = np.argsort(-np.abs(np.asarray(x) - np.asarray(y)), kind="stable")
    points = panel.transData.transform(np.stack([x, y], axis=1)[order])
    texts = [panel.text(0, 0, names[i], fontsize=6.5, color="#555555", transform=None) for i in order[:MOST_NAMES]]
    extents = [text.get_window_extent() for text in texts]
    px_per_point = panel.figure.dpi / 72
    margin = 0.5 * px_per_point
    sizes = [(extent.width + 2 * margin, extent.height + 2 * margin) for extent in extents]
    boxes = place_labels(points, sizes, SYSTEM_SIZE**0.5 / 2 * px_per_point, Box(*panel.get_window_extent().extents))
    for text, box in zip(texts, boxes, strict=True):
        text.remove()
        if box is not None:
            panel.add_artist(_pinned(panel, text.get_text(), ((box.left + box.right) / 2, (box.low + box.high) / 2)))
    num_named = sum(box is not None for box in boxes)
    if num_named < len(names):
        numbers = panel.texts[0]
        numbers.set_text(f"{numbers.get_text()}  {num_named} named")


def _pinned(panel: Axes, words: str, centre: tuple[float, float]) -> Text:
    """Write words around a px of the figure as it is laid out, at a place that stays when it is saved finer."""
    from matplotlib.text import Text

    x, y = panel.transAxes.inverted().transform(centre)
    text = Text(x, y, words, fontsize=6.5, color="#555555", ha="center", va="center", transform=panel.transAxes)
    text.set_in_layout(False)
    return text


def draw_error_by_domain(splits: Sequence[tuple[str, Predictions]], axes: Sequence[Axis]) -> Figure:
    """Plot the spread of predicted minus rated, per split, domain and axis."""
    boxes = [[(label, errors) for label, errors in _errors(splits, a) if len(errors)] for a in range(len(axes))]
    figure, panels = _figure(len(axes), 1, 6.4, 1.0 + 0.3 * max(map(len, boxes)))
    for panel, axis, chosen in zip(panels[:, 0], axes, boxes, strict=True):
        _draw_boxes(panel, chosen)
        panel.axvline(0, color="#999999", linewidth=1, linestyle="--")
        panel.set_title(_named(axis), loc="left")
    meaning = "predicted minus rated, score points (box: middle half; whiskers: 1.5 box lengths)"
    figure.supxlabel(meaning, fontsize=STYLE["font.size"])
    return figure


def _draw_boxes(panel: Axes, boxes: Sequence[tuple[str, Any]]) -> None:
    if not boxes:
        panel.set_yticks([], [])
        return
    drawn = panel.boxplot(
        [errors for _, errors in boxes],
        orientation="horizontal",
        tick_labels=[f"{label}  (n {len(errors)})" for label, errors in boxes],
        widths=0.6,
        patch_artist=True,
        showfliers=False,
        medianprops={"color": "#222222"},
    )
    for box in drawn["boxes"]:
        box.set(facecolor="#a9cbe3", edgecolor=COLOURS[0])
    panel.invert_yaxis()


def _errors(splits: Sequence[tuple[str, Predictions]], a: int) -> Iterator[tuple[str, Any]]:
    for split, table in splits:
        error_N = table.scores[:, a] - table.targets[:, a]
        for domain in sorted(set(table.domains)):
            chosen_N = np.array([name == domain for name in table.domains]) & np.isfinite(error_N)
            yield " ".join(filter(None, (split, domain))), error_N[chosen_N]


def draw_learning_curves(history: Sequence[dict[str, float]]) -> Figure:
    """Plot each loss term over the epochs, training and validation, and the rank correlations on validation."""
    losses = _names(history, lambda name: name.count("/") == 1)
    terms = sorted({name.split("/")[1] for name in losses}, key=lambda term: (term == "loss", term))
    correlations = {level: _names(history, _is_srcc(level)) for level in ("utterance", "system")}
    drawn = {level: names for level, names in correlations.items() if names}
    figure, panels = _figure(1, len(terms) + len(drawn), 3.2, 2.9)
    for panel, term in zip(panels[0], terms, strict=False):
        for stage, colour in (("train", COLOURS[0]), ("val", COLOURS[1])):
            _draw_curve(panel, history, f"{stage}/{term}", stage, colour)
        panel.set_title("sum of the weighted terms" if term == "loss" else term)
    for panel, (level, names) in zip(panels[0, len(terms) :], drawn.items(), strict=True):
        for name, colour in zip(names, [*COLOURS, *COLOURS], strict=False):
            axis = name.rsplit("/", 1)[-1]
            _draw_curve(panel, history, name, axis, "#000000" if axis == "mean" else colour)
        panel.set_title(f"SRCC of {'clips' if level == 'utterance' else 'systems'}, validation")
    for panel in panels[0]:
        panel.set_xlabel("epoch")
        panel.legend(fontsize=7)
    return figure


def _is_srcc(level: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(f"val/{level}/SRCC/")


def _names(history: Sequence[dict[str, float]], keep: Callable[[str], bool]) -> list[str]:
    return [name for name in dict.fromkeys(name for row in history for name in row) if keep(name)]


def _draw_curve(panel: Axes, history: Sequence[dict[str, float]], name: str, label: str, colour: str) -> None:
    points = [(row["epoch"] + 1, row[name]) for row in history if name in row]
    if points:
        panel.plot(
            *zip(*points, strict=True), color=colour, label=label, linewidth=1.4, marker="." if len(points) < 3 else ""
        )


def draw_plan(
    path: Path, curves: Mapping[str, Sequence[tuple[float, float]]], unit: str, metric: str, size: float
) -> None:
    """Draw the smallest difference that a test can show by its size, one curve per number of seeds.

    Args:
        path: The picture.
        curves: Units and difference at each point, by label.
        unit: Name of the units, such as clip.
        metric: Metric of the difference.
        size: Units at hand, which a line marks; NaN is none.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    with _style():
        figure, ((panel,),) = _figure(1, 1, 5.4, 3.8)
        for (label, points), colour in zip(curves.items(), cycle(COLOURS), strict=False):
            panel.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.4)
        if np.isfinite(size):
            panel.axvline(size, color="#777777", linestyle=":", linewidth=1, label=f"here: {size:,.0f} {unit}s")
        panel.set(xscale="log", yscale="log", xlabel=f"{unit}s", ylabel=f"smallest difference of {metric}")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_formatter(NullFormatter())
        for side in (panel.xaxis, panel.yaxis):
            side.set_major_formatter("{x:g}")
        panel.legend(fontsize=7)
        figure.savefig(path)


def draw_edits(path: Path, effects: Sequence[Any], clips: int) -> None:
    """Draw the change of each axis's scores by each edit, with its interval.

    Args:
        path: The picture.
        effects: Rows with edit, heard, axis, mean, low, high and buys, axis by axis.
        clips: Number of clips.
    """
    names = list(dict.fromkeys(effect.axis for effect in effects))
    with _style():
        count = max(sum(effect.axis == name for effect in effects) for name in names)
        figure, (panels,) = _figure(1, len(names), 5.6, 0.9 + 0.19 * count)
        for panel, name in zip(panels, names, strict=True):
            own = [effect for effect in effects if effect.axis == name][::-1]
            y, means = np.arange(len(own)), np.array([effect.mean for effect in own])
            errors = np.nan_to_num(np.array([[e.mean - e.low, e.high - e.mean] for e in own]).T)
            colours = [COLOURS[1] if effect.buys else COLOURS[0] for effect in own]
            panel.hlines(y, means - errors[0], means + errors[1], colors=colours, linewidth=1.2)
            panel.scatter(means, y, color=colours, s=14, zorder=3)
            panel.axvline(0, color="#777777", linewidth=0.8)
            panel.set_yticks(y, [f"{effect.edit} ({effect.heard})" for effect in own], fontsize=7)
            panel.set(
                title=name, xlabel=f"change of the score, {clips} clip{'' if clips == 1 else 's'}", ylim=(-1, len(own))
            )
        figure.savefig(path)
