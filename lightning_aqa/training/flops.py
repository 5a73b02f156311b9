"""Floating-point operations: those of a step, counted by torch, and the most that a device can do in a second."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import torch
from lightning.fabric.utilities.throughput import get_available_flops

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "64-true": torch.float64}
"""Type that products are computed in, by the trainer's precision."""


def flop_counter() -> Any:
    """Return a context that counts the operations of what runs in it, forward and backward: ``get_total_flops()``.

    It is torch's ``FlopCounterMode``: two operations per multiplication and addition of matrix products, convolutions
    and attention. The gradient of a product counts as the products that are computed for it, so twice the forward where
    both factors need one; that of fused attention as five products to the forward's two, since one is computed again.
    Not counted are recurrent layers, Fourier transforms and all that is done element by element.

    Differs: torch has no formula for the fused attention of a CPU, which here counts as that of a GPU; and an operation
    whose formula fails counts as nothing, where torch would end the run.

    Example:
        >>> layer, rows = torch.nn.Linear(3, 5), torch.ones(7, 3)
        >>> with flop_counter() as counter:
        ...     layer(rows).sum().backward()
        >>> counter.get_total_flops() == 2 * (2 * 7 * 3 * 5)
        True
    """
    from torch.utils import flop_counter as torchs

    aten = torch.ops.aten
    on_cpu = {
        aten._scaled_dot_product_flash_attention_for_cpu: torchs.sdpa_flop,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: torchs.sdpa_backward_flop,
    }
    formulas = {operation: _or_none(formula) for operation, formula in {**torchs.flop_registry, **on_cpu}.items()}
    return torchs.FlopCounterMode(display=False, custom_mapping=formulas)


def _or_none(formula: Callable[..., int]) -> Callable[..., int]:
    @wraps(formula)
    def counted(*args: Any, **kwargs: Any) -> int:
        with suppress(Exception):
            return formula(*args, **kwargs)
        return 0

    counted._get_raw = True  # type: ignore[attr-defined]  # it takes tensors, as the formulas of the registry do
    return counted


def peak_flops(device: torch.device, dtype: torch.dtype | None) -> float | None:
    """Return the operations that the maker states for a device, per second; None where they are not known.

    Args:
        device: The device; only NVIDIA's are known, by Lightning's table of data sheets.
        dtype: Type of the factors; None is unknown.

    Example:
        >>> print(peak_flops(torch.device("cpu"), torch.float32))
        None
    """
    if device.type != "cuda" or dtype is None or "l40" in torch.cuda.get_device_name(device).lower():
        return None  # Lightning takes an L40 for an L4, which is a third of it
    with warnings.catch_warnings(), suppress(LookupError):
        warnings.simplefilter("ignore")
        return get_available_flops(device, dtype)
    return None
