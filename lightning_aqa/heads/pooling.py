"""From layers and frames to one vector per clip: mixing, standardising, and pooling that never sees padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SMALLEST_STD = 1e-4
"""Smallest deviation over frames, in their unit, which keeps its gradient finite where all frames are equal."""


def masked_mean(frames: Tensor, mask: Tensor) -> Tensor:
    """Average over the valid frames of each clip.

    Args:
        frames: Frames or tokens, shape ``(B, F, D)``.
        mask: True where valid, shape ``(B, F)``, bool; at least one in each row.

    Returns:
        Means, shape ``(B, D)``.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [100.0]]]), torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    total_BD = frames.masked_fill(~mask[..., None], 0.0).sum(dim=1)
    return total_BD / mask.sum(dim=1, keepdim=True)


def masked_mean_std(frames: Tensor, mask: Tensor, floor: float = SMALLEST_STD) -> Tensor:
    """Concatenate mean and population standard deviation over the valid frames of each clip.

    Args:
        frames: Frames, shape ``(B, F, D)``.
        mask: True where valid, shape ``(B, F)``, bool; at least one in each row.
        floor: Smallest deviation, in the unit of the frames; it keeps the gradient finite where all frames are equal.

    Returns:
        Means, then deviations, shape ``(B, 2 D)``.

    Example:
        >>> masked_mean_std(torch.tensor([[[1.0], [3.0], [100.0]]]), torch.tensor([[True, True, False]]))
        tensor([[2., 1.]])
    """
    frames = frames.masked_fill(~mask[..., None], 0.0)
    mean_BD = masked_mean(frames, mask)
    variance_BD = masked_mean((frames - mean_BD[:, None]).square(), mask)
    return torch.cat([mean_BD, variance_BD.clamp(min=floor**2).sqrt()], dim=1)


def attention_mean(frames: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Average over the valid frames of each clip with softmax weights.

    Args:
        frames: Frames, shape ``(B, F, D)``.
        logits: Logarithm of each frame's weight, up to a constant, shape ``(B, F)``.
        mask: True where valid, shape ``(B, F)``, bool; at least one in each row.

    Returns:
        Weighted means, shape ``(B, D)``.

    Example:
        >>> frames, logits = torch.tensor([[[1.0], [5.0]]]), torch.tensor([[3.0, 1.0]]).log()
        >>> attention_mean(frames, logits, torch.tensor([[True, True]]))
        tensor([[2.]])
    """
    weights_BF = logits.masked_fill(~mask, -torch.inf).softmax(dim=1)
    return torch.einsum("bf,bfd->bd", weights_BF, frames.masked_fill(~mask[..., None], 0.0))


class LayerMix(nn.Module):
    """Sum an encoder's layers with learnable weights that are positive and sum to one; at first all are equal.

    Args:
        num_layers: Number of encoder layers L.

    Example:
        >>> LayerMix(2)(torch.tensor([[[[1.0]], [[3.0]]]])).squeeze().item()
        2.0
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.logits_L = nn.Parameter(torch.zeros(num_layers))

    def forward(self, layers: Tensor) -> Tensor:
        """Mix hidden states ``(B, L, F, D)`` into ``(B, F, D)``."""
        weights_B1L = self.logits_L.softmax(dim=0).expand(len(layers), 1, -1)
        return torch.bmm(weights_B1L, layers.flatten(2)).view(len(layers), *layers.shape[2:])  # einsum would copy them


class AttentionPool(nn.Module):
    """Average frames with weights that a learned query gives them; at first it is the mean.

    Args:
        width: Width D of a frame.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_D = nn.Parameter(torch.zeros(width))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Pool frames ``(B, F, D)`` under a mask ``(B, F)`` into ``(B, D)``."""
        logits_BF = frames @ self.query_D / self.query_D.numel() ** 0.5
        return attention_mean(frames, logits_BF, mask)


class Standardise(nn.Module):
    """Shift and scale each element by constants that a checkpoint carries; 0 and 1 until they are fitted.

    Args:
        size: Number of elements.

    Example:
        >>> standardise = Standardise(1)
        >>> standardise.fit(torch.tensor([2.0]), torch.tensor([0.5]))
        >>> standardise(torch.tensor([[3.0]]))
        tensor([[2.]])
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(size))
        self.register_buffer("feature_std", torch.ones(size))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Take mean and deviation, each ``(size,)``; what hardly varies keeps its scale, or its noise would grow."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(torch.where(std > 1e-5 * (1 + mean.abs()), std, 1.0))

    def fit_frames(self, pooled: Sequence[Tensor]) -> None:
        """Take mean and deviation of the frames of all clips, each clip weighing alike.

        Args:
            pooled: What ``masked_mean_std`` gives for batches of clips, each ``(B, 2 size)``.

        Raises:
            ValueError: If there is nothing.
        """
        if not pooled:
            raise ValueError("fit_features needs the features of the training clips, got none.")
        mean_ND, std_ND = torch.cat(list(pooled)).chunk(2, dim=1)
        variance_D = std_ND.square().mean(dim=0) + mean_ND.var(dim=0, correction=0)
        self.fit(mean_ND.mean(dim=0), variance_D.sqrt())

    def forward(self, values: Tensor) -> Tensor:
        """Standardise values whose last dimension is ``size``."""
        return (values - self.feature_mean) / self.feature_std
