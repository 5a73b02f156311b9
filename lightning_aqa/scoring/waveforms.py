"""From waveforms in memory to windows at the encoder's rate, with a gradient all the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_aqa.data.dataset import unit_level
from lightning_aqa.data.windows import Window, cover
from lightning_aqa.scoring.reading import Reading


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
    levels = [unit_level(piece) for piece in pieces] if reading.level == "rms" else pieces
    return [(piece, window.weight) for piece, window in zip(levels, windows, strict=True)]


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
    means = [part.new_tensor(own) @ part / sum(own) for part, own in zip(parts, weights, strict=True)]
    return torch.stack(means)
