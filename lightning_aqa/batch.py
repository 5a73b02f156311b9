"""The vocabulary of the package: what travels from a clip to its scores. Needs torch alone.

Shape legend, used as a suffix on tensors inside the code (``layers_BLFD``): B clips (or windows of clips), T samples,
L layers, F frames, D encoder width, W text tokens, E embedding width, A axes, S systems.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

Reads = Literal["frames", "mean_std", "mean"]
"""What a head uses of the frames of a clip, and so the least that a feature cache has to keep for it."""


PART = "/"
"""Stands between the name of a corpus of several and a name of its own: domain ``a/music`` is a part of ``a``."""


class Axis(NamedTuple):
    """One thing that listeners rate, and the scale they rate it on.

    Args:
        name: Short key used in configs, metrics and files, such as ``"MI"``.
        title: The words to print on a plot, such as ``"Musical impression"``.
        low: Lowest possible score, in score points.
        high: Highest possible score, in score points.
    """

    name: str
    title: str
    low: float
    high: float


Axes: TypeAlias = Sequence[tuple[str, str, float, float]] | Mapping[str, Sequence[float]]
"""Lowest and highest score per name, or (name, title, low, high) each."""

LIKE = "axes={'mos': [1, 5]}"


def make_axes(axes: Axes) -> tuple[Axis, ...]:
    """Make axes of their names and scales.

    Args:
        axes: Lowest and highest score per axis name, or (name, title, low, high) each.

    Raises:
        ValueError: If an axis has no name of its own, or its scale is not a lowest and a highest score.

    Example:
        >>> make_axes({"musical_quality": [1, 5]})
        (Axis(name='musical_quality', title='Musical quality', low=1.0, high=5.0),)
    """
    rows: list[tuple[str, str | None, object]] = (
        [(name, None, scale) for name, scale in axes.items()] if isinstance(axes, Mapping) else _rows(axes)
    )
    names = [name for name, _, _ in rows]
    check_names("axes", names)
    if "mean" in names:
        raise ValueError(
            "axes names 'mean', as the mean over axes is called; name it otherwise, and its column in columns."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"axes names {', '.join(names)}, expected each name once.")
    return tuple(_axis(*row) for row in rows)


def _rows(axes: object) -> list[tuple[str, str | None, object]]:
    if isinstance(axes, str) or not isinstance(axes, Sequence):
        raise ValueError(f"axes is {axes!r}, expected names with their lowest and highest score, such as {LIKE}.")
    for axis in axes:
        if isinstance(axis, str) or not isinstance(axis, Sequence) or len(axis) != 4:
            raise ValueError(
                f"axes holds {axis!r}, expected a name with its lowest and highest score, such as {LIKE}, or (name, "
                "title, low, high)."
            )
    return [(name, title, scale) for name, title, *scale in axes]


def _axis(name: str, title: str | None, scale: object) -> Axis:
    given = [] if isinstance(scale, str) or not isinstance(scale, Sequence) else list(scale)
    ends = [float(end) for end in given if isinstance(end, Real)]
    if len(given) != 2 or len(ends) != 2 or not -math.inf < ends[0] < ends[1] < math.inf:
        raise ValueError(f"axes.{name} must be its lowest and highest score, such as [1, 5]; got {given or scale!r}.")
    if title is not None:
        return Axis(name, title, *given)  # as it was given: 5 stays 5 in what is written
    words = name.replace("_", " ")
    return Axis(name, words[:1].upper() + words[1:], *ends)


def check_names(option: str, names: Iterable[object]) -> None:
    """Refuse names that YAML has read as something else: ON, no, 1e5 and null without quotes are no texts to it."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(
                f"{option} names {name!r}, which YAML makes of ON, yes, NO, 1e5, null and the like; put the name in "
                "quotes, such as 'ON'."
            )
        if not name.strip():
            raise ValueError(f"{option} has an empty name; call it as its column is.")


class Part(NamedTuple):
    """One encoder's share of the hidden states, where several lie side by side.

    Args:
        name: What it is called on the screen.
        start: First of its dimensions.
        width: Number of its dimensions.
        layers: The layers in which it differs; the others repeat these.
    """

    name: str
    start: int
    width: int
    layers: tuple[int, ...]


class Features(NamedTuple):
    """Output of an encoder and input of a head: one shape for all encoders; a pooled encoder has L = F = 1.

    Args:
        layers: Hidden states, shape ``(B, L, F, D)``.
        frame_mask: True where a frame is valid, shape ``(B, F)``, bool.
        text: Token states of the prompt, shape ``(B, W, D_text)``, or None without a text side.
        text_mask: True where a token is valid, shape ``(B, W)``, bool, or None.
    """

    layers: Tensor
    frame_mask: Tensor
    text: Tensor | None = None
    text_mask: Tensor | None = None

    def astype(self, dtype: torch.dtype) -> Features:
        """Return the same features with hidden states and text states of another dtype."""
        text = None if self.text is None else self.text.to(dtype)
        return self._replace(layers=self.layers.to(dtype), text=text)


class Pairs(NamedTuple):
    """Comparisons of two clips each, by listeners who heard both.

    Args:
        rows_a: Row of the first clip, shape ``(P,)``, int64; under several processes of the batch of all of them.
        rows_b: Row of the second clip, likewise.
        outcomes: 0 where the first one won, 1 where the second one did, 2 for a tie, shape ``(P,)``, int64.
        weights: Weight of each comparison, shape ``(P,)``.
        axes: Index of the axis that it is about, shape ``(P,)``, int64.
    """

    rows_a: Tensor
    rows_b: Tensor
    outcomes: Tensor
    weights: Tensor
    axes: Tensor


class Batch(NamedTuple):
    """Windows of rated clips, padded at the end.

    Args:
        waveform: Mono audio at the encoder's sample rate, shape ``(B, T)``; ``T = 0`` where ``features`` stand in.
        num_samples: Valid samples of each row, shape ``(B,)``, int64.
        scores: Mean opinion scores in score points, shape ``(B, A)``; NaN where an axis is not rated.
        ids: Clip id of each row.
        systems: System that made each clip; empty where unknown.
        domains: Domain of each clip (``speech``, ``music``, ``sound``), or its corpus where there are several (``a`` or
            ``a/music``); empty where unknown.
        prompts: Text each clip was made from; empty where there is none.
        features: Cached features of these rows; None where the encoder has to run.
        weights: Weight of each row in its clip's score, shape ``(B,)``; None is one window per clip.
        pairs: Comparisons of these rows; None where the data has none.
    """

    waveform: Tensor
    num_samples: Tensor
    scores: Tensor
    ids: list[str]
    systems: list[str]
    domains: list[str]
    prompts: list[str]
    features: Features | None = None
    weights: Tensor | None = None
    pairs: Pairs | None = None


class Output(NamedTuple):
    """Output of a head: scores in score points, the embedding they come from, and what some heads add.

    Args:
        scores: Predicted scores in score points, shape ``(B, A)``.
        embedding: Clip embedding, shape ``(B, E)``.
        frame_scores: Scores of each frame in score points, shape ``(B, F, A)``, from heads that have them.
        frame_mask: True where a frame is valid, shape ``(B, F)``, bool, beside ``frame_scores``.
        logits: Unnormalised bin scores of an ordinal head, shape ``(B, A, K)``.
        deviation: Predicted standard deviation in score points, shape ``(B, A)``.
    """

    scores: Tensor
    embedding: Tensor
    frame_scores: Tensor | None = None
    frame_mask: Tensor | None = None
    logits: Tensor | None = None
    deviation: Tensor | None = None

    def detach(self) -> Output:
        """Return the same output without its graph."""
        given = {name: field.detach() for name, field in self._asdict().items() if field is not None}
        return self._replace(**given)

    def astype_at_least(self, dtype: torch.dtype) -> Output:
        """Return the same output with fields of a lower precision raised to a dtype."""
        given = {name: field for name, field in self._asdict().items() if field is not None}
        lower = {name: x for name, x in given.items() if x.is_floating_point() and x.dtype.itemsize < dtype.itemsize}
        return self._replace(**{name: field.to(dtype) for name, field in lower.items()})
