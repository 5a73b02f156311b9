"""LAION-CLAP: one embedding for ten seconds of audio and one for its prompt, equal to the original's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.clap_attention import fuse_attention
from lightning_aqa.encoders.clap_weights import COMPUTED, PUBLISHED, ClapWeights, FrontEnd, read_clap
from lightning_aqa.encoders.tokenizer import distinct, find_tokenizer
from lightning_aqa.utils.weights import Weights, WeightsError, load_exactly

if TYPE_CHECKING:
    from transformers import ClapModel, ClapTextConfig, ClapTextModel, PreTrainedTokenizerBase

MAX_TOKENS = 77
TOKENIZER = "https://huggingface.co/FacebookAI/roberta-base/resolve/main/tokenizer.json"
# Clips encoded at once without autograd: it bounds the memory.
CLIPS = 8


def quantise_int16(waveform: Tensor) -> Tensor:
    """Round a waveform to 16 bits and back as the original does with arrays: clip, scale by 32767, cut to an integer.

    Example:
        >>> quantise_int16(torch.tensor([0.00005, 2.0]))
        tensor([3.0519e-05, 1.0000e+00])
    """
    return (waveform.clamp(-1.0, 1.0) * 32767.0).trunc() / 32767.0


def repeat_pad(waveform: Tensor, num_samples: Tensor, length: int) -> Tensor:
    """Repeat each clip as often as it fits whole, then fill up with zeros.

    Args:
        waveform: Clips, shape ``(B, T)``, padded at the end with anything.
        num_samples: Valid samples of each clip, shape ``(B,)``, from 1 to ``length``.
        length: Samples that each row shall have.

    Returns:
        Padded clips, shape ``(B, length)``.

    Example:
        >>> repeat_pad(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([2]), 5)
        tensor([[1., 2., 1., 2., 0.]])
    """
    places_T = torch.arange(length, device=waveform.device)
    repeated_BT = waveform.gather(1, places_T % num_samples[:, None])
    filled_B = length // num_samples * num_samples
    return repeated_BT.masked_fill(places_T >= filled_B[:, None], 0.0)


def log_mel(waveform: Tensor, window: Tensor, filters: Tensor, hop_size: int) -> Tensor:
    """Compute mel spectra in decibel, ``10 log10(max(|stft|^2 @ filters, 1e-10))``.

    Almost empty bands are ill-conditioned: there the rounding of a transform in single precision would be most of what
    the tower sees. The transform runs in the precision of the window, which is double where the device has it.

    Args:
        waveform: Samples, shape ``(B, T)``.
        window: Window of a spectrum, shape ``(N,)``; spectra are centred, the signal is reflected at its ends.
        filters: Weight of each frequency in each band, shape ``(N // 2 + 1, M)``.
        hop_size: Distance of two spectra, in samples.

    Returns:
        Levels in decibel, shape ``(B, 1 + T // hop_size, M)``.
    """
    spectrum_BNF = torch.stft(
        waveform.to(window.dtype), len(window), hop_size, window=window, pad_mode="reflect", return_complex=True
    )
    power_BNF = torch.view_as_real(spectrum_BNF).square().sum(dim=-1).to(filters.dtype)
    return 10.0 * (power_BNF.transpose(1, 2) @ filters).clamp(min=1e-10).log10()


@cache
def _window_and_filters(front_end: FrontEnd, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute the constants of the spectrogram: no buffers, so that casting the encoder leaves them exact."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=front_end.window_size // 2 + 1,
        num_mel_filters=front_end.mel_bins,
        min_frequency=front_end.fmin,
        max_frequency=front_end.fmax,
        sampling_rate=front_end.sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    exact = torch.float32 if device.type == "mps" else torch.float64
    with torch.inference_mode(False):
        window = torch.hann_window(front_end.window_size, dtype=torch.float64)
        return window.to(device, exact), torch.from_numpy(filters).to(device, torch.float32)


class CLAP(Encoder):
    """Embed audio and prompts with LAION-CLAP (HTSAT without fusion, RoBERTa), 10 s windows at 48 kHz.

    A clip of at most 10 s is repeated as often as it fits whole and filled up with zeros, as in the original; there is
    no random crop: a longer clip gives one frame for each 10 s. The frame is the projected embedding of unit length,
    which the heads of the MusicEval baseline read, and the text is one state, that of the whole prompt; L = F = 1. An
    empty prompt is embedded as an empty sentence, as the original would, so that heads always find a valid state.
    Without prompts there is no text and no tokeniser is needed.

    The original computes embeddings in evaluation mode even while it is fine-tuned: gradients flow, dropout is off and
    batch norm keeps its statistics. So do these towers, in training mode too.

    Args:
        checkpoint: An original file such as ``music_audioset_epoch_15_esc_90.14.pt`` (a path, or its name alone), the
            state of a MusicEval baseline, or a folder or hub id of ``transformers`` such as
            ``laion/larger_clap_music``, which runs as its ``config.json`` says.
        config: Sizes that the weights do not carry, under the original's names (``audio_cfg``, ``htsat``,
            ``roberta_config``) or for a folder ``audio_config`` and ``text_config``; a mapping or the path of a JSON.
            Public checkpoints need none.
        text: Whether to have a text side; without it the text tower is not kept.
        quantise: Whether to round audio to 16 bits first, as the original does with arrays but not with tensors; the
            MusicEval baseline gives tensors.
        tokenizer: RoBERTa's tokeniser: a folder, or a hub id. It is read when the first prompt comes.

    Raises:
        WeightsError: If the weights are nowhere, unsafe, or not those of the architecture.

    Reference:
        "Large-scale contrastive language-audio pretraining with feature fusion and keyword-to-caption augmentation",
        ICASSP 2023, https://arxiv.org/abs/2211.06687, and ``laion_clap`` 1.1.7. Differs: clips over 10 s are not
        cropped at random; a clip's padding never depends on its batch.
    """

    published = (PUBLISHED, Weights("roberta-base", ("tokenizer.json",), TOKENIZER, "MIT", "FacebookAI/roberta-base"))
    sample_rate, window_seconds = FrontEnd().sample_rate, FrontEnd().clip_samples / FrontEnd().sample_rate
    width, num_layers = 512, 1
    text_width: int | None = 512

    def __init__(
        self,
        checkpoint: str = PUBLISHED.checkpoint,
        config: dict[str, Any] | str | None = None,
        *,
        text: bool = True,
        quantise: bool = False,
        tokenizer: str = "roberta-base",
    ) -> None:
        super().__init__()
        weights = read_clap(checkpoint, config)
        _check_filters(weights)
        model = _build(weights)
        self.front_end, self.quantise = weights.front_end, quantise
        self.sample_rate, self.num_layers = self.front_end.sample_rate, 1
        self.window_seconds = self.front_end.clip_samples / self.front_end.sample_rate
        self.width = model.config.projection_dim
        self.audio_model, self.audio_projection = model.audio_model, model.audio_projection
        self.text_model: ClapTextModel | None = model.text_model if text else None
        self.text_projection: nn.Module | None = model.text_projection if text else None
        self.text_width = self.width if text else None
        self._tokenizer_places = [str(weights.path.parent), tokenizer]
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self.train()

    def train(self, mode: bool = True) -> CLAP:
        """Set the mode of this module; the towers stay in evaluation mode, as the original's do."""
        super().train(mode)
        for tower in self.children():
            tower.eval()
        return self

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the four stages of HTSAT."""
        return list(self.audio_model.audio_encoder.layers)

    def parts_after_layers(self) -> Sequence[nn.Module]:
        """Return what follows HTSAT's stages, and the whole text side."""
        parts = (self.audio_model.audio_encoder.norm, self.audio_projection, self.text_model, self.text_projection)
        return [part for part in parts if part is not None]

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips and, where there is a text side, their prompts; see ``Encoder.forward``."""
        length = self.front_end.clip_samples
        num_windows_B = (num_samples + length - 1) // length
        frames_BFD = waveform.new_zeros(len(waveform), int(num_windows_B.max()), self.width, dtype=torch.float32)
        mask_BF = torch.arange(frames_BFD.shape[1], device=waveform.device) < num_windows_B[:, None]
        for index, rows_B in enumerate(mask_BF.unbind(dim=1)):
            start = index * length
            lengths_B = (num_samples[rows_B] - start).clamp(max=length)
            embedded_BD = self.embed_audio(waveform[rows_B, start : start + length], lengths_B)
            frames_BFD = frames_BFD.index_put((rows_B.nonzero()[:, 0], torch.tensor(index)), embedded_BD)
        text_BWD = self._embed_prompts(prompts, waveform.device) if self.text_model and prompts is not None else None
        text_mask_BW = None if text_BWD is None else torch.ones_like(text_BWD[..., 0], dtype=torch.bool)
        return Features(frames_BFD[:, None], mask_BF, text_BWD, text_mask_BW)

    def embed_audio(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Embed clips of at most 10 s.

        Args:
            waveform: Mono audio at 48 kHz, shape ``(B, T)``, padded at the end with anything.
            num_samples: Valid samples of each clip, shape ``(B,)``.

        Returns:
            Embeddings of unit length, shape ``(B, width)``.

        Raises:
            ValueError: If a clip is longer.
        """
        longest = int(num_samples.max())
        if longest > self.front_end.clip_samples:
            raise ValueError(
                f"embed_audio takes at most {self.front_end.clip_samples} samples, got {longest}; cut the clip, or "
                "call the encoder, which gives a frame for each window."
            )
        at_once = len(waveform) if torch.is_grad_enabled() else CLIPS
        parts = zip(torch.split(waveform, at_once), torch.split(num_samples, at_once), strict=True)
        return torch.cat([self._embed(*part) for part in parts])

    def _embed(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        mel_BFM = self.log_mel(waveform, num_samples).to(self.audio_projection.linear1.weight.dtype)
        pooled_BC = self.audio_model(input_features=mel_BFM[:, None]).pooler_output
        return F.normalize(self.audio_projection(pooled_BC).float(), dim=-1)

    def log_mel(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return the spectra that the audio tower reads, ``(B, frames, 64)`` in dB, of clips ``(B, T)`` at 48 kHz."""
        window, filters = _window_and_filters(self.front_end, waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            samples_BT = repeat_pad(waveform.float(), num_samples, self.front_end.clip_samples)
            samples_BT = quantise_int16(samples_BT) if self.quantise else samples_BT
            return log_mel(samples_BT, window, filters, self.front_end.hop_size)

    def embed_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed tokenised prompts.

        Args:
            input_ids: Token ids of RoBERTa, shape ``(B, W)``, from ``<s>`` to ``</s>``, padded to at most 77.
            attention_mask: 1 where a token is valid, shape ``(B, W)``.

        Returns:
            Embeddings of unit length, shape ``(B, width)``.

        Raises:
            ValueError: If the encoder was built without a text side.
        """
        if self.text_model is None or self.text_projection is None:
            raise ValueError("This CLAP has no text side; build it with text=True.")
        pooled_BC = self.text_model(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return F.normalize(self.text_projection(pooled_BC).float(), dim=-1)

    def _embed_prompts(self, prompts: Sequence[str], device: torch.device) -> Tensor:
        """Embed each different prompt once; return one state per clip, shape ``(B, 1, width)``."""
        texts, rows = distinct(prompts)
        if self._tokenizer is None:
            assert self.text_model is not None
            self._tokenizer = _read_tokenizer(self._tokenizer_places, self.text_model.config)
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        tokens = tokens.to(device)
        embedded_PD = self.embed_tokens(tokens["input_ids"], tokens["attention_mask"])
        return embedded_PD[torch.tensor(rows, device=device)][:, None]


def _read_tokenizer(locations: Sequence[str], config: ClapTextConfig) -> PreTrainedTokenizerBase:
    from transformers import RobertaTokenizer

    folder = find_tokenizer(locations)
    tokenizer: PreTrainedTokenizerBase = RobertaTokenizer.from_pretrained(folder)
    if len(tokenizer) > config.vocab_size or tokenizer.pad_token_id != config.pad_token_id:
        raise WeightsError(
            f"{folder}: not the tokeniser of this text tower, which has {config.vocab_size} tokens and pads with "
            f"{config.pad_token_id}; this one has {len(tokenizer)} and pads with {tokenizer.pad_token_id}."
        )
    return tokenizer


def _build(weights: ClapWeights) -> ClapModel:
    from transformers import ClapConfig, ClapModel

    model = ClapModel(ClapConfig(**weights.config))
    load_exactly(model, weights.tensors, weights.path, COMPUTED)
    fuse_attention(model.audio_model)
    return model


def _check_filters(weights: ClapWeights) -> None:
    """Compare our mel filters with those that the original keeps beside its weights."""
    if weights.mel_filters is None:
        return
    _, filters = _window_and_filters(weights.front_end, torch.device("cpu"))
    if filters.shape != weights.mel_filters.shape or not torch.allclose(filters, weights.mel_filters, atol=1e-6):
        raise WeightsError(
            f"{weights.path}: made for another spectrogram than {weights.front_end}; give its config as "
            'config={"audio_cfg": {"fmin": ..., "fmax": ...}}.'
        )
