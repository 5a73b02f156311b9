"""The one reader of audio: any file, or window after window of it, to mono float32 at the rate of an encoder."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lightning_aqa.data.decoding import BLOCK_FRAMES, AudioError, AudioInfo, Samples, Waveform, audio_info, open_audio
from lightning_aqa.data.signal import Meter, Signal

__all__ = [
    "BLOCK_FRAMES",
    "AudioError",
    "AudioInfo",
    "Parts",
    "Resampler",
    "audio_blocks",
    "audio_info",
    "measure",
    "read_audio",
]

Resampler = Literal["soxr", "sinc"]

MOST_SAMPLES = 2**29
"""Most samples of a part that is read whole, before resampling or after: 3.1 hours at 48 kHz, 2 GiB."""
MOST_SECONDS = 1e12
"""Time that no file reaches: thirty thousand years."""
MOST_KERNEL = 2**26
"""Most coefficients of the filters of ``sinc``, which grow with the period of both rates: 256 MiB."""


def read_audio(
    path: str | Path,
    sample_rate: int,
    start: float = 0.0,
    end: float | None = None,
    resampler: Resampler = "soxr",
) -> Waveform:
    """Read a file, or a part of it, as mono audio at a given rate.

    Channels are averaged, then the signal is resampled. Only the part is decoded. ``soxr`` (its HQ setting) sees the
    part alone; ``sinc`` sees a little on both sides of it too, so that the part is a piece of the resampled file.

    Args:
        path: Any file that libsndfile reads; m4a, aac and mp4 need the ``ffmpeg`` program.
        sample_rate: Rate to return, in Hz.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end.
        resampler: What resamples: ``soxr``, or ``sinc``, which is ``torchaudio.functional.resample``.

    Returns:
        Samples, shape ``(T,)``, float32, full scale at 1.

    Raises:
        AudioError: If the file is missing or unreadable, ends before its header says, or the part holds no sample,
            more than fit, or some that are not finite.
    """
    with closing(Parts(path, sample_rate, start, end, resampler)) as parts:
        return parts.read(start, end).waveform


class AudioPart(NamedTuple):
    """A part of a file: samples ``(T,)`` at the wanted rate, and its length in seconds, less where the file ends."""

    waveform: Waveform
    seconds: float


class Parts:
    """Read parts of a file in the order of their begins, decoding it once.

    Args:
        path: The file.
        sample_rate: Rate to return, in Hz.
        start: Where the first part begins, in seconds.
        end: Where the last one ends, in seconds; None is the end of the file.
        resampler: What resamples.
        measures: Whether to gather the facts of the signal, which takes a little time.

    Attributes:
        meter: The facts of what was decoded so far.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        start: float = 0.0,
        end: float | None = None,
        resampler: Resampler = "soxr",
        *,
        measures: bool = False,
    ) -> None:
        self.path, self.sample_rate, self.resampler = path, sample_rate, resampler
        self._audio = open_audio(path)
        self.rate = self._audio.rate
        self.meter = Meter(self.rate) if measures else None
        self._context = self._period = 0
        if resampler == "sinc" and self.rate != sample_rate:
            check_sinc(self.rate, sample_rate, f"{path}: its rate of {self.rate} Hz")
            self._period = self.rate // math.gcd(self.rate, sample_rate)
            self._context = self._period * math.ceil(0.02 * self.rate / self._period)
        first, last = _frames(self.rate, start, end)
        self._begin = self._end = first - self._before(first)
        last = None if last is None else last + self._context
        self._blocks = self._audio.blocks(self._begin, last, is_exact=True)
        self._held: deque[Waveform] = deque()

    def _before(self, first: int) -> int:
        """Return the samples of context before a part: a whole number at the new rate too, or the grid would move."""
        return min(self._context, first) // self._period * self._period if self._period else 0

    def read(self, start: float, end: float | None, *, may_be_empty: bool = False) -> AudioPart:
        """Read a part, which begins where the one before did or later.

        Args:
            start: Where it begins, in seconds.
            end: Where it ends, in seconds; None is the end of the file.
            may_be_empty: Whether a part beyond the end is given as no samples.

        Raises:
            AudioError: If it holds no sample or too many, some are not finite, or something in it cannot be decoded.
        """
        first, last = _frames(self.rate, start, end)
        before = self._before(first)
        self._drop(first - before)
        self._fill(None if last is None else last + self._context)
        stop = self._end if last is None else min(last, self._end)
        if stop <= first and may_be_empty:
            return AudioPart(np.empty(0, np.float32), 0.0)
        if stop <= first:
            until = "its end" if end is None else f"{end:g} s"
            raise AudioError(f"{self.path}: no audio between {start:g} s and {until}.")
        after = min(self._end, stop + self._context)
        mono = np.concatenate(list(self._held))[: after - self._begin]
        waveform = self._resampled(mono, before, stop - first)
        if not np.isfinite(waveform).all():
            raise AudioError(f"{self.path}: holds samples that are not finite.")
        return AudioPart(waveform, (stop - first) / self.rate)

    def _drop(self, position: int) -> None:
        """Let go of what lies before a position."""
        while self._begin < position and (self._held or self._take()):
            block = self._held.popleft()
            size = min(len(block), position - self._begin)
            if size < len(block):
                self._held.appendleft(block[size:])
            self._begin += size

    def _fill(self, position: int | None) -> None:
        """Decode up to a position."""
        ratio = max(1.0, self.sample_rate / self.rate)
        while (position is None or self._end < position) and self._take():
            if (self._end - self._begin) * ratio > MOST_SAMPLES:
                seconds = MOST_SAMPLES / ratio / self.rate
                raise AudioError(
                    f"{self.path}: longer than {seconds:.0f} s, which is most that is read at once; set window_seconds."
                )

    def _take(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        if self.meter is not None:
            self.meter.add(block)
        self._held.append(_to_mono(block))
        self._end += len(block)
        return True

    def _resampled(self, mono: Waveform, before: int, size: int) -> Waveform:
        if self.rate == self.sample_rate:
            return mono
        if self.resampler == "sinc":
            first = before * self.sample_rate // self.rate
            wanted = _resample_by_sinc(mono, self.rate, self.sample_rate)
            return wanted[first : first - (-size * self.sample_rate // self.rate)]
        import soxr

        resampled: Waveform = soxr.resample(mono, self.rate, self.sample_rate)
        return resampled

    def close(self) -> None:
        """Close the file."""
        self._blocks.close()  # type: ignore[attr-defined]  # a generator
        self._audio.close()


def check_sinc(rate: int, sample_rate: int, what: str) -> None:
    """Refuse to make filters of a size that no memory holds.

    Raises:
        AudioError: If the two rates have too long a period; ``what`` opens the message.
    """
    divisor = math.gcd(rate, sample_rate)
    if (rate // divisor) * (sample_rate // divisor) > MOST_KERNEL:
        raise AudioError(f"{what} has too little in common with {sample_rate} Hz for the resampler sinc; soxr can.")


def _resample_by_sinc(mono: Waveform, rate: int, sample_rate: int) -> Waveform:
    import torch
    from torchaudio.functional import resample

    resampled: Waveform = resample(torch.from_numpy(mono), rate, sample_rate).numpy()
    return resampled


def _to_mono(samples: Samples) -> Waveform:
    """Average the channels of ``(T, C)`` at full scale 1; the sum of columns is ten times faster than ``mean(1)``."""
    num_channels = samples.shape[1]
    mono: Waveform = samples[:, 0].astype(np.float32)
    for channel in range(1, num_channels):
        mono += samples[:, channel]
    full_scale = 2**15 if samples.dtype == np.int16 else 1
    if num_channels * full_scale > 1:
        mono *= np.float32(1 / (num_channels * full_scale))
    return mono


def audio_blocks(path: str | Path, start: float = 0.0, end: float | None = None) -> Iterator[Samples]:
    """Decode a file, or a part of it, from its begin to its end in blocks, so that hours of audio take little memory.

    Args:
        path: Any file that libsndfile or the ffmpeg program reads.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end.

    Yields:
        Samples at the file's own rate, shape ``(T, C)``, float32; C is 1 from ffmpeg.

    Raises:
        AudioError: If the file is missing or cannot be read.
    """
    with open_audio(path) as audio:
        yield from audio.blocks(*_frames(audio.rate, start, end))


def measure(path: str | Path, start: float = 0.0, end: float | None = None) -> Signal:
    """Decode a file, or a part of it, and find the facts of its signal; its peak tells whether all of it is finite.

    Args:
        path: Any file that libsndfile or the ffmpeg program reads.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None reads to the end.

    Raises:
        AudioError: If the file is missing or cannot be read.
    """
    with open_audio(path) as audio:
        meter = Meter(audio.rate)
        for block in audio.blocks(*_frames(audio.rate, start, end), is_exact=True):
            meter.add(block)
        return meter.signal()


def _frames(rate: int, start: float, end: float | None) -> tuple[int, int | None]:
    """Return the first frame and the one to stop at; no file reaches a time whose frame has no number."""
    first, last = (round(min(seconds, MOST_SECONDS) * rate) for seconds in (start, math.inf if end is None else end))
    return first, None if end is None else max(first, last)
