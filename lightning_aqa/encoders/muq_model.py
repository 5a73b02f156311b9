"""The architecture of MuQ: strided convolutions on a log-mel spectrogram, then a Conformer with rotary positions.

Attribute names are those of the official state dict. The authors' package ``muq`` runs on transformers 4 alone: the
Conformer of transformers 5 returns no hidden states and wants another config. Hence this one, which also takes padding.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.encoders.muq_layers import TIME_STRIDES, Attention, Convolution, FixedNorm2d, MuQConfig, Perceptron


class ResidualConvolution(nn.Module):
    """Two convolutions beside one, on bands and time; the first of each side takes steps."""

    def __init__(self, num_inputs: int, width: int, time_stride: int) -> None:
        super().__init__()
        stride = (2, time_stride)
        self.conv1 = nn.Conv2d(num_inputs, width, 3, padding=1, stride=stride)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(num_inputs, width, 3, padding=1, stride=stride)
        self.bn1, self.bn2, self.bn3 = FixedNorm2d(width), FixedNorm2d(width), FixedNorm2d(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, C, M, F)``."""
        main = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(hidden)))))
        return F.relu(main + self.bn3(self.conv3(hidden)))


class Subsampling(nn.Module):
    """Turn a normalised log-mel spectrogram into the Conformer's frames."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        width, strides = config.conv_dim, TIME_STRIDES[config.label_rate]
        self.conv = nn.Sequential(
            ResidualConvolution(1, width, strides[0]), ResidualConvolution(width, width, strides[1])
        )
        self.linear = nn.Linear(width * config.n_mels // 4, config.encoder_dim)

    def forward(self, mel: Tensor) -> Tensor:
        """Map one clip's spectrogram ``(M, F)`` to frames ``(F', D)``."""
        maps_CMF = self.conv(mel[None, None])[0]
        frames_FD: Tensor = self.linear(maps_CMF.flatten(0, 1).T)
        return frames_FD


class Layer(nn.Module):
    """Half a perceptron, attention, convolution, half a perceptron, each on normalised input with its residual."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        width = config.encoder_dim
        self.ffn1_layer_norm, self.self_attn_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn2_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn1, self.ffn2 = Perceptron(config), Perceptron(config)
        self.self_attn, self.conv_module = Attention(config), Convolution(config)
        self.dropout = nn.Dropout(config.attention_dropout)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Map frames ``(B, F, D)`` under a mask ``(B, F)``, None where all are valid."""
        hidden = hidden + 0.5 * self.ffn1(self.ffn1_layer_norm(hidden))
        hidden = hidden + self.dropout(self.self_attn(self.self_attn_layer_norm(hidden), mask))
        hidden = hidden + self.conv_module(hidden, mask)
        hidden = hidden + 0.5 * self.ffn2(self.ffn2_layer_norm(hidden))
        mapped: Tensor = self.final_layer_norm(hidden)
        return mapped


class Conformer(nn.Module):
    """The layers, and a last normalisation that stands for the output of the last of them."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.encoder_depth))
        self.layer_norm = nn.LayerNorm(config.encoder_dim, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Return the input of the first layer and the output of each, the last one normalised, ``(B, F, D)`` each."""
        states = [self.dropout(hidden)]
        for layer in self.layers:
            states.append(layer(states[-1], mask))
        return [*states[:-1], self.layer_norm(states[-1])]


class Model(nn.Module):
    """The part of MuQ that its features come from."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.conv, self.conformer = Subsampling(config), Conformer(config)
