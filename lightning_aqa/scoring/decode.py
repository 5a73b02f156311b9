"""Read a clip window by window, as evaluation does, without holding more of it than one window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_aqa.data.audio import Parts, Resampler, check_sinc
from lightning_aqa.data.dataset import Normalise, unit_rms
from lightning_aqa.data.decoding import AudioError
from lightning_aqa.data.signal import Meter
from lightning_aqa.data.windows import SHORTEST_TAIL, Window, cover, shortest_tail, weighted_mean
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.waveforms import to_mono


class Reading(NamedTuple):
    """Settings by which audio comes to an encoder.

    Args:
        sample_rate: Rate to read at, in Hz.
        min_seconds: Shortest clip, in seconds.
        window_seconds: Longest window, in seconds; None takes clips whole.
        min_tail_seconds: Shortest last window of a clip that is cut, in seconds.
        resampler: What brings files of another rate to this one.
        normalise: Whether each window is divided by its root mean square.
    """

    sample_rate: int
    min_seconds: float
    window_seconds: float | None
    min_tail_seconds: float
    resampler: Resampler = "soxr"
    normalise: Normalise = "keep"


class Piece(NamedTuple):
    """One window: its samples ``(T,)``, its weight, which is its length in seconds, and the meter of its clip."""

    samples: Tensor
    weight: float
    meter: Meter | None = None


READING = ("resampler", "normalise", "window_seconds")
"""Settings of the data that change scores; a checkpoint has them in the config of its run folder."""


def is_setting(name: str, value: Any) -> bool:
    """Tell whether a value is one of a setting of ``READING``."""
    if name != "window_seconds":
        return value in get_args(Resampler if name == "resampler" else Normalise)
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def reading_of(
    encoder: Encoder,
    window_seconds: float | None = None,
    resampler: Resampler = "soxr",
    normalise: Normalise = "keep",
) -> Reading:
    """Say how audio comes to an encoder, as ``AQADataModule`` would serve it.

    Args:
        encoder: The encoder.
        window_seconds: Longest window, in seconds; None takes the encoder's own.
        resampler: What brings files to the encoder's rate.
        normalise: Whether each window is divided by its root mean square.

    Raises:
        ValueError: If the windows are shorter than the encoder can take.
    """
    window = window_seconds or encoder.window_seconds
    if window is not None and window < max(encoder.min_seconds, SHORTEST_TAIL):
        raise ValueError(f"window_seconds is {window:g}, and the encoder needs {encoder.min_seconds:g} s or more.")
    tail = shortest_tail(encoder.min_seconds, encoder.min_tail_seconds, window)
    return Reading(encoder.sample_rate, encoder.min_seconds, window, tail, resampler, normalise)


def read_pieces(item: Item, reading: Reading) -> Iterator[Piece]:
    """Decode the windows of a clip one after the other, in one pass over its file.

    Raises:
        AudioError: If the file is missing, unreadable, too short, cut off, or holds samples that are not finite; the
            windows before may have come by then.
    """
    if item.error:
        raise AudioError(item.error)
    with closing(
        Parts(item.path, reading.sample_rate, item.start, item.end, reading.resampler, measures=True)
    ) as parts:
        for number in count():
            begin = item.start + number * (reading.window_seconds or 0.0)
            end = min(begin + (reading.window_seconds or math.inf), item.end or math.inf)
            piece = _piece(item, begin, end, parts, reading)
            if piece is not None:
                yield piece
            if piece is None or begin + piece.weight < end or end in (item.end, math.inf):
                return


def _piece(item: Item, begin: float, end: float, parts: Parts, reading: Reading) -> Piece | None:
    """Read a window; None for a rest beyond the windows that is shorter than the encoder wants, as in ``cover``."""
    part = parts.read(begin, None if end == math.inf else end, may_be_empty=True)
    seconds = part.seconds if part.seconds < end - begin - SHORTEST_TAIL else end - begin
    if begin == item.start:
        _check_length(item, seconds if part.seconds else 0.0, reading)
    elif seconds < max(reading.min_tail_seconds, SHORTEST_TAIL):
        return None
    samples_T = torch.from_numpy(part.waveform)
    return Piece(unit_rms(samples_T) if reading.normalise == "rms" else samples_T, seconds, parts.meter)


def _check_length(item: Item, seconds: float, reading: Reading) -> None:
    if seconds <= 0:
        raise AudioError(f"no samples in it from {item.start:g} s on" if item.start else "no samples in it")
    if seconds < reading.min_seconds:
        raise AudioError(f"{seconds:.3f} s long, the encoder needs {reading.min_seconds:.3f} s")


def cut(waveform: Tensor, sample_rate: int, reading: Reading) -> list[tuple[Tensor, float]]:
    """Resample one clip and cut it into its windows.

    Args:
        waveform: Shape ``(T,)``, ``(C, T)`` or ``(T, C)``.
        sample_rate: Its rate, in Hz.
        reading: What the encoder takes.

    Returns:
        Each window's samples ``(T,)`` at the encoder's rate, and its share in the clip's score.

    Raises:
        ValueError: If the clip is too short, or not finite.
    """
    from torchaudio.functional import resample

    mono_T = to_mono(waveform)
    seconds = len(mono_T) / sample_rate
    if seconds <= 0 or seconds < reading.min_seconds:
        raise ValueError(f"A clip is {seconds:.3f} s long; the encoder needs {reading.min_seconds:.3f} s, or a sample.")
    if not torch.isfinite(mono_T).all():
        raise ValueError("A clip holds samples that are not finite.")
    check_sinc(sample_rate, reading.sample_rate, f"A sample_rate of {sample_rate} Hz")
    resampled_T: Tensor = resample(mono_T, sample_rate, reading.sample_rate)
    windows = cover(0, seconds, reading.window_seconds, reading.min_tail_seconds)
    pieces = [_part(resampled_T, window, reading.sample_rate) for window in windows]
    normalised = [unit_rms(piece) for piece in pieces] if reading.normalise == "rms" else pieces
    return [(piece, window.weight) for piece, window in zip(normalised, windows, strict=True)]


def _part(waveform: Tensor, window: Window, sample_rate: int) -> Tensor:
    first = round(window.start * sample_rate)
    return waveform[first : max(first + 1, round((window.start + window.seconds) * sample_rate))]


def weighted_means(scores: Tensor, weights: Sequence[Sequence[float]]) -> Tensor:
    """Average the windows' scores clip by clip.

    Args:
        scores: Scores of all windows in order, shape ``(N, A)``.
        weights: For each clip the shares of its windows, N in all.

    Returns:
        Shape ``(B, A)``.

    Example:
        >>> weighted_means(torch.tensor([[1.0], [3.0], [5.0]]), [[0.5, 0.5], [1.0]])
        tensor([[2.],
                [5.]])
    """
    parts = torch.split(scores, [len(own) for own in weights])
    return torch.stack([_exact_mean(part, own) for part, own in zip(parts, weights, strict=True)])


def _exact_mean(scores: Tensor, weights: Sequence[float]) -> Tensor:
    """Return ``weighted_mean`` of one clip's windows, with the gradient of the mean."""
    exact = scores.new_tensor(weighted_mean(scores.tolist(), weights))
    if not scores.requires_grad:
        return exact
    mean = scores.new_tensor(weights) @ scores / sum(weights)
    return mean + (exact - mean).detach()
