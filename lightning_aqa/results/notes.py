"""Notes beside scores that are likely nonsense: the one set of rules, for ``score`` and for ``predict``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.data.signal import QUIET, Signal

NOTE = "note"
"""Name of the column, in the tables of both."""
CANCELLED = 0.1
"""Share of the power that channels without relation leave in their mean, under which they cancel each other."""
CONSTANT = 1e-4
"""Share of the power beside an offset under which a signal is constant."""
CLIPPED = 0.01
"""Share of samples in flat tops."""
LOWEST_CREST = 1.25
"""Peak over root mean square, which a sine has at 1.41 and a square wave at 1."""
OVER = 4.0
"""Amplitude that no file of integers has, times full scale."""
FAR_DB = 12.0
"""Distance from the levels of training, in dB."""
SHARE_OUTSIDE = 0.01
"""Share of the training clips on each side that says nothing of its levels and lengths."""
MOST = 0.5


class Training(NamedTuple):
    """Levels and lengths of the clips that a model was trained on, without the most extreme of them.

    Args:
        lowest: Level of the quietest, in dB of full scale.
        highest: Level of the loudest.
        shortest: Length of the shortest, in seconds.
    """

    lowest: float
    highest: float
    shortest: float

    @classmethod
    def of(cls, signals: Iterable[Signal]) -> Training | None:
        """Gather the levels of clips that sound; None where none does.

        Example:
            >>> Training.of([Signal(2.0, 1, 0.01, 0.01, 0.0, 0.5, 0.0, 0.0)])
            Training(lowest=-20.0, highest=-20.0, shortest=2.0)
        """
        found = [signal for signal in signals if signal.power > QUIET**2]
        levels, lengths = sorted(signal.level for signal in found), sorted(signal.seconds for signal in found)
        if not found or not math.isfinite(levels[0]):
            return None
        outside = int(SHARE_OUTSIDE * len(found))
        return cls(round(levels[outside], 3), round(levels[-1 - outside], 3), round(lengths[outside], 3))

    @classmethod
    def read(cls, state: Mapping[str, Any] | None) -> Training | None:
        """Read what a checkpoint says; None where it is of before there were notes."""
        values = [value for name in cls._fields if isinstance(value := (state or {}).get(name), int | float)]
        return cls(*values) if len(values) == len(cls._fields) else None


class Expected(NamedTuple):
    """Properties that a model expects of a clip.

    Args:
        axes: Axes that it scores.
        min_seconds: Shortest piece that it scores of a longer clip.
        padded_seconds: Length that a shorter clip is padded to; None where none is.
        training: Clips that it was trained on, where that is known.
        is_level_kept: Whether it hears the level of a clip, which is otherwise normalised.
    """

    axes: Sequence[Axis]
    min_seconds: float = 0.0
    padded_seconds: float | None = None
    training: Training | None = None
    is_level_kept: bool = True


def note_of(
    signal: Signal | None, scores: Sequence[float], expected: Expected, times_as_far: float | None = None
) -> str:
    """Say why the scores of a clip are likely nonsense; nothing where they are not.

    Args:
        signal: Facts of its audio; None where it was not decoded.
        scores: Its score per axis, as the model gives it.
        expected: What the model expects.
        times_as_far: Its distance from the training clips, by that of the farthest of these; None where not known.

    Example:
        >>> axes = [Axis("MI", "Musical impression", 1.0, 5.0)]
        >>> note_of(Signal(2.0, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), [5.5], Expected(axes))
        'silence; MI is outside of 1 to 5'
    """
    notes = [] if signal is None else [*_of_signal(signal, expected), *_of_length(signal, expected)]
    for axis, score in zip(expected.axes, scores, strict=True):
        if not axis.low <= score <= axis.high:
            notes.append(f"{axis.name} is outside of {axis.low:g} to {axis.high:g}")
    if times_as_far is not None and times_as_far > 1:
        notes.append(f"unlike any training clip: {times_as_far:.1f} times as far as the farthest of them")
    return "; ".join(notes)


def _of_signal(signal: Signal, expected: Expected) -> list[str]:
    """Say what is odd in the samples; of a signal without sound nothing more."""
    if signal.channel_power < QUIET**2:
        return ["silence"]
    if signal.num_channels > 1 and signal.power < CANCELLED / signal.num_channels * signal.channel_power:
        return ["channels out of phase: they cancel each other in mono"]
    if signal.power - signal.offset**2 < CONSTANT * signal.power:
        return ["constant"]
    notes = []
    crest = signal.peak / math.sqrt(signal.channel_power)
    if signal.flat_share > CLIPPED or crest < LOWEST_CREST:
        notes.append("clipped")
    if signal.quiet_share > MOST:
        notes.append(f"{signal.quiet_share:.0%} of it is silence")
    return notes + (_of_level(signal, expected.training) if expected.is_level_kept else [])


def _of_level(signal: Signal, training: Training | None) -> list[str]:
    if training is not None and signal.level > training.highest + FAR_DB:
        return [f"{signal.level - training.highest:.0f} dB louder than in training"]
    if training is not None and signal.level < training.lowest - FAR_DB:
        return [f"{training.lowest - signal.level:.0f} dB quieter than in training"]
    return [f"peaks at {signal.peak:.3g} times full scale"] if signal.peak > OVER else []


def _of_length(signal: Signal, expected: Expected) -> list[str]:
    """Say where a clip is shorter than the model can make much of, unless clips of training were as short."""
    if expected.training is not None and signal.seconds >= expected.training.shortest:
        return []
    if 0 < signal.seconds < expected.min_seconds:
        return [f"shorter than {expected.min_seconds:g} s"]
    if expected.padded_seconds and signal.seconds < MOST * expected.padded_seconds:
        return [f"{1 - signal.seconds / expected.padded_seconds:.0%} of what the model hears is padding"]
    return []


def clipped_to_scale(scores: Sequence[float], axes: Sequence[Axis]) -> tuple[float, ...]:
    """Return scores with those beyond the end of their scale at that end.

    Example:
        >>> clipped_to_scale([5.5, 3.0], [Axis("MI", "", 1.0, 5.0), Axis("TA", "", 1.0, 5.0)])
        (5.0, 3.0)
    """
    return tuple(min(max(score, axis.low), axis.high) for score, axis in zip(scores, axes, strict=True))
