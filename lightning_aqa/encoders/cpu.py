"""Frozen weights on a CPU, laid out once for oneDNN's kernels, where torch lays them out again in each call.

``torch.compile`` does the same by the same operators when it freezes a model; here they are called without a compiler,
while ``packed()`` is entered, which scoring does. Where the operators are missing, or do not give what torch gives,
nothing is packed. Gains: ``benchmarks/encoders.py``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

# oneDNN keeps the kernels of so many shapes, else of 1024; clips of many lengths would fill these with half a gigabyte.
# It reads this when it is used first.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

PRIVATE_NAMES = (
    "torch.Tensor._version",
    "torch.ops.mkldnn._convolution_pointwise",
    "torch.ops.mkldnn._is_mkldnn_bf16_supported",
    "torch.ops.mkldnn._linear_pointwise",
    "torch.ops.mkldnn._reorder_convolution_weight",
    "torch.ops.mkldnn._reorder_linear_weight",
)
"""Private names of torch that are used here, and in no other file; tests/test_private_api.py looks."""

DTYPES = frozenset({torch.float32, torch.bfloat16})

_packs: MutableMapping[Tensor, tuple[list[Any], Tensor]] = cast(Any, WeakTensorKeyDictionary)()

Task = TypeVar("Task")


class _Thread(threading.local):
    """State of one thread: whether ``packed()`` is entered."""

    is_packing = False


_thread = _Thread()


@contextmanager
def packed() -> Iterator[None]:
    """Let frozen weights be packed, and clips run side by side, in this thread until the block ends.

    Example:
        >>> rows, layer = torch.ones(2, 3), torch.nn.Linear(3, 4).requires_grad_(False)
        >>> with packed():
        ...     found = layer(rows)
        >>> torch.allclose(found, layer(rows), atol=1e-6)
        True
    """
    before, _thread.is_packing = _thread.is_packing, True
    try:
        with _PackedProducts():
            yield
    finally:
        _thread.is_packing = before


def has_bfloat16() -> bool:
    """Tell whether this CPU multiplies bfloat16 in hardware."""
    backends = cast(Any, torch.backends)
    return bool(backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def is_available(dtype: torch.dtype) -> bool:
    """Tell whether torch has the operators for a type of numbers on this CPU, and they multiply as it does."""
    shapes = torch.linspace(-1, 1, 15).view(3, 5), torch.linspace(-2, 1, 20).view(4, 5), torch.ones(4)
    rows, weight, bias = (tensor.to(dtype) for tensor in shapes)
    try:
        with torch.inference_mode():
            found = _multiply(rows, torch.ops.mkldnn._reorder_linear_weight(weight, None), bias, gelu=True)
            return torch.allclose(found, F.gelu(F.linear(rows, weight, bias)), atol=100 * torch.finfo(dtype).eps)
    except (AttributeError, RuntimeError, TypeError):
        return False


def can_pack(rows: Tensor, *weights: Tensor) -> bool:
    """Tell whether a product of rows and weights may use packed weights.

    It may while ``packed()`` is entered, where all are on a CPU, the weights are frozen and no gradient is wanted.
    """
    return (
        _thread.is_packing
        and rows.device.type == "cpu"
        and rows.dtype in DTYPES
        and not (rows.requires_grad and torch.is_grad_enabled())
        and not torch.is_autocast_enabled("cpu")
        and all(weight.dtype == rows.dtype and not weight.requires_grad for weight in weights)
        and all(weight.device.type == "cpu" and type(weight) in (Tensor, torch.nn.Parameter) for weight in weights)
        and is_available(rows.dtype)
    )


def product(rows: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """Multiply rows by a weight that is packed at the first call, and again where it has changed.

    Args:
        rows: Shape ``(*, I)``; ``can_pack`` holds.
        weight: Shape ``(O, I)``, or ``(O, I / K, K)`` for a convolution whose K taps lie side by side in a row.
        bias: Shape ``(O,)``, or None.
        gelu: Whether to map the result by GELU, in the same pass over memory.

    Returns:
        Shape ``(*, O)``.
    """

    def pack() -> Tensor:
        flat = weight if weight.ndim == 2 else weight.transpose(1, 2).flatten(1)
        laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(flat.contiguous(), None)
        return laid_out

    return _multiply(rows, _laid_out([weight], pack), bias, gelu=gelu)


def same_convolution(rows: Tensor, conv: torch.nn.Conv1d, *, gelu: bool = False) -> Tensor:
    """Convolve over time with zeros beyond both ends, one output a row.

    Args:
        rows: Shape ``(B, T, I)``; ``can_pack`` holds.
        conv: Convolution of stride 1 with a padding of half its kernel; where that is even, the last output is cut.
        gelu: Whether to map the result by GELU.

    Returns:
        Shape ``(B, T, O)``.
    """
    padding, groups = [0, *map(int, conv.padding)], conv.groups

    def pack() -> Tensor:
        flat = conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        laid_out: Tensor = torch.ops.mkldnn._reorder_convolution_weight(flat, padding, [1, 1], [1, 1], groups, None)
        return laid_out

    image = rows.contiguous()[:, None].permute(0, 3, 1, 2)  # one row of pixels, channels last
    weight, sizes = _laid_out(list(conv.parameters()), pack), (padding, [1, 1], [1, 1], groups)
    found: Tensor = torch.ops.mkldnn._convolution_pointwise(image, weight, conv.bias, *sizes, *_post(gelu))
    return found[:, :, 0, : rows.shape[1]].transpose(1, 2)


def _multiply(rows: Tensor, laid_out: Tensor, bias: Tensor | None, *, gelu: bool) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, laid_out, bias, *_post(gelu))
    return found


def _post(gelu: bool) -> tuple[str, list[float], str]:
    """Name what the kernel does with its result, in the terms of the operators."""
    return ("gelu", [], "none") if gelu else ("none", [], "")


def _laid_out(weights: Sequence[Tensor], pack: Callable[[], Tensor]) -> Tensor:
    """Return what was packed of weights, kept as long as the first of them lives and none has changed."""
    stamp = [_stamp(weight) for weight in weights]
    found = _packs.get(weights[0])
    if found is None or found[0] != stamp:
        with torch.inference_mode():
            found = _packs[weights[0]] = (stamp, pack())
    return found[1]


def _stamp(weight: Tensor) -> tuple[Any, ...]:
    """Return what changes with a weight; what is written behind autograd's back (``.data``) shows in a few elements."""
    version = 0 if weight.is_inference() else weight._version
    some = weight.detach()[tuple(slice(None, None, max(1, size // 4)) for size in weight.shape)]
    return weight.data_ptr(), weight.dtype, version, some.tolist()


class _PackedProducts(TorchFunctionMode):
    """While it is entered, linear layers whose weights are frozen multiply by packed weights."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or what stands for it."""
        if (
            func is F.linear
            and not kwargs
            and args[1].ndim == 2
            and can_pack(*(one for one in args if one is not None))
        ):
            return product(args[0], args[1], args[2] if len(args) > 2 else None)
        return func(*args, **(kwargs or {}))


def side_by_side(work: Callable[[Task], None], tasks: Sequence[Task], device: torch.device) -> None:
    """Do some tasks, where ``packed()`` is entered as many at once as torch has threads, each on its share of these.

    What is left where the tasks cannot be shared out evenly, and all of it elsewhere than on a CPU, where gradients are
    wanted or where autocast is on, is done one after the other by all threads together.

    Args:
        work: Does one task; an error of it is raised here.
        tasks: The tasks, those of like size beside each other.
        device: Where they compute.
    """
    num_threads = torch.get_num_threads()
    at_once = min(num_threads, len(tasks))
    is_apart = _thread.is_packing and device.type == "cpu" and at_once > 1 and not torch.is_grad_enabled()
    num_shared = len(tasks) // at_once * at_once if is_apart and not torch.is_autocast_enabled("cpu") else 0
    if num_shared:
        infers = torch.is_inference_mode_enabled()

        def apart(task: Task) -> None:
            with torch.inference_mode(infers), torch.no_grad(), packed():
                work(task)

        share = (num_threads // at_once,)
        try:
            with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=share) as pool:
                for _ in pool.map(apart, tasks[:num_shared]):
                    pass
        finally:
            torch.set_num_threads(num_threads)  # of this thread it is the same; later threads start with it
    for task in tasks[num_shared:]:
        work(task)
