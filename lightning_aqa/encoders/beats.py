"""BEATs: audio pre-training with acoustic tokenizers, from its official checkpoints, all hidden states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.beats_model import BEATsConfig, BEATsModel
from lightning_aqa.utils.weights import Weights, WeightsError, find_weights, load_exactly, read_config, read_weights

URL = "https://github.com/microsoft/unilm/tree/master/beats"
FILE = "BEATs_iter3_plus_AS2M.pt"
FRAME, HOP, FFT, NUM_MELS = 400, 160, 512, 128
# The original's constants: mean and half the spread of its log filter banks.
SHIFT, SCALE = 15.41663, 2 * 6.55582
BIAS = "self_attn.relative_attention_bias.weight"
# Tokens encoded at once without autograd, two clips of 10 s: as fast as more, and memory goes into the result alone.
TOKENS = 1024


@lru_cache
def _window_and_filters(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return Kaldi's povey window and its triangular mel filters from 20 Hz, ``(257, 128)``; float32 in any model."""
    from torchaudio.compliance.kaldi import get_mel_banks

    with torch.inference_mode(False):
        window = torch.hann_window(FRAME, periodic=False).pow(0.85)
        filters_MK, _ = get_mel_banks(NUM_MELS, FFT, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
        filters_KM = F.pad(filters_MK.T, (0, 0, 0, 1)).contiguous()
    return window.to(device), filters_KM.to(device)


def filter_banks(frames: Tensor) -> Tensor:
    """Compute Kaldi's log mel filter banks of frames, shifted and scaled as BEATs was trained on.

    Args:
        frames: Frames of 400 samples at 16 kHz, full scale 1, shape ``(F, 400)``.

    Returns:
        Filter banks, shape ``(F, 128)``.

    Example:
        >>> filter_banks(torch.zeros(2, 400))[0, :2]
        tensor([-2.3917, -2.3917])
    """
    window, filters = _window_and_filters(frames.device)
    frames = frames.float() * 2**15
    frames = frames - frames.mean(dim=1, keepdim=True)
    frames = frames - 0.97 * F.pad(frames, (1, 0), mode="replicate")[:, :-1]
    power = torch.view_as_real(torch.fft.rfft(frames * window, n=FFT)).square().sum(-1)
    return ((power @ filters).clamp(min=torch.finfo(torch.float32).eps).log() - SHIFT) / SCALE


class BEATs(Encoder):
    """Encode a clip by BEATs: the input of the first transformer layer and the output of each.

    A frame is one patch of 160 ms and 16 mel bands; eight patches of the same time follow one another from low to high,
    so 10 s give 496 frames. Only whole patches count, as in the original. A clip shorter than one patch (2800 samples,
    175 ms), of which the original makes nothing, is continued by silence to that length.

    Args:
        checkpoint: Official ``.pt`` file, pre-trained or fine-tuned, or the hub id of a repository that has
            ``BEATs_iter3_plus_AS2M.pt``.
        config: The original's ``cfg``, or a JSON file of it; overrides the checkpoint's own value by value.
        window_seconds: Length of the windows that longer clips are cut into, in seconds; BEATs was trained on 10 s.
            None takes clips whole; time then grows with the square of their length, memory in proportion to it.

    Attributes:
        labels: Names of the classes of a fine-tuned checkpoint, in the order of ``classify``.

    Raises:
        WeightsError: If there are no such weights, or they are not those of a BEATs of this ``cfg``.

    Reference:
        Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers", ICML 2023.

    Differs: each clip is computed from its own samples alone, where the original lets up to a patch of padding in; its
        gradient decay over layers, a setting of its fine-tuning, is not applied.
    """

    published = (Weights(FILE, (FILE,), URL, "MIT"),)
    sample_rate = 16000
    window_seconds: float | None = 10.0
    width, num_layers = BEATsConfig.encoder_embed_dim, BEATsConfig.encoder_layers + 1

    def __init__(
        self,
        checkpoint: str = FILE,
        config: dict[str, Any] | str | None = None,
        window_seconds: float | None = 10.0,
    ) -> None:
        super().__init__()
        own_file = Path(checkpoint).suffix in (".pt", ".safetensors")
        file = Path(checkpoint).name if own_file else FILE
        path = find_weights(checkpoint, file=file, url=URL)
        found = read_weights(path)
        self.window_seconds = window_seconds
        self.config = _config_of(found, config, path)
        self.model = BEATsModel(self.config)
        load_exactly(self.model, _own_names(found.get("model", found), path), path)
        for part in self._beside_features():
            part.requires_grad_(False)
        self.labels = [str(name) for _, name in sorted(found.get("label_dict", {}).items())]
        self.width, self.num_layers = self.config.encoder_embed_dim, self.config.encoder_layers + 1
        self.patch = self.config.input_patch_size

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the transformer layers."""
        return list(self.model.encoder.layers)

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        lengths = self._num_tokens(num_samples)
        frame_mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        clips, frames = (index.to(waveform.device) for index in frame_mask.nonzero(as_tuple=True))
        layers_BLFD = waveform.new_zeros(len(lengths), self.num_layers, max(lengths), self.width, dtype=torch.float32)
        done = 0
        for rows in self._groups(lengths):
            size = sum(lengths[rows])
            here = slice(done, done + size)
            for layer, state in enumerate(self._encode(waveform[rows], num_samples[rows], lengths[rows])):
                layers_BLFD[clips[here], layer, frames[here]] = state.float()
            done += size
        return Features(layers_BLFD, frame_mask.to(waveform.device))

    def classify(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return the probability of each class, shape ``(B, classes)``, from a fine-tuned checkpoint.

        Raises:
            ValueError: If the checkpoint is a pre-trained one, without classes.
        """
        if not self.config.finetuned_model:
            raise ValueError("This BEATs has no classes: its checkpoint is a pre-trained one, give a fine-tuned one.")
        lengths = self._num_tokens(num_samples)
        pieces = [
            self.model.probabilities(self._encode(waveform[rows], num_samples[rows], lengths[rows]), lengths[rows])
            for rows in self._groups(lengths)
        ]
        return torch.cat(pieces).float()

    def _num_tokens(self, num_samples: Tensor) -> list[int]:
        """Count the patches of each clip, at least those of one time."""
        patches = ((num_samples - FRAME) // HOP + 1) // self.patch
        counts: list[int] = (patches.clamp(min=1) * (NUM_MELS // self.patch)).tolist()
        return counts

    def _groups(self, lengths: list[int]) -> Iterator[slice]:
        """Cut a batch into runs of clips of at most ``TOKENS`` together; one run where autograd keeps it all anyway."""
        start, total = 0, 0
        for index, length in enumerate(lengths):
            if total and total + length > TOKENS and not torch.is_grad_enabled():
                yield slice(start, index)
                start, total = index, 0
            total += length
        yield slice(start, len(lengths))

    def _encode(self, waveform: Tensor, num_samples: Tensor, lengths: list[int]) -> list[Tensor]:
        """Return the hidden states of clips, packed end to end."""
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            clips = zip(waveform, num_samples.tolist(), lengths, strict=True)
            frames = torch.cat([self._frames(clip[:size], length) for clip, size, length in clips])
            banks = filter_banks(frames)
        states: list[Tensor] = self.model(banks, lengths)
        return states

    def _frames(self, samples: Tensor, num_tokens: int) -> Tensor:
        """Cut the samples of a clip into the frames of its patches."""
        num_frames = num_tokens * self.patch**2 // NUM_MELS
        missing = FRAME + HOP * (num_frames - 1) - len(samples)
        return F.pad(samples, (0, max(0, missing))).unfold(0, FRAME, HOP)[:num_frames]

    def _beside_features(self) -> list[torch.nn.Module]:
        """Return the parts that only ``classify`` reads: no head could train them."""
        parts: list[torch.nn.Module] = [self.model.predictor] if self.config.finetuned_model else []
        return [*parts, self.model.encoder.layer_norm] if self.config.layer_norm_first else parts


def _config_of(found: Mapping[str, Any], given: dict[str, Any] | str | None, path: Path) -> BEATsConfig:
    """Merge a checkpoint's ``cfg`` with the one given, which may lie under the same name in its file."""
    override = read_config(given)
    override = override.get("cfg", override)
    if "cfg" not in found and not override:
        raise WeightsError(
            f"{path}: no BEATs checkpoint: it holds no 'cfg'. Give its sizes by config, or another file."
        )
    return BEATsConfig.of({**found.get("cfg", {}), **override})


def _own_names(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Keep the table of position biases once, where the original repeats it in every layer."""
    tables = {name: tensor for name, tensor in weights.items() if name.endswith(BIAS)}
    own = {name: tensor for name, tensor in weights.items() if name not in tables}
    for name, table in tables.items():
        shared = own.setdefault("encoder.relative_attention_bias.weight", table)
        if not torch.equal(table, shared):
            raise WeightsError(f"{path}: {name} differs from that of another layer, but BEATs shares it over layers.")
    return own
