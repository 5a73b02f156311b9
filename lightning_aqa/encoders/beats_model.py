"""The architecture of BEATs, on clips packed end to end: no padding is computed, and no clip sees another.

SpeechBrain carries this architecture too and gives the same numbers. This one is here for its speed: it computes the
tokens of ragged clips without padding, and attention is fused (``benchmarks/encoders.py`` measures both).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.encoders.beats_attention import BEATsAttention, position_buckets

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


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


class BEATsLayer(nn.Module):
    """Attention and a perceptron, each with its residual and its norm, before, after, or after and scaled."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        width, self.norm_first = config.encoder_embed_dim, config.layer_norm_first
        self.self_attn = BEATsAttention(
            width, config.encoder_attention_heads, dropout=config.attention_dropout, is_gated=config.gru_rel_pos
        )
        self.fc1 = nn.Linear(width, config.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_embed_dim, width)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.activation = ACTIVATIONS[config.activation_fn]
        self.dropout, self.activation_dropout = nn.Dropout(config.dropout), nn.Dropout(config.activation_dropout)
        self.residual_scale = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0

    def forward(self, hidden: Tensor, lengths: list[int], table: Tensor | None) -> Tensor:
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
    """A grouped convolution over the tokens of a clip, its weight normalised for each position of the kernel."""

    def __init__(self, width: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_v = nn.Parameter(torch.randn(width, width // groups, kernel_size))
        self.weight_g = nn.Parameter(torch.full((1, 1, kernel_size), 2 * width**0.5 / kernel_size**0.5))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, lengths: list[int]) -> Tensor:
        """Convolve packed tokens ``(N, D)`` clip by clip, with zeros beyond both ends of each."""
        with torch.autocast(hidden.device.type, enabled=False):
            norm = self.weight_v.square().sum((0, 1)).sqrt()
            weight = (self.weight_v * (self.weight_g / norm))[..., None]
            # In two dimensions, since channels that lie beside one another are twice as fast on a CPU; in float32
            # alone, since in bfloat16 torch 2.11 returns garbage for them on some CPUs (AMD with AVX-512).
            layout = torch.channels_last if weight.dtype == torch.float32 else torch.contiguous_format
            weight = weight.contiguous(memory_format=layout)
            clips = (clip_ND.T[None, :, :, None] for clip_ND in torch.split(hidden.to(weight.dtype), lengths))
            convolved = [self._convolve(clip.contiguous(memory_format=layout), weight) for clip in clips]
        return F.gelu(torch.cat([clip_DN.T for clip_DN in convolved]))

    def _convolve(self, clip: Tensor, weight: Tensor) -> Tensor:
        padding = weight.shape[2] // 2
        convolved = F.conv2d(clip, weight, self.bias, padding=(padding, 0), groups=self.groups)
        return convolved[0, :, : clip.shape[2], 0]


class BEATsStack(nn.Module):
    """The transformer: positional convolution, then layers that share one table of position biases."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder_embed_dim
        convolution = PositionalConvolution(width, config.conv_pos, config.conv_pos_groups)
        self.pos_conv = nn.ModuleList([convolution])
        self.layers = nn.ModuleList(BEATsLayer(config) for _ in range(config.encoder_layers))
        self.layer_norm, self.dropout = nn.LayerNorm(width), nn.Dropout(config.dropout)
        if config.relative_position_embedding:
            self.relative_attention_bias = nn.Embedding(config.num_buckets, config.encoder_attention_heads)

    def forward(self, tokens: Tensor, lengths: list[int]) -> list[Tensor]:
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


class BEATsModel(nn.Module):
    """BEATs from filter banks to hidden states, with the names of the original's parameters."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        embed, width, patch = config.embed_dim, config.encoder_embed_dim, config.input_patch_size
        self.config = config
        self.patch_embedding = nn.Conv2d(1, embed, patch, stride=patch, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(embed)
        self.post_extract_proj = nn.Linear(embed, width) if embed != width else nn.Identity()
        self.dropout_input, self.encoder = nn.Dropout(config.dropout_input), BEATsStack(config)
        if config.finetuned_model:
            self.predictor_dropout = nn.Dropout(config.predictor_dropout)
            self.predictor = nn.Linear(width, config.predictor_class)

    def forward(self, banks: Tensor, lengths: list[int]) -> list[Tensor]:
        """Encode packed clips.

        Args:
            banks: Filter banks of all clips end to end, each cut to whole patches, shape ``(frames, 128)``.
            lengths: Number of tokens of each clip, which are patches, time-major.

        Returns:
            The input of the first layer and the output of each, each of shape ``(sum(lengths), D)``.
        """
        states: list[Tensor] = self.encoder(self.dropout_input(self.embed(banks)), lengths)
        return states

    def embed(self, banks: Tensor) -> Tensor:
        """Return the patches of filter banks ``(frames, 128)`` as tokens, ``(N, D)``."""
        patches_EPQ = self.patch_embedding(banks[None, None].to(self.patch_embedding.weight.dtype))[0]
        tokens_ND: Tensor = self.post_extract_proj(self.layer_norm(patches_EPQ.flatten(1).T))
        return tokens_ND

    def probabilities(self, states: Sequence[Tensor], lengths: list[int]) -> Tensor:
        """Return the class probabilities of packed clips from their hidden states, shape ``(B, classes)``."""
        last = self.encoder.layer_norm(states[-1]) if self.config.layer_norm_first else states[-1]
        logits = self.predictor(self.predictor_dropout(last))
        return torch.stack([clip.mean(0) for clip in torch.split(logits, lengths)]).sigmoid()
