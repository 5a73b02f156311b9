"""Small pictures as inline SVG: all colours are classes, so that they follow the page's light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_aqa.results.tables import MINUS

NUM_COLOURS = 8
NUM_SHADES = 9


class Span(NamedTuple):
    """Range that one side of a panel covers."""

    low: float
    high: float


def span(values: ArrayLike, margin: float = 0.05, least: float = 1e-3) -> Span:
    """Return the span of the finite values, with a margin on both sides.

    Args:
        values: Numbers, any shape.
        margin: Share of the span to add on each side.
        least: Smallest width of the span.

    Example:
        >>> span([1.0, 3.0, float("nan")], margin=0.5)
        Span(low=0.0, high=4.0)
    """
    finite = np.asarray(values, dtype=np.float64).ravel()
    finite = finite[np.isfinite(finite)]
    if len(finite) == 0:
        return Span(0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    more = max((high - low) * margin, (least - (high - low)) / 2, 0.0)
    return Span(low - more, high + more)


def ticks(of: Span, count: int = 5) -> list[float]:
    """Return round numbers within a span, about ``count`` of them.

    Example:
        >>> ticks(Span(0.0, 1.0))
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (of.high - of.low) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first, last = math.ceil(of.low / step - 1e-9), math.floor(of.high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def number(value: float) -> str:
    """Write a tick without needless digits.

    Example:
        >>> number(0.25), number(3.0), number(-0.5) == MINUS + "0.5"
        ('0.25', '3', True)
    """
    return f"{value:.6g}".replace("-", MINUS)


class Panel:
    """One picture with an x and a y side, both linear.

    Args:
        x: What the x side covers.
        y: What the y side covers.
        width: Of the whole picture, in px.
        height: Of the whole picture, in px.
        margins: Room at the top, right, bottom and left, in px.
    """

    def __init__(
        self,
        x: Span,
        y: Span,
        *,
        width: float = 340,
        height: float = 320,
        margins: tuple[float, float, float, float] = (12, 12, 40, 46),
    ) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.top, self.right, self.bottom, self.left = margins
        self.parts: list[str] = []

    def position(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the px of points."""
        x_N, y_N = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        width, height = self.width - self.left - self.right, self.height - self.top - self.bottom
        return (
            self.left + (x_N - self.x.low) / (self.x.high - self.x.low) * width,
            self.top + (self.y.high - y_N) / (self.y.high - self.y.low) * height,
        )

    def _xy(self, x: float, y: float) -> tuple[float, float]:
        px, py = self.position(x, y)
        return round(float(px), 1), round(float(py), 1)

    def x_axis(self, label: str, at: Sequence[float] | None = None) -> None:
        """Draw thin lines at round x values, their numbers below, and what they are."""
        for value in ticks(self.x) if at is None else at:
            x, _ = self._xy(value, 0)
            self.parts.append(f'<path class="grid" d="M{x} {self.top}V{self.height - self.bottom}"/>')
            self.parts.append(
                f'<text class="tick mid" x="{x}" y="{self.height - self.bottom + 14}">{number(value)}</text>'
            )
        middle = self.left + (self.width - self.left - self.right) / 2
        self.parts.append(f'<text class="label mid" x="{middle}" y="{self.height - 6}">{escape(label)}</text>')

    def y_axis(self, label: str, at: Sequence[float] | None = None) -> None:
        """Draw thin lines at round y values, their numbers on the left, and what they are."""
        for value in ticks(self.y) if at is None else at:
            _, y = self._xy(0, value)
            self.parts.append(f'<path class="grid" d="M{self.left} {y}H{self.width - self.right}"/>')
            self.parts.append(f'<text class="tick end" x="{self.left - 6}" y="{y + 3.5}">{number(value)}</text>')
        middle = self.top + (self.height - self.top - self.bottom) / 2
        turn = f'transform="translate(11 {middle}) rotate(-90)"'
        self.parts.append(f'<text class="label mid" {turn}>{escape(label)}</text>')

    def dots(self, x: ArrayLike, y: ArrayLike, css: str, size: float = 4.0) -> None:
        """Draw any number of equal dots as one path: about ten bytes each."""
        x_N, y_N = self.position(x, y)
        moves = "".join(f"M{px:.1f} {py:.1f}h0" for px, py in zip(x_N, y_N, strict=True) if np.isfinite(px + py))
        if moves:
            self.parts.append(f'<path class="dots {css}" stroke-width="{size}" d="{moves}"/>')

    def mark(self, x: float, y: float, css: str, note: str = "", radius: float = 4.0, shape: str = "dot") -> None:
        """Draw one mark (dot, ring or diamond) with a note that shows on hover."""
        px, py = self._xy(x, y)
        hover = f"<title>{escape(note)}</title>" if note else ""
        if shape == "diamond":
            r = radius * 1.25
            self.parts.append(f'<path class="mark {css}" d="M{px} {py - r}l{r} {r}l{-r} {r}l{-r} {-r}z">{hover}</path>')
        else:
            self.parts.append(f'<circle class="{shape} {css}" cx="{px}" cy="{py}" r="{radius}">{hover}</circle>')

    def line(self, x: ArrayLike, y: ArrayLike, css: str, note: str = "") -> None:
        """Draw a line through points; a gap where one is not finite."""
        x_N, y_N = self.position(x, y)
        path, pen = [], "M"
        for px, py in zip(x_N, y_N, strict=True):
            if np.isfinite(px + py):
                path.append(f"{pen}{px:.1f} {py:.1f}")
                pen = "L"
            else:
                pen = "M"
        hover = f"<title>{escape(note)}</title>" if note else ""
        if path:
            self.parts.append(f'<path class="line {css}" d="{"".join(path)}">{hover}</path>')

    def across(self, low: float, high: float, y: float, css: str) -> None:
        """Draw an interval along x, cut at the sides of the panel."""
        if np.isfinite(low) and np.isfinite(high):
            low, high = max(low, self.x.low), min(high, self.x.high)
            (x1, py), (x2, _) = self._xy(low, y), self._xy(high, y)
            self.parts.append(f'<path class="interval {css}" d="M{x1} {py}H{x2}"/>')

    def upright(self, x: float, low: float, high: float, css: str) -> None:
        """Draw an interval along y, cut at the sides of the panel."""
        if np.isfinite(low) and np.isfinite(high):
            low, high = max(low, self.y.low), min(high, self.y.high)
            (px, y1), (_, y2) = self._xy(x, low), self._xy(x, high)
            self.parts.append(f'<path class="interval {css}" d="M{px} {y1}V{y2}"/>')

    def cell(self, left: float, right: float, low: float, high: float, css: str, note: str = "") -> None:
        """Fill a rectangle."""
        (x1, y1), (x2, y2) = self._xy(left, high), self._xy(right, low)
        message = f"<title>{escape(note)}</title>" if note else ""
        size = f'width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
        self.parts.append(f'<rect class="cell {css}" x="{x1}" y="{y1}" {size}>{message}</rect>')

    def text(self, x: float, y: float, words: str, css: str = "", dx: float = 0, dy: float = 3.5) -> None:
        """Write at a point."""
        px, py = self._xy(x, y)
        self.parts.append(f'<text class="{css}" x="{px + dx:.1f}" y="{py + dy:.1f}">{escape(words)}</text>')

    def side_text(self, y: float, words: str, css: str = "name end", limit: int = 22) -> None:
        """Write a name on the left of the panel at a height; a long one is cut, and told on hover."""
        _, py = self._xy(self.x.low, y)
        cut = words if len(words) <= limit else words[: limit - 1] + "…"
        message = f"<title>{escape(words)}</title>" if cut != words else ""
        self.parts.append(f'<text class="{css}" x="{self.left - 8}" y="{py + 3.5:.1f}">{message}{escape(cut)}</text>')

    def svg(self, label: str) -> str:
        """Return the picture; ``label`` is what a screen reader says."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" style="max-width:{self.width * 1.25:g}px"'
        return f'<svg role="img" aria-label="{escape(label)}" {size}>{"".join(self.parts)}</svg>'


def shade(value: float, of: Span) -> int:
    """Return the number of the shade, 0 (low) to 8 (high), of a value.

    Example:
        >>> shade(0.0, Span(0.0, 1.0)), shade(1.0, Span(0.0, 1.0))
        (0, 8)
    """
    position = (value - of.low) / (of.high - of.low)
    return int(min(max(position * NUM_SHADES, 0), NUM_SHADES - 1))
