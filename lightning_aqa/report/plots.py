"""Pictures of one variant: predicted against rated scores, systems in their order, errors by rating."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import exact_mean, rows_of_systems
from lightning_aqa.metrics.pairwise import PairAccuracy
from lightning_aqa.report.svg import NUM_COLOURS, Panel, Span, number, span
from lightning_aqa.results.tables import DASH, MINUS

Array = NDArray[np.float64]
NUM_BINS = 6
MANY = 1500
"""From so many clips on dots are nearly transparent, so that their density is seen."""


def colour(index: int) -> str:
    """Return the class of the colour of a category."""
    return f"c{index % NUM_COLOURS}"


def draw_clips(targets: Array, scores: Array, domains: Sequence[str], label: str, x: Span, y: Span) -> str:
    """Plot the predicted against the rated score of each clip, coloured by domain; on one scale with its identity line.

    Args:
        targets: Shape ``(N,)``; NaN where not rated.
        scores: Shape ``(N,)``.
        domains: Domain of each clip.
        label: What a screen reader says.
        x: What the side of the ratings covers.
        y: What the side of the predictions covers.
    """
    panel = _square(x, y)
    names = sorted(set(domains))
    size = 4.5 if len(targets) < 500 else 3.2 if len(targets) < MANY else 2.6
    for index, name in enumerate(names):
        chosen = np.array([domain == name for domain in domains]) & np.isfinite(targets)
        panel.dots(targets[chosen], scores[chosen], colour(index) + (" many" if len(targets) >= MANY else ""), size)
    return panel.svg(label)


def shared_span(parts: Sequence[Array]) -> Span:
    """Return the span of the scores of several pictures, so that they can be compared by eye."""
    return span(np.concatenate([part.ravel() for part in parts]), 0.05, 0.1)


def _square(x: Span, y: Span) -> Panel:
    panel = Panel(x, y, width=320, height=308, margins=(8, 8, 40, 46))
    panel.x_axis("rated")
    panel.y_axis("predicted")
    if x == y:
        panel.line(x, y, "identity")
    return panel


class SystemMeans:
    """Rated and predicted mean of each system, and half the width of their 95 % intervals over its clips.

    Args:
        targets: Shape ``(N,)``; NaN where not rated.
        scores: Shape ``(N,)``.
        systems: System of each clip.
        scale: Lowest and highest rating, at which the intervals end.
    """

    def __init__(self, targets: Array, scores: Array, systems: Sequence[str], scale: Span) -> None:
        rated = np.flatnonzero(np.isfinite(targets))
        rows = {name: rated[of] for name, of in rows_of_systems([systems[i] for i in rated.tolist()]).items()}
        self.names = sorted(rows, key=lambda name: (-exact_mean(targets[rows[name]]), name))
        self.sizes = [len(rows[name]) for name in self.names]
        self.rated, self.predicted = (
            np.array([exact_mean(values[rows[name]]) for name in self.names]) for values in (targets, scores)
        )
        self.rated_ends, self.predicted_ends = (
            _ends([values[rows[name]] for name in self.names], means, scale)
            for values, means in ((targets, self.rated), (scores, self.predicted))
        )

    @property
    def parts(self) -> list[Array]:
        """All that a picture of them has to cover."""
        return [self.rated, self.rated_ends, self.predicted, self.predicted_ends]

    def position(self, predicted: bool) -> NDArray[np.intp]:
        """Return the place of each system, 1 for the best."""
        values = self.predicted if predicted else self.rated
        positions: NDArray[np.intp] = np.argsort(np.argsort(-values, kind="stable"), kind="stable") + 1
        return positions


def _half_width(values: Array) -> float:
    """Half the width of Student's 95 % interval of a mean."""
    if len(values) < 2:
        return math.nan
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def _ends(clips: Sequence[Array], means: Array, scale: Span) -> Array:
    """Return the ends of the intervals of means, shape ``(2, S)``, cut to the scale unless the mean lies outside."""
    halves = np.array([_half_width(values) for values in clips])
    low, high = np.minimum(scale.low, means), np.maximum(scale.high, means)
    return np.stack([np.maximum(means - halves, low), np.minimum(means + halves, high)])


def draw_systems(means: SystemMeans, label: str, both: Span) -> str:
    """Plot the predicted against the rated mean of each system, with the intervals of both.

    Args:
        means: Of the systems.
        label: What a screen reader says.
        both: What both sides cover.
    """
    panel = _square(both, both)
    for i in range(len(means.names)):
        rated, predicted = float(means.rated[i]), float(means.predicted[i])
        panel.upright(rated, means.predicted_ends[0, i], means.predicted_ends[1, i], "c0 faint")
        panel.across(means.rated_ends[0, i], means.rated_ends[1, i], predicted, "c0 faint")
    for i, name in enumerate(means.names):
        note = f"{name}: rated {means.rated[i]:.2f}, predicted {means.predicted[i]:.2f}, n = {means.sizes[i]}"
        panel.mark(float(means.rated[i]), float(means.predicted[i]), "c0", note, radius=4)
    return panel.svg(label)


def draw_ranking(means: SystemMeans, label: str, both: Span) -> str:
    """List the systems from best to worst as rated, each with its rated and its predicted mean and their intervals.

    Args:
        means: Of the systems.
        label: What a screen reader says.
        both: What the side of the scores covers.
    """
    count = len(means.names)
    longest = max((len(name) for name in means.names), default=0)
    left = min(16 + 6.8 * min(longest, 22), 150)
    rows = Span(-0.6, count - 0.4)
    panel = Panel(both, rows, width=360, height=58 + 19 * count, margins=(8, 34, 40, left))
    panel.x_axis("mean score, best as rated on top")
    positions, message = means.position(predicted=True), means.position(predicted=False)
    for i, name in enumerate(means.names):
        y = count - 1 - i
        rated, predicted = float(means.rated[i]), float(means.predicted[i])
        panel.side_text(y, name)
        panel.across(means.rated_ends[0, i], means.rated_ends[1, i], y + 0.17, "ink")
        panel.across(means.predicted_ends[0, i], means.predicted_ends[1, i], y - 0.17, "c0")
        note = f"{name}: rated {rated:.2f}, place {message[i]}; predicted {predicted:.2f}, place {positions[i]}"
        panel.mark(rated, y + 0.17, "ink", note, radius=3.2)
        panel.mark(predicted, y - 0.17, "c0", note, radius=3.4, shape="diamond")
        moved = int(message[i] - positions[i])
        if moved:
            arrow = "\u25b2" if moved > 0 else "\u25bc"
            panel.text(panel.x.high, y, f"{arrow}{abs(moved)}", "moved", dx=6)
    return panel.svg(label)


def draw_calibration(targets: Array, scores: Array, label: str, by: str = "rated") -> str:
    """Plot the mean error, and its spread, in bins of equal count.

    The middle line of a bin is its mean error, the thin one the middle 80 % of its errors.

    Args:
        targets: Shape ``(N,)``; NaN where not rated.
        scores: Shape ``(N,)``.
        label: What a screen reader says.
        by: ``rated`` or ``predicted``: what the bins are of.
    """
    known = np.isfinite(targets) & np.isfinite(scores)
    x_N, error_N = (targets if by == "rated" else scores)[known], (scores - targets)[known]
    bins = [bin_ for bin_ in np.array_split(np.argsort(x_N, kind="stable"), NUM_BINS) if len(bin_)]
    shown = np.concatenate([np.quantile(error_N[bin_], (0.1, 0.9)) for bin_ in bins] + [[0.0]])
    panel = Panel(span(x_N, 0.04, 0.1), span(shown, 0.1, 0.1), width=320, height=220, margins=(8, 8, 40, 46))
    panel.x_axis(by)
    panel.y_axis("predicted " + MINUS + " rated")
    panel.line(panel.x, (0, 0), "identity")
    for bin_ in bins:
        x, error_B = float(x_N[bin_].mean()), error_N[bin_]
        low, high = np.quantile(error_B, (0.1, 0.9))
        panel.upright(x, float(low), float(high), "c0 faint")
        half = _half_width(error_B)
        panel.upright(x, float(error_B.mean() - half), float(error_B.mean() + half), "c0 strong")
        note = f"{by} {x_N[bin_].min():.2f} to {x_N[bin_].max():.2f}, n = {len(bin_)}: "
        panel.mark(x, float(error_B.mean()), "c0", f"{note}mean error {number(round(float(error_B.mean()), 3))}")
    return panel.svg(label)


def draw_accuracy(lines: Sequence[tuple[int, str, Sequence[PairAccuracy]]], label: str) -> str:
    """Plot the share of pairs in the right order over the gap of their ratings, a line per variant.

    Args:
        lines: Number of the variant, its name, and its rows by gap.
        label: What a screen reader says.
    """
    used = [i for i in range(len(lines[0][2])) if any(rows[i].pairs for _, _, rows in lines)]
    names = [_gap(lines[0][2][i]) for i in used]
    shares = [rows[i].accuracy for _, _, rows in lines for i in used]
    panel = Panel(
        Span(-0.5, len(used) - 0.5), span([*shares, 0.5, 1.0], 0.02), width=320, height=220, margins=(8, 8, 40, 50)
    )
    panel.y_axis("right order")
    panel.x_axis("gap of the ratings", at=[])
    for position, name in enumerate(names):
        panel.text(position, panel.y.low, name, "tick mid", dy=14)
    panel.line(panel.x, (0.5, 0.5), "identity")
    for variant, name, rows in reversed(lines):
        css = colour(variant) if variant < NUM_COLOURS else "rest"
        panel.line(range(len(used)), [rows[i].accuracy for i in used], css, name)
        for position, i in enumerate(used):
            if rows[i].pairs:
                note = f"{name}, gap {names[position]}: {rows[i].accuracy:.3f} of {rows[i].pairs} pairs"
                panel.mark(position, rows[i].accuracy, css, note, radius=3)
    return panel.svg(label)


def _gap(row: PairAccuracy) -> str:
    return f"over {number(row.low)}" if math.isinf(row.high) else f"{number(row.low)}{DASH}{number(row.high)}"
