"""A small encoder that is trained from scratch: log-mel, strided convolutions, transformer or convolution blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder

# About the mean and spread in dB of the mel bands of real music: constants, so that no clip sees another.
SHIFT_DB, SCALE_DB = -20.0, 20.0


def prefix_mask(lengths: Tensor, size: int) -> Tensor:
    """Mark the first elements of each row.

    Args:
        lengths: Number of valid elements, shape ``(B,)``.
        size: Number of elements in a row.

    Returns:
        True where valid, shape ``(B, size)``, bool.

    Example:
        >>> prefix_mask(torch.tensor([1, 3]), 3)
        tensor([[ True, False, False],
                [ True,  True,  True]])
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def sinusoids(length: int, width: int) -> Tensor:
    """Return sinusoidal positions, shape ``(length, width)``, for an even width.

    Example:
        >>> sinusoids(2, 2)
        tensor([[0.0000, 1.0000],
                [0.8415, 0.5403]])
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class MelSpectrogram(Encoder):
    """Encode a clip by a small network on its log-mel spectrogram, trained from scratch.

    Log-mel frames are shifted and scaled by constants, two convolutions of stride 2 make frames of four hops, and the
    blocks follow, each a residual mixer over time and a residual perceptron. The layers that heads see are the input of
    the first block and the output of each block, normalised frame by frame.

    Args:
        sample_rate: Rate of the audio, in Hz.
        num_mels: Number of mel bands.
        width: Width D of a hidden state; a multiple of ``num_heads`` and of 2.
        depth: Number of blocks; L is one more.
        kind: What mixes frames in a block: self-attention or a depthwise convolution.
        num_heads: Number of attention heads.
        kernel_size: Frames that a depthwise convolution reaches over; odd.
        dropout: Probability of dropping an element of a block's two branches.
        hop_seconds: Distance of two spectra, in seconds; a frame of the output is four times as long.
        frame_seconds: Length of the audio that a spectrum reads, in seconds.
        window_seconds: Length of the windows that longer clips are cut into, in seconds; None takes clips whole.

    Raises:
        ValueError: If ``width`` is not even and a multiple of ``num_heads``, or ``kernel_size`` is even.

    Example:
        >>> encoder = MelSpectrogram(width=16, depth=2)
        >>> features = encoder(torch.zeros(2, 16000), torch.tensor([16000, 800]))
        >>> features.layers.shape, features.frame_mask.sum(dim=1)
        (torch.Size([2, 3, 26, 16]), tensor([26,  2]))
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mels: int = 80,
        width: int = 128,
        depth: int = 3,
        kind: Literal["transformer", "conv"] = "transformer",
        num_heads: int = 4,
        kernel_size: int = 7,
        dropout: float = 0.1,
        hop_seconds: float = 0.01,
        frame_seconds: float = 0.032,
        window_seconds: float | None = 10.0,
    ) -> None:
        super().__init__()
        if width % num_heads or width % 2:
            raise ValueError(f"width must be even and a multiple of num_heads = {num_heads}, got {width}.")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}.")
        self.sample_rate, self.window_seconds = sample_rate, window_seconds
        self.width, self.num_layers, self.kind = width, depth + 1, kind
        self.mel = _LogMel(sample_rate, num_mels, round(sample_rate * frame_seconds), round(sample_rate * hop_seconds))
        self.subsampling = nn.ModuleList(
            nn.Conv1d(size, width, kernel_size=3, stride=2, padding=1) for size in (num_mels, width)
        )
        self.dropout = nn.Dropout(dropout)
        mixers = [
            _Attention(width, num_heads) if kind == "transformer" else _Convolution(width, kernel_size)
            for _ in range(depth)
        ]
        self.blocks = nn.ModuleList(_Block(width, mixer, dropout) for mixer in mixers)

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        with torch.autocast(waveform.device.type, enabled=False):
            wide = torch.promote_types(next(self.parameters()).dtype, torch.float32)
            mel_BMF, lengths_B = self.mel.to(wide)(waveform.to(wide), num_samples)
        hidden_BFD, mask_BF = self._subsample(mel_BMF, lengths_B)
        if self.kind == "transformer":
            hidden_BFD = hidden_BFD + sinusoids(hidden_BFD.shape[1], self.width).to(hidden_BFD)
        hidden_BFD = self.dropout(hidden_BFD)
        states = [hidden_BFD]
        for block in self.blocks:
            states.append(block(states[-1], mask_BF))
        layers_BLFD = F.layer_norm(torch.stack(states, dim=1).float(), (self.width,))
        return Features(layers_BLFD.masked_fill(~mask_BF[:, None, :, None], 0.0), mask_BF)

    def _subsample(self, mel_BMF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the frame rate twice; padding is zero before each convolution, as if the clip were alone."""
        hidden_BDF = mel_BMF.to(next(self.parameters()).dtype)
        mask_BF = prefix_mask(lengths_B, mel_BMF.shape[-1])
        for conv in self.subsampling:
            hidden_BDF = F.gelu(conv(hidden_BDF.masked_fill(~mask_BF[:, None], 0.0)))
            mask_BF = mask_BF[:, ::2]
        return hidden_BDF.transpose(1, 2), mask_BF


class _LogMel(nn.Module):
    """Log-mel spectra of valid samples, centred at multiples of the hop, with silence beyond both ends."""

    def __init__(self, sample_rate: int, num_mels: int, frame_length: int, hop_length: int) -> None:
        super().__init__()
        from torchaudio.transforms import MelSpectrogram as Mel

        self.hop_length = hop_length
        self.mel = Mel(
            sample_rate,
            n_fft=frame_length,
            hop_length=hop_length,
            n_mels=num_mels,
            pad_mode="constant",
            mel_scale="slaney",
        )

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return spectra ``(B, M, F)`` and their number ``(B,)``, at least one per clip."""
        valid_BT = prefix_mask(num_samples, waveform.shape[1])
        mel_BMF = self.mel(waveform.masked_fill(~valid_BT, 0.0))
        decibel_BMF = 10 * mel_BMF.clamp(min=1e-6).log10()
        return (decibel_BMF - SHIFT_DB) / SCALE_DB, 1 + num_samples // self.hop_length


class _Block(nn.Module):
    """A residual mixer over time and a residual perceptron, each on normalised input."""

    def __init__(self, width: int, mixer: nn.Module, dropout: float) -> None:
        super().__init__()
        self.mixer, self.dropout = mixer, nn.Dropout(dropout)
        self.mixer_norm, self.perceptron_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map hidden states ``(B, F, D)`` under a mask ``(B, F)``."""
        hidden = hidden + self.dropout(self.mixer(self.mixer_norm(hidden), mask))
        refined: Tensor = self.dropout(self.perceptron(self.perceptron_norm(hidden)))
        return hidden + refined


class _Attention(nn.Module):
    """Self-attention whose keys are valid frames."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Mix hidden states ``(B, F, D)`` under a mask ``(B, F)``."""
        projected = self.project_in(hidden).unflatten(-1, (3, self.num_heads, -1))
        query_BHFK, key_BHFK, value_BHFK = projected.permute(2, 0, 3, 1, 4)
        mask_B11F = mask[:, None, None, :]
        mixed_BHFK = F.scaled_dot_product_attention(query_BHFK, key_BHFK, value_BHFK, attn_mask=mask_B11F)
        mixed_BFD: Tensor = self.project_out(mixed_BHFK.transpose(1, 2).flatten(2))
        return mixed_BFD


class _Convolution(nn.Module):
    """Depthwise convolution over valid frames."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Mix hidden states ``(B, F, D)`` under a mask ``(B, F)``."""
        valid_BDF = hidden.masked_fill(~mask[..., None], 0.0).transpose(1, 2)
        mixed_BDF: Tensor = self.depthwise(valid_BDF)
        return mixed_BDF.transpose(1, 2)
