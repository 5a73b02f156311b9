"""Facts of a signal that tell whether a score of it can mean anything: levels, flat tops, silence."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

QUIET = 1e-4
"""Amplitude under which a piece is silent: -80 dB of full scale."""
PIECE_SECONDS = 0.02
LOWEST_FLAT = 0.25
"""Amplitude under which flat tops are no clipping, but the steps of few bits."""


class Signal(NamedTuple):
    """Facts of the samples of a clip, at full scale 1.

    Args:
        seconds: Its length.
        num_channels: Channels, which are averaged.
        power: Mean square of the mono signal.
        channel_power: Mean square of the channels.
        offset: Mean of the mono signal.
        peak: Largest amplitude of a channel.
        flat_share: Share of samples that lie beside an equal one at the largest amplitude of their surroundings.
        quiet_share: Share of pieces of 20 ms in which all channels are silent.
    """

    seconds: float
    num_channels: int
    power: float
    channel_power: float
    offset: float
    peak: float
    flat_share: float
    quiet_share: float

    @property
    def level(self) -> float:
        """Level of the mono signal in dB of full scale, without its offset; minus infinity for none."""
        varying = self.power - self.offset**2
        return 10 * math.log10(varying) if varying > 0 else -math.inf


class Meter:
    """Gather the facts of a signal block by block.

    Args:
        rate: Its rate, in Hz.

    Example:
        >>> meter = Meter(rate=100)
        >>> meter.add(np.array([[0.5], [-0.5]], dtype=np.float32))
        >>> (meter.signal().power, meter.signal().peak)
        (0.25, 0.5)
    """

    def __init__(self, rate: int) -> None:
        self._rate, self._piece = rate, max(1, round(rate * PIECE_SECONDS))
        self._frames = self._values = self._flat = self._pieces = self._quiet = self._channels = 0
        self._sum = self._squares = self._channel_squares = self._peak = 0.0

    def add(self, block: NDArray[np.float32] | NDArray[np.int16]) -> None:
        """Take a block ``(T, C)``; integers have 16 bits."""
        with np.errstate(all="ignore"):  # what is not finite shows in the peak
            samples = block.astype(np.float32, copy=False)
            self._add(samples * np.float32(1 / 2**15) if block.dtype == np.int16 else samples)

    def _add(self, samples: NDArray[np.float32]) -> None:
        length, num_channels = samples.shape
        starts = np.arange(0, length, self._piece)
        total, peaks = np.zeros(length, np.float32), np.zeros(len(starts), np.float32)
        for channel in range(num_channels):  # column by column, which is several times faster than over rows
            column = np.ascontiguousarray(samples[:, channel])
            sizes = np.abs(column)
            total += column
            peaks = np.maximum(peaks, np.maximum.reduceat(sizes, starts))
            self._channel_squares += float(np.dot(column, column))
            self._flat += _count_flat(column, sizes)
        mono = total / np.float32(num_channels)
        self._sum += float(mono.sum(dtype=np.float64))
        self._squares += float(np.dot(mono, mono))
        self._peak = float(np.maximum(self._peak, peaks.max()))
        self._frames, self._values = self._frames + length, self._values + samples.size
        self._channels = max(self._channels, num_channels)
        self._pieces, self._quiet = self._pieces + len(starts), self._quiet + int((peaks < QUIET).sum())

    def signal(self) -> Signal:
        """Return the facts so far."""
        frames, values = max(1, self._frames), max(1, self._values)
        return Signal(
            self._frames / self._rate,
            self._channels,
            self._squares / frames,
            self._channel_squares / values,
            self._sum / frames,
            self._peak,
            self._flat / values,
            self._quiet / max(1, self._pieces),
        )


def _count_flat(column: NDArray[np.float32], sizes: NDArray[np.float32]) -> int:
    """Count the samples at the peak that equal the one before them."""
    peak = float(sizes.max())
    if not peak >= LOWEST_FLAT:
        return 0
    tops = np.flatnonzero(sizes[1:] >= np.float32(0.999 * peak))
    return int(np.count_nonzero(column[tops + 1] == column[tops]))
