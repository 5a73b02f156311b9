"""Audio in memory, in whatever form it comes: tensors, arrays and lists, floats and integers, as one kind of tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_aqa.data.decoding import HIGHEST_RATE, LOWEST_RATE

INTEGERS = {torch.int16: 2**15, torch.int32: 2**31, torch.int8: 2**7, torch.uint8: 2**7}
"""Full scale of integers; those without a sign are silent at it."""


def is_array(value: object) -> bool:
    """Tell whether a value holds samples, and is no path or list of clips."""
    return isinstance(value, Tensor | np.ndarray)


def is_numbers(value: Sequence[Any]) -> bool:
    """Tell whether a list holds the samples of one clip, or of its channels."""
    first = value[0]
    return _is_number(first) or (isinstance(first, list | tuple) and len(first) > 0 and _is_number(first[0]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number)


def as_tensor(audio: object) -> Tensor:
    """Return samples as floats at full scale 1.

    Args:
        audio: A tensor, an array or a list. Integers of 8, 16 and 32 bits have the full scale of a file of these:
            a sample of 16 bits is divided by 32768.

    Raises:
        ValueError: If it holds no numbers, or integers without a full scale.

    Example:
        >>> as_tensor(np.array([-32768, 16384], dtype=np.int16))
        tensor([-1.0000,  0.5000])
    """
    tensor = audio if isinstance(audio, Tensor) else _from_array(audio)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"Samples are real numbers, got {tensor.dtype}.")
    if tensor.is_floating_point():
        return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    full_scale = INTEGERS.get(tensor.dtype)
    if full_scale is None:
        raise ValueError(
            f"Samples of {tensor.dtype} have no full scale; give floating point with full scale at 1, int16 or int32."
        )
    centre = full_scale if tensor.dtype == torch.uint8 else 0
    return ((tensor.double() - centre) / full_scale).float()


def _from_array(audio: object) -> Tensor:
    try:
        array = np.ascontiguousarray(audio) if np.ndim(audio) else np.asarray(audio)  # type: ignore[arg-type]
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(array.astype(np.float64) if array.dtype == np.longdouble else array.copy())
    except (TypeError, ValueError) as error:
        raise ValueError(f"Samples are a tensor, an array or a list of numbers, got {_kind(audio)}.") from error


def _kind(audio: object) -> str:
    dtype = getattr(audio, "dtype", None)
    return type(audio).__name__ if dtype is None else f"{type(audio).__name__} of {dtype}"


def to_mono(waveform: Tensor) -> Tensor:
    """Average the channels of one clip.

    Args:
        waveform: Shape ``(T,)``, ``(C, T)``, or ``(T, C)`` as soundfile has it; the longer side is time.

    Returns:
        Shape ``(T,)``, floating point.

    Raises:
        ValueError: If it has another shape, or holds integers without a full scale.

    Example:
        >>> to_mono(torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]))
        tensor([2., 3., 4.])
        >>> to_mono(torch.tensor([[1.0, 3.0], [2.0, 4.0], [3.0, 5.0]]))
        tensor([2., 3., 4.])
    """
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and waveform.shape[0] == 0):
        raise ValueError(f"A clip has the shape (T,) or (C, T), got {tuple(waveform.shape)}.")
    if waveform.numel() == 0:
        return torch.zeros(0)
    floats = as_tensor(waveform)
    return floats if floats.ndim == 1 else floats.mean(dim=0 if floats.shape[0] <= floats.shape[1] else 1)


def as_rate(rate: object) -> int:
    """Return a rate in Hz as a whole number.

    Raises:
        ValueError: If it is no such number, or none that audio has.

    Example:
        >>> as_rate(44100.0)
        44100
    """
    is_number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool | np.complexfloating)
    if not is_number:
        raise ValueError(f"Tensors need their sample_rate, in Hz, got {rate!r}.")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or rate != int(rate):  # type: ignore[operator,call-overload]
        raise ValueError(
            f"Tensors need their sample_rate, a whole number from {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {rate!s:.20}."
        )
    return int(rate)  # type: ignore[call-overload,no-any-return]
