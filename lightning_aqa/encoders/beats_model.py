"""The architecture of BEATs, on clips packed end to end: no padding is computed, and no clip sees another.

SpeechBrain carries this architecture too and gives the same numbers. This one is here for its speed: it computes the
tokens of ragged clips without padding, and attention is fused (``benchmarks/encoders.py`` measures both).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu}
# Queries that attend at once: what bounds the memory of attention, to QUERIES times the tokens of a clip per head.
QUERIES = 128


@dataclass(frozen=True)
class BEATsConfig:
    """Sizes and switches of BEATs under the names and with the defaults of the original."""

    input_patch_size: int = 16
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_norm_first: bool = False
    deep_norm: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.0
    dropout_input: float = 0.0
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: bool = False
    num_buckets: int = 320
    max_distance: int = 1280
    gru_rel_pos: bool = False
    finetuned_model: bool = False
    predictor_dropout: float = 0.1
    predictor_class: int = 527

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> BEATsConfig:
        """Take what is known from a mapping; a checkpoint's ``cfg`` holds more, about its pre-training.

        Raises:
            ValueError: If the switches describe no BEATs.
        """
        config = cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
        if config.deep_norm and config.layer_norm_first:
            raise ValueError("deep_norm and layer_norm_first exclude each other, got both.")
        if config.activation_fn not in ACTIVATIONS:
            raise ValueError(f"activation_fn must be one of {', '.join(ACTIVATIONS)}, got {config.activation_fn!r}.")
        return config


def position_buckets(offsets: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Sort offsets between tokens into buckets: one each when near, logarithmically wider ones when far.

    Args:
        offsets: Key position less query position, int64, any shape.
        num_buckets: Number of buckets; half of them are for keys after the query.
        max_distance: Distance from which on all offsets share the last bucket.

    Returns:
        Buckets in ``[0, num_buckets)``, the shape of ``offsets``.

    Example:
        >>> position_buckets(torch.tensor([0, -1, 1, -7, 7, -1000]), num_buckets=16, max_distance=32)
        tensor([ 0,  1,  9,  5, 13,  7])
    """
    half = num_buckets // 2
    exact = half // 2
    distance = offsets.abs()
    octaves = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (octaves * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (offsets > 0)


class Attention(nn.Module):
    """Self-attention within each clip, with a bias by relative position that a gate on the query scales."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        width, self.num_heads = config.encoder_embed_dim, config.encoder_attention_heads
        self.dropout = config.attention_dropout
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.is_gated = config.gru_rel_pos
        if self.is_gated:
            self.grep_linear = nn.Linear(width // self.num_heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.num_heads, 1, 1))

    def forward(self, hidden: Tensor, lengths: Sequence[int], table: Tensor | None) -> Tensor:
        """Mix packed tokens ``(N, D)`` of clips that are ``lengths`` tokens long; ``table`` as in ``Encoder``."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query_NHK, key_NHK, value_NHK = (project(hidden).unflatten(-1, (self.num_heads, -1)) for project in projections)
        gate_NH1 = self._gate(query_NHK) if self.is_gated and table is not None else torch.ones_like(query_NHK[..., :1])
        clips = zip(*(tensor.split(lengths) for tensor in (query_NHK, key_NHK, value_NHK, gate_NH1)), strict=True)
        mixed_NHK = torch.cat([self._attend(*clip, table) for clip in clips])
        mixed_ND: Tensor = self.out_proj(mixed_NHK.flatten(1))
        return mixed_ND

    def _gate(self, query: Tensor) -> Tensor:
        """Return the factor of the position bias of each token and head, ``(N, H, 1)``."""
        first_NH1, second_NH1 = self.grep_linear(query).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)
        gate_NH1: Tensor = first_NH1 * (second_NH1 * self.grep_a.flatten(2)[0] - 1.0) + 2.0
        return gate_NH1

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, gate: Tensor, table: Tensor | None) -> Tensor:
        """Attend within one clip, ``(N, H, K)``, a block of queries after the other."""
        length, dropout = len(query), self.dropout if self.training else 0.0
        query_HNK, gate_HN1 = query.transpose(0, 1), gate.transpose(0, 1)
        # With the keys in reverse order the bias of query n and key m is table[n + m]: a view, of overlapping rows.
        key_HMK, value_HMK = key.flip(0).transpose(0, 1), value.flip(0).transpose(0, 1)
        bias_HNM = None if table is None else _middle(table, 2 * length - 1).unfold(1, length, 1)
        blocks = []
        for rows in (slice(start, start + QUERIES) for start in range(0, length, QUERIES)):
            bias = None if bias_HNM is None else (gate_HN1[:, rows] * bias_HNM[:, rows])[None]
            block = (query_HNK[None, :, rows], key_HMK[None], value_HMK[None])
            blocks.append(F.scaled_dot_product_attention(*block, attn_mask=bias, dropout_p=dropout)[0])
        return torch.cat(blocks, dim=1).transpose(0, 1)


def _middle(table: Tensor, size: int) -> Tensor:
    """Cut the same number of columns off both ends."""
    start = (table.shape[1] - size) // 2
    return table[:, start : start + size]


class Layer(nn.Module):
    """Attention and a perceptron, each with its residual and its norm, before, after, or after and scaled."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        width, self.norm_first = config.encoder_embed_dim, config.layer_norm_first
        self.self_attn = Attention(config)
        self.fc1 = nn.Linear(width, config.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_embed_dim, width)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.activation = ACTIVATIONS[config.activation_fn]
        self.dropout, self.activation_dropout = nn.Dropout(config.dropout), nn.Dropout(config.activation_dropout)
        self.residual_scale = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0

    def forward(self, hidden: Tensor, lengths: Sequence[int], table: Tensor | None) -> Tensor:
        """Map packed tokens ``(N, D)``."""
        if self.norm_first:
            hidden = hidden + self.dropout(self.self_attn(self.self_attn_layer_norm(hidden), lengths, table))
            return hidden + self._perceptron(self.final_layer_norm(hidden))
        mixed = self.dropout(self.self_attn(hidden, lengths, table))
        hidden = self.self_attn_layer_norm(torch.add(mixed, hidden, alpha=self.residual_scale))
        mapped: Tensor = self.final_layer_norm(torch.add(self._perceptron(hidden), hidden, alpha=self.residual_scale))
        return mapped

    def _perceptron(self, hidden: Tensor) -> Tensor:
        mapped: Tensor = self.dropout(self.fc2(self.activation_dropout(self.activation(self.fc1(hidden)))))
        return mapped


class PositionalConvolution(nn.Module):
    """A grouped convolution over the tokens of a clip, its weight normalised for each place of the kernel."""

    def __init__(self, width: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_v = nn.Parameter(torch.randn(width, width // groups, kernel_size))
        self.weight_g = nn.Parameter(torch.full((1, 1, kernel_size), 2 * width**0.5 / kernel_size**0.5))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Convolve packed tokens ``(N, D)`` clip by clip, with zeros beyond both ends of each."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        padding = weight.shape[-1] // 2
        clips = (
            F.conv1d(clip_ND.T[None], weight, self.bias, padding=padding, groups=self.groups)[0].T[: len(clip_ND)]
            for clip_ND in hidden.split(lengths)
        )
        return F.gelu(torch.cat(list(clips)))


class Encoder(nn.Module):
    """The transformer: positional convolution, then layers that share one table of position biases."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder_embed_dim
        convolution = PositionalConvolution(width, config.conv_pos, config.conv_pos_groups)
        self.pos_conv = nn.ModuleList([convolution])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.encoder_layers))
        self.layer_norm, self.dropout = nn.LayerNorm(width), nn.Dropout(config.dropout)
        if config.relative_position_embedding:
            self.relative_attention_bias = nn.Embedding(config.num_buckets, config.encoder_attention_heads)

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Return the input of the first layer and the output of each, packed ``(N, D)``."""
        hidden = tokens + self.pos_conv[0](tokens, lengths)
        hidden = self.dropout(hidden if self.config.layer_norm_first else self.layer_norm(hidden))
        table, states = self._position_table(max(lengths), hidden), [hidden]
        for layer in self.layers:
            states.append(self._maybe_drop(states[-1], layer(states[-1], lengths, table)))
        return states

    def _position_table(self, length: int, like: Tensor) -> Tensor | None:
        """Return the bias of each head from ``length - 1`` tokens ahead to as many behind, ``(H, 2 * length - 1)``."""
        if not self.config.relative_position_embedding:
            return None
        # On the CPU wherever the model is, as in the original: a rounding of the logarithm would move a bucket.
        offsets = torch.arange(length - 1, -length, -1)
        buckets = position_buckets(offsets, self.config.num_buckets, self.config.max_distance)
        table_HR: Tensor = self.relative_attention_bias(buckets.to(like.device)).T.to(like.dtype).contiguous()
        return table_HR

    def _maybe_drop(self, before: Tensor, after: Tensor) -> Tensor:
        """Skip a layer now and then in training; its gradient is zero then, not missing, as DDP needs it."""
        if not self.training or self.config.encoder_layerdrop == 0:
            return after
        return torch.lerp(before, after, float(torch.rand(()) >= self.config.encoder_layerdrop))


class Model(nn.Module):
    """BEATs from filter banks to hidden states, with the names of the original's parameters."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        embed, width, patch = config.embed_dim, config.encoder_embed_dim, config.input_patch_size
        self.config = config
        self.patch_embedding = nn.Conv2d(1, embed, patch, stride=patch, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(embed)
        self.post_extract_proj = nn.Linear(embed, width) if embed != width else nn.Identity()
        self.dropout_input, self.encoder = nn.Dropout(config.dropout_input), Encoder(config)
        if config.finetuned_model:
            self.predictor_dropout = nn.Dropout(config.predictor_dropout)
            self.predictor = nn.Linear(width, config.predictor_class)

    def forward(self, banks: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Encode packed clips.

        Args:
            banks: Filter banks of all clips end to end, each cut to whole patches, shape ``(frames, 128)``.
            lengths: Number of tokens of each clip, which are patches, time-major.

        Returns:
            The input of the first layer and the output of each, each of shape ``(sum(lengths), D)``.
        """
        patches_EPQ = self.patch_embedding(banks[None, None].to(self.patch_embedding.weight.dtype))[0]
        tokens_ND = self.post_extract_proj(self.layer_norm(patches_EPQ.flatten(1).T))
        states: list[Tensor] = self.encoder(self.dropout_input(tokens_ND), lengths)
        return states

    def probabilities(self, states: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
        """Return the class probabilities of packed clips from their hidden states, shape ``(B, classes)``."""
        last = self.encoder.layer_norm(states[-1]) if self.config.layer_norm_first else states[-1]
        logits = self.predictor(self.predictor_dropout(last))
        return torch.stack([clip.mean(0) for clip in logits.split(lengths)]).sigmoid()
