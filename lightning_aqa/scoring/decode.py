"""Read a clip window by window, as evaluation does, without holding more of it than one window."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_aqa.data.audio import (
    BLOCK_FRAMES,
    COMPRESSED_BY_FFMPEG,
    FFMPEG_RATE,
    AudioError,
    Resampler,
    audio_info,
    ffmpeg_blocks,
    file_name,
)
from lightning_aqa.data.dataset import Normalise, read_window, unit_rms
from lightning_aqa.data.manifest import Clip
from lightning_aqa.data.windows import SHORTEST_TAIL, Window, cover, shortest_tail, weighted_mean
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.scoring.inputs import Item

DECODED = 0.98
"""Least share of the length which a header promises that has to be there, as for the clips of a corpus."""


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
    """One window: its samples ``(T,)`` and its weight, which is its length in seconds."""

    samples: Tensor
    weight: float


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
    """Decode the windows of a clip one after the other.

    Raises:
        AudioError: If the file is missing, unreadable, too short, cut off, or holds samples that are not finite; the
            windows before may have come by then.
    """
    if item.error:
        raise AudioError(item.error)
    with seekable(item, reading) as path:
        try:
            yield from _pieces(item, Path(path), reading)
        except AudioError as error:
            raise AudioError(str(error).removeprefix(f"{path}: ")) from None


def _pieces(item: Item, path: Path, reading: Reading) -> Iterator[Piece]:
    seconds = _length(item, path, reading)
    clip, read = Clip(item.id, str(path), item.start, item.end), 0.0
    for window in cover(0, seconds, reading.window_seconds, reading.min_tail_seconds):
        try:
            samples_T = read_window(clip, window, reading.sample_rate, reading.resampler)
        except AudioError:
            if read < DECODED * seconds:
                raise
            return  # a header may promise a little more than there is
        length = len(samples_T) / reading.sample_rate
        is_whole = abs(length - window.seconds) < SHORTEST_TAIL
        read += window.seconds if is_whole else length
        if not is_whole and read < DECODED * seconds:
            raise AudioError(f"ends after {read:.2f} s of the {seconds:.2f} s that its header promises")
        if is_whole or window.start == 0 or length >= reading.min_tail_seconds:
            normalised_T = unit_rms(samples_T) if reading.normalise == "rms" else samples_T
            yield Piece(normalised_T, window.seconds if is_whole else length)


def _length(item: Item, path: Path, reading: Reading) -> float:
    """Return the length of a clip by its file's header, in seconds."""
    whole = audio_info(path).seconds
    seconds = (whole if item.end is None else min(item.end, whole)) - item.start
    if seconds <= 0:
        raise AudioError(f"no samples in it from {item.start:g} s on" if item.start else "no samples in it")
    if seconds < reading.min_seconds:
        raise AudioError(f"{seconds:.3f} s long, the encoder needs {reading.min_seconds:.3f} s")
    return seconds


@contextmanager
def seekable(item: Item, reading: Reading) -> Iterator[str]:
    """Give a file in which any position is found at once: the item's own, or a decoded copy while it is read.

    Ogg Vorbis, and what the ffmpeg program reads, have to be decoded from their start to get at a position; of a long
    clip that would take the square of its windows.
    """
    suffix = Path(item.path).suffix.lower()
    if suffix not in COMPRESSED_BY_FFMPEG | {".ogg", ".oga"} or not Path(item.path).is_file():
        yield item.path
    elif suffix in COMPRESSED_BY_FFMPEG:
        with tempfile.TemporaryDirectory() as folder:
            yield _convert(item.path, Path(folder) / "copy.w64")
    elif _is_one_window(item, reading):
        yield item.path
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield _decode_to(item.path, Path(folder) / "copy.w64")


def _is_one_window(item: Item, reading: Reading) -> bool:
    return reading.window_seconds is None or audio_info(item.path).seconds <= reading.window_seconds


def _convert(path: str, copy: Path) -> str:
    """Decode by ffmpeg block by block, to mono."""
    import soundfile

    with soundfile.SoundFile(str(copy), "w", FFMPEG_RATE, 1, format="W64", subtype="FLOAT") as target:
        for block in ffmpeg_blocks(path):
            target.write(block)
    return str(copy)


def _decode_to(path: str, copy: Path) -> str:
    import soundfile

    with soundfile.SoundFile(file_name(path)) as source:
        format_ = {"samplerate": source.samplerate, "channels": source.channels, "format": "W64", "subtype": "FLOAT"}
        with soundfile.SoundFile(str(copy), "w", **format_) as target:
            for block in source.blocks(BLOCK_FRAMES, dtype="float32", always_2d=True):
                target.write(block)
    return str(copy)


def to_mono(waveform: Tensor) -> Tensor:
    """Average the channels of one clip.

    Args:
        waveform: Shape ``(T,)`` or ``(C, T)``.

    Returns:
        Shape ``(T,)``, floating point.

    Raises:
        ValueError: If it has another shape, or holds integers.

    Example:
        >>> to_mono(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([2., 3.])
    """
    if waveform.ndim not in (1, 2) or 0 in waveform.shape[:-1]:
        raise ValueError(f"A clip has the shape (T,) or (C, T), got {tuple(waveform.shape)}.")
    if not waveform.is_floating_point():
        raise ValueError(f"Samples must be floating point with full scale at 1, got {waveform.dtype}.")
    return waveform if waveform.ndim == 1 else waveform.mean(dim=0)


def cut(waveform: Tensor, sample_rate: int, reading: Reading) -> list[tuple[Tensor, float]]:
    """Resample one clip and cut it into its windows.

    Args:
        waveform: Shape ``(T,)`` or ``(C, T)``.
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
