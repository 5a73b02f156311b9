"""Layers of MuQ: its config, rotary positions, fixed norms, and the three mixers of a Conformer layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"swish": F.silu, "silu": F.silu, "gelu": F.gelu, "relu": F.relu}
TIME_STRIDES = {25: (2, 2), 50: (2, 1)}
"""Steps of the two convolution blocks over time for each number of frames per second; over mel bands both are 2."""
OUTER = ("label_rate", "hop_length", "n_mels", "conv_dim", "encoder_dim", "encoder_depth")
"""Keys of the config itself; ``w2v2_config`` says the rest, and has a ``conv_dim`` of something else."""


@dataclass(frozen=True)
class MuQConfig:
    """Sizes of MuQ under the names of the official ``config.json``, its ``stat`` and its ``w2v2_config``."""

    melspec_2048_mean: float
    melspec_2048_std: float
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    conv_depthwise_kernel_size: int
    rotary_embedding_base: int
    layer_norm_eps: float
    hidden_dropout: float
    attention_dropout: float
    activation_dropout: float
    conformer_conv_dropout: float
    label_rate: int
    hop_length: int
    n_mels: int
    conv_dim: int
    encoder_dim: int
    encoder_depth: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> MuQConfig:
        """Read an official config.

        Raises:
            ValueError: If something is missing, or if it describes no MuQ.
        """
        inner = settings.get("w2v2_config", {})
        known = {**inner, **settings.get("stat", {}), **{name: settings.get(name) for name in OUTER}}
        values: dict[str, Any] = {name: known.get(name) for name in cls.__dataclass_fields__}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise ValueError(f"MuQ's config lacks {', '.join(missing)}; give the config.json of its repository.")
        config = cls(**values)
        if inner.get("position_embeddings_type") != "rotary":
            raise ValueError(f"MuQ has rotary positions, got {inner.get('position_embeddings_type')!r}.")
        if config.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {config.hidden_act!r}.")
        if config.label_rate not in TIME_STRIDES:
            raise ValueError(f"label_rate must be one of {', '.join(map(str, TIME_STRIDES))}, got {config.label_rate}.")
        return config


def rotary_rates(size: int, base: float, device: torch.device | None = None) -> Tensor:
    """Return the angle per frame of each pair of dimensions, shape ``(size / 2,)``, float32.

    Example:
        >>> rotary_rates(4, 10000)
        tensor([1.0000, 0.0100])
    """
    return 1.0 / torch.pow(base, torch.arange(0, size, 2, device=device).float() / size)


def rotate(hidden: Tensor, num_heads: int, base: float) -> Tensor:
    """Turn the two halves of each head's share against each other by angles that grow with the frame.

    Args:
        hidden: Shape ``(B, F, D)``; MuQ's positions are turned before the projections, not after.
        num_heads: Number of shares of D.
        base: Base of the rates.

    Returns:
        Shape ``(B, F, D)``.

    Example:
        >>> rotate(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), 1, 10000.0)
        tensor([[[1.0000, 0.0000],
                 [0.5403, 0.8415]]])
    """
    heads_BFHK = hidden.view(*hidden.shape[:2], num_heads, -1)
    rates = rotary_rates(heads_BFHK.shape[-1], base, hidden.device)
    angles_F1K = (torch.arange(hidden.shape[1], device=hidden.device)[:, None] * rates).repeat(1, 2)[:, None]
    first, second = heads_BFHK.chunk(2, dim=-1)
    turned_BFHK = torch.cat((-second, first), dim=-1)
    mixed_BFHK = heads_BFHK * angles_F1K.cos().to(hidden) + turned_BFHK * angles_F1K.sin().to(hidden)
    return mixed_BFHK.flatten(2)


class FixedNorm2d(nn.BatchNorm2d):
    """Normalise by the statistics of pre-training in train mode too, so that no clip sees its batch mates."""

    def train(self, mode: bool = True) -> FixedNorm2d:
        """Stay in eval mode; scale and shift are trained all the same."""
        return super().train(False)


class FixedNorm1d(nn.BatchNorm1d):
    """Normalise by the statistics of pre-training in train mode too, so that no clip sees its batch mates."""

    def train(self, mode: bool = True) -> FixedNorm1d:
        """Stay in eval mode; scale and shift are trained all the same."""
        return super().train(False)


class Perceptron(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.encoder_dim, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.encoder_dim)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.inner_dropout, self.dropout = nn.Dropout(config.activation_dropout), nn.Dropout(config.hidden_dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, F, D)``."""
        inner = self.inner_dropout(self.activation(self.intermediate_dense(hidden)))
        mapped: Tensor = self.dropout(self.output_dense(inner))
        return mapped


class MuQAttention(nn.Module):
    """Fused self-attention; queries and keys are projected from frames with their positions turned in."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        width = config.encoder_dim
        self.num_heads, self.base, self.dropout = (
            config.num_attention_heads,
            float(config.rotary_embedding_base),
            config.attention_dropout,
        )
        self.linear_q, self.linear_k = nn.Linear(width, width), nn.Linear(width, width)
        self.linear_v, self.linear_out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Mix frames ``(B, F, D)``; keys are where the mask ``(B, F)`` is true."""
        placed = rotate(hidden, self.num_heads, self.base)
        query, key, value = (
            project(source).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project, source in ((self.linear_q, placed), (self.linear_k, placed), (self.linear_v, hidden))
        )
        keys = None if mask is None else mask[:, None, None]
        dropout = self.dropout if self.training else 0.0
        mixed_BHFK = F.scaled_dot_product_attention(query, key, value, attn_mask=keys, dropout_p=dropout)
        mixed: Tensor = self.linear_out(mixed_BHFK.transpose(1, 2).flatten(2))
        return mixed


class MuQConvolution(nn.Module):
    """A gated depthwise convolution over valid frames."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        width, kernel = config.encoder_dim, config.conv_depthwise_kernel_size
        self.layer_norm, self.batch_norm = nn.LayerNorm(width), FixedNorm1d(width)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)
        self.activation, self.dropout = ACTIVATIONS[config.hidden_act], nn.Dropout(config.conformer_conv_dropout)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Mix frames ``(B, F, D)``; beyond a clip there is silence, whatever its padding holds."""
        gated_BDF = F.glu(self.pointwise_conv1(self.layer_norm(hidden).transpose(1, 2)), dim=1)
        if mask is not None:
            gated_BDF = gated_BDF.masked_fill(~mask[:, None], 0.0)
        mixed_BDF = self.activation(self.batch_norm(self.depthwise_conv(gated_BDF)))
        mixed: Tensor = self.dropout(self.pointwise_conv2(mixed_BDF)).transpose(1, 2)
        return mixed
