"""MuQ: music representations by mel residual vector quantisation, from the official checkpoint, all hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.melspectrogram import prefix_mask
from lightning_aqa.encoders.muq_layers import MuQConfig, rotary_rates
from lightning_aqa.encoders.muq_model import MuQModel
from lightning_aqa.utils.weights import Weights, WeightsError, find_weights, load_exactly, read_config, read_weights

REPOSITORY = "OpenMuQ/MuQ-large-msd-iter"
URL = f"https://huggingface.co/{REPOSITORY}"
SAMPLE_RATE, FFT = 24000, 2048
SHORTEST = FFT // 2 + 1  # samples that can be mirrored at both ends
PRETRAINING = ("cls_token", "linear.", "recon_proj.", "quantizer_melspec_2048.", "rvq.", "conformer.pos_conv_embed.")
"""Beginnings of the names of tensors that only the pre-training reads, or, as those of the last, nothing at all."""
RATES = "conformer.embed_positions.inv_freq"


@lru_cache
def _window_and_filters(num_mels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a Hann window and triangular mel filters ``(M, 1025)`` up to 12 kHz; float32 in any model."""
    from torchaudio.functional import melscale_fbanks

    with torch.inference_mode(False):
        filters_KM = melscale_fbanks(FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, num_mels, SAMPLE_RATE)
        return torch.hann_window(FFT).to(device), filters_KM.T.contiguous().to(device)


def log_mel(samples: Tensor, num_mels: int, hop_length: int) -> Tensor:
    """Compute MuQ's log-mel spectrogram in dB of one clip, mirrored at both ends, less its last frame.

    Args:
        samples: Samples at 24 kHz, full scale 1, shape ``(T,)``, at least 1025.
        num_mels: Number of mel bands.
        hop_length: Samples from one frame to the next.

    Returns:
        Shape ``(num_mels, T // hop_length)``; -100 dB where nothing is.

    Example:
        >>> log_mel(torch.zeros(2400), 128, 240)[0, :3], log_mel(torch.zeros(2400), 128, 240).shape
        (tensor([-100., -100., -100.]), torch.Size([128, 10]))
    """
    window, filters_MK = _window_and_filters(num_mels, samples.device)
    spectrum_KF = torch.stft(samples.float(), FFT, hop_length, window=window, pad_mode="reflect", return_complex=True)
    power_KF = torch.view_as_real(spectrum_KF).square().sum(-1)
    return 10 * (filters_MK @ power_KF[:, :-1]).clamp(min=1e-10).log10()


class MuQ(Encoder):
    """Encode a clip by MuQ: the input of the first Conformer layer and the output of each, the last one normalised.

    Input: 24 kHz. Output: a frame each 40 ms; with the official weights 13 layers of width 1024. These weights are
    under CC-BY-NC 4.0: not for commercial use. A clip shorter than 1025 samples (43 ms), which the original cannot
    mirror at its ends, is continued by silence to that length. The convolutions run clip by clip, the Conformer on the
    whole batch with its padding masked.

    Args:
        checkpoint: Folder or hub id with ``config.json`` and ``model.safetensors``, or the path of the weights.
        config: The original's config, or a JSON file of it; overrides the checkpoint's own value by value.
        window_seconds: Length of the windows that longer clips are cut into, in seconds; None takes clips whole. MuQ
            was trained on 30 s; 10 s is for memory: where it is trained, a window keeps 0.9 GB of activations per 10 s
            for its gradient, half of it in the convolutions. Frozen, only one clip's largest maps are held, 66 MB each
            per 10 s, and there is room for 30 s.

    Raises:
        WeightsError: If there are no such weights, or they are not those of a MuQ of this config.
        ValueError: If the config describes no MuQ.

    Reference:
        Zhu et al., "MuQ: Self-Supervised Music Representation Learning with Mel Residual Vector Quantization", 2025,
        https://arxiv.org/abs/2501.01108, and muq 0.1.0, whose hidden states of an unpadded clip these are.

    Differs: each clip is computed from its own samples alone, where the original lets padding into its spectrogram and
        its convolutions; batch normalisation keeps the statistics of pre-training in train mode.
    """

    published = (Weights(REPOSITORY, ("model.safetensors", "config.json"), URL, "CC BY-NC 4.0"),)
    sample_rate = SAMPLE_RATE
    window_seconds: float | None = 10.0
    width, num_layers = 1024, 13
    min_seconds = SHORTEST / SAMPLE_RATE

    def __init__(
        self,
        checkpoint: str = REPOSITORY,
        config: dict[str, Any] | str | None = None,
        window_seconds: float | None = 10.0,
    ) -> None:
        super().__init__()
        path = find_weights(checkpoint, file="model.safetensors", url=URL)
        self.config = MuQConfig.of(_settings(checkpoint, path, config))
        self.model = MuQModel(self.config)
        load_exactly(self.model, _features_alone(read_weights(path), self.config, path), path)
        self.width, self.num_layers = self.config.encoder_dim, self.config.encoder_depth + 1
        self.window_seconds = window_seconds

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the Conformer's layers."""
        return list(self.model.conformer.layers)

    def parts_after_layers(self) -> Sequence[nn.Module]:
        """Return the last normalisation."""
        return [self.model.conformer.layer_norm]

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        clips = [self._frames(clip[:size]) for clip, size in zip(waveform, num_samples.tolist(), strict=True)]
        sizes = [len(clip) for clip in clips]
        mask_BF = prefix_mask(torch.tensor(sizes, device=waveform.device), max(sizes))
        is_ragged = min(sizes) < max(sizes)
        states = self.model.conformer(pad_sequence(clips, batch_first=True), mask_BF if is_ragged else None)
        layers_BLFD = torch.stack(states, dim=1).float()
        return Features(layers_BLFD.masked_fill(~mask_BF[:, None, :, None], 0.0), mask_BF)

    def _frames(self, samples: Tensor) -> Tensor:
        """Return the Conformer's input for one clip, shape ``(F, D)``."""
        with torch.no_grad(), torch.autocast(samples.device.type, enabled=False):
            longer = F.pad(samples, (0, max(0, SHORTEST - len(samples))))
            mel_MF = log_mel(longer, self.config.n_mels, self.config.hop_length)
            mel_MF = (mel_MF - self.config.melspec_2048_mean) / self.config.melspec_2048_std
        frames_FD: Tensor = self.model.conv(mel_MF.to(self.model.conv.linear.weight.dtype))
        return frames_FD


def _settings(checkpoint: str, path: Path, given: dict[str, Any] | str | None) -> dict[str, Any]:
    """Merge the config beside the weights, or of the hub, with the one given; a file of weights alone may have none."""
    override, beside = read_config(given), path.parent / "config.json"
    is_whole = "w2v2_config" in override
    if not beside.is_file() and not is_whole and not Path(checkpoint).suffix:
        beside = find_weights(checkpoint, file="config.json", url=URL)
    return (read_config(str(beside)) if beside.is_file() else {}) | override


def _features_alone(weights: Mapping[str, Any], config: MuQConfig, path: Path) -> dict[str, Tensor]:
    """Drop the prefix of the package's outer class, and what features do not come from.

    Raises:
        WeightsError: If the weights were trained with positions of another rate.
    """
    named = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    rates = named.pop(RATES, None)
    own = rotary_rates(config.encoder_dim // config.num_attention_heads, config.rotary_embedding_base)
    if rates is not None and not (rates.shape == own.shape and torch.allclose(rates.float(), own, rtol=1e-2)):
        raise WeightsError(
            f"{path}: its rotary positions are not those of num_attention_heads = {config.num_attention_heads} and "
            f"rotary_embedding_base = {config.rotary_embedding_base}; give the config.json that belongs to it."
        )
    return {name: tensor for name, tensor in named.items() if not name.startswith(PRETRAINING)}
