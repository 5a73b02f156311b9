"""What the sound makers share: mixing, levels and bands of waveforms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float64]


def add_at(mix: Waveform, sound: Waveform, start: int) -> None:
    """Add a sound to a mix in place from sample ``start`` on; what lies outside is cut off."""
    first, last = max(start, 0), min(start + len(sound), len(mix))
    if first < last:
        mix[first:last] += sound[first - start : last - start]


def set_level(waveform: Waveform, level: float) -> Waveform:
    """Scale a waveform to a level, and below it where a peak would pass 0.95 of full scale.

    Args:
        waveform: Shape ``(T,)`` or ``(T, channels)``; silence stays silence.
        level: Root mean square in dB of full scale.

    Returns:
        The scaled waveform, same shape.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    return waveform * min(10 ** (level / 20) / max(rms(waveform), 1e-9), 0.95 / max(peak, 1e-9))


def rms(waveform: Waveform) -> float:
    """Measure the root mean square of a waveform of any shape."""
    return float(np.sqrt(np.mean(waveform**2)))


def band_pass(waveform: Waveform, low: float, high: float, sample_rate: int) -> Waveform:
    """Keep a band of a waveform, as far as its sample rate reaches.

    Args:
        waveform: Shape ``(T,)``.
        low: Lower edge, in Hz.
        high: Upper edge, in Hz.
        sample_rate: In Hz.

    Returns:
        The filtered waveform, same shape.
    """
    from scipy.signal import butter, sosfilt

    edges = np.minimum((low, high), (0.4 * sample_rate, 0.45 * sample_rate))
    return np.asarray(sosfilt(butter(2, edges, "bandpass", fs=sample_rate, output="sos"), waveform))
