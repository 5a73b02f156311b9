"""Convolutions over time as matrix products, and the group normalisation after the first of them folded into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.encoders.cpu import can_pack, product


def frames_of(num_samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Count the frames that unpadded convolutions make of some samples.

    Example:
        >>> frames_of(160000, [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
        499
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    return max(num_samples, 0)


def rows_for(num_frames: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Count the samples from which ``strided_convolution`` makes a number of frames, layer upon layer.

    Example:
        >>> rows_for(1, [10, 3], [5, 2])
        25
    """
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        num_frames = (num_frames - 1 - (-kernel // stride)) * stride
    return num_frames


def tap_groups(weight: Tensor, stride: int) -> list[Tensor]:
    """Lay the taps of a convolution, shape ``(O, I, K)``, out for ``strided_convolution``: ``stride`` of them a group.

    Example:
        >>> [tuple(group.shape) for group in tap_groups(torch.ones(7, 4, 3), 2)]
        [(8, 7), (4, 7)]
    """
    num_outputs, num_inputs, _ = weight.shape
    return list(torch.split(weight.permute(2, 1, 0).reshape(-1, num_outputs), stride * num_inputs))


def strided_convolution(rows: Tensor, groups: Sequence[Tensor], bias: Tensor | None, stride: int) -> Tensor:
    """Convolve over time by matrix products on the rows as they lie in memory.

    ``stride`` rows side by side are one row of a block matrix, and each group of ``stride`` taps is one product. No
    row is copied, unlike in a convolution that wants channels first.

    Args:
        rows: Input over time, shape ``(T, I)``, with T a multiple of ``stride``.
        groups: The taps, from ``tap_groups``; each of shape ``(taps * I, O)``.
        bias: Shape ``(O,)``, or None.
        stride: Rows from one output to the next.

    Returns:
        Output over time, shape ``(T / stride + 1 - len(groups), O)``.

    Example:
        >>> strided_convolution(torch.arange(6.0)[:, None], tap_groups(torch.ones(1, 1, 3), 2), None, 2).flatten()
        tensor([3., 9.])
    """
    blocks = rows.reshape(len(rows) // stride, -1)
    size = len(blocks) + 1 - len(groups)
    first = blocks[:size, : len(groups[0])]
    output = first @ groups[0] if bias is None else torch.addmm(bias, first, groups[0])
    for shift, group in enumerate(groups[1:], start=1):
        rows = blocks[shift : shift + size, : len(group)]
        output.addmm_(rows.to(output.dtype), group.to(output.dtype))  # in place is not known to autocast
    return output


def packed_convolution(rows: Tensor, weight: Tensor, bias: Tensor | None, stride: int, *, gelu: bool) -> Tensor:
    """Do the same where ``can_pack`` holds, by one product on rows that overlap.

    Args:
        rows: Input over time, shape ``(T, I)``, contiguous.
        weight: Taps, shape ``(O, I, K)``.
        bias: Shape ``(O,)``, or None.
        stride: Rows from one output to the next.
        gelu: Whether to map the output by GELU.

    Returns:
        Output over time, shape ``((T - K) // stride + 1, O)``.
    """
    (num_rows, width), size = rows.shape, weight.shape[2]
    pieces = rows.as_strided(((num_rows - size) // stride + 1, size * width), (stride * width, 1))
    return product(pieces, weight, bias, gelu=gelu)


class StridedConvolution(NamedTuple):
    """A convolution over time with what follows it.

    Args:
        weight: Taps, shape ``(O, I, K)``.
        bias: Shape ``(O,)``, or None.
        stride: Rows from one output to the next.
        groups: The taps, from ``tap_groups``.
        norm: Normalisation of each output row, or None.
        activation: What maps the rows at the end.
    """

    weight: Tensor
    bias: Tensor | None
    stride: int
    groups: Sequence[Tensor]
    norm: nn.Module | None
    activation: nn.Module

    def __call__(self, rows: Tensor) -> Tensor:
        """Map rows ``(T, I)``, with T a multiple of the stride."""
        rows = rows.to(self.groups[0].dtype)
        is_fused = self.norm is None and is_gelu(self.activation)
        weights = [self.weight] if self.bias is None else [self.weight, self.bias]
        is_packed = can_pack(rows, *weights)
        if is_packed:
            hidden = packed_convolution(rows, self.weight, self.bias, self.stride, gelu=is_fused)
        else:
            hidden = strided_convolution(rows, self.groups, self.bias, self.stride)
        if self.norm is not None:
            hidden = self.norm(hidden)
        mapped: Tensor = hidden if is_fused and is_packed else self.activation(hidden)
        return mapped


def is_gelu(activation: Any) -> bool:
    """Tell whether a module is the exact GELU, of torch or of transformers."""
    return type(activation).__name__ in {"GELU", "GELUActivation"} and "tanh" not in repr(activation)


def fold_group_norm(
    samples: Tensor, window: int, weight: Tensor, norm: nn.GroupNorm, stride: int
) -> tuple[Tensor, Tensor]:
    r"""Fold a normalisation over time into the convolution before it, for one clip.

    An output is :math:`w^\top x_t` for a piece :math:`x_t` of the audio, so that over the window its mean is
    :math:`w^\top \mu` and its variance :math:`w^\top \Sigma w`, with the mean and covariance of the pieces. Where the
    window goes on after the clip the pieces are zero, so that only their number counts. A bias before the
    normalisation would cancel.

    Args:
        samples: The clip, shape ``(T,)``.
        window: Samples that the statistics run over, at least T.
        weight: Taps of the convolution, shape ``(O, 1, K)``.
        norm: Normalisation of each channel over time.
        stride: Samples from one piece to the next.

    Returns:
        Weight and bias of the one convolution that does both, float32.
    """
    size = weight.shape[2]
    count = (window - size) // stride + 1
    exact = torch.float32 if samples.device.type == "mps" else torch.float64
    pieces_TK = F.pad(samples.to(exact), (0, size)).unfold(0, size, stride)[: min(count, -(-len(samples) // stride))]
    mean_K = pieces_TK.sum(dim=0) / count
    covariance_KK = pieces_TK.T @ pieces_TK / count - mean_K.outer(mean_K)
    taps_OK = weight.squeeze(1).to(exact)
    variance_O = ((taps_OK @ covariance_KK) * taps_OK).sum(dim=1).clamp(min=0.0)
    scale_O = norm.weight.to(exact) * (variance_O + norm.eps).rsqrt()
    bias_O = norm.bias.to(exact) - scale_O * (taps_OK @ mean_K)
    return (scale_O[:, None, None] * weight.to(exact)).float(), bias_O.float()
