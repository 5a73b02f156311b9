"""Floating-point operations: those of a step, counted by torch, and the most that a device can do in a second."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, cast

import torch
from lightning.fabric.utilities.throughput import get_available_flops

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "64-true": torch.float64}
"""Type that products are computed in, by the trainer's precision."""
PRIVATE_NAMES = (
    "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu",
    "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward",
)
"""Names by their dotted paths; tests/test_private_api.py looks whether they are still there."""


def flop_counter() -> Any:
    """Return a context that counts the operations of what runs in it, forward and backward: ``get_total_flops()``.

    It is torch's ``FlopCounterMode``: two operations per multiplication and addition of matrix products, convolutions
    and attention. The gradient of a product counts as the products that are computed for it, so twice the forward where
    both factors need one; that of fused attention as five products to the forward's two, since one is computed again.
    Not counted are recurrent layers, Fourier transforms and all that is done element by element.

    Differs: torch has no formula for the fused attention of a CPU, which here counts as that of a GPU; and a product
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
    known = {**torchs.flop_registry, **on_cpu}
    of_shapes = {name: _or_nothing(formula) for name, formula in known.items() if hasattr(formula, "__wrapped__")}
    return torchs.FlopCounterMode(display=False, custom_mapping=of_shapes)


def _or_nothing(formula: Callable[..., int]) -> Callable[..., int]:
    """Return a formula of shapes that gives 0 where it fails; torch takes the shapes of tensors before it calls it."""
    plain: Callable[..., int] = cast(Any, formula).__wrapped__

    @wraps(plain)
    def counted(*args: Any, **kwargs: Any) -> int:
        with suppress(Exception):
            return plain(*args, **kwargs)
        return 0

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
