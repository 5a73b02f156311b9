"""The encoder of NISQA: segments of a mel spectrogram through six convolutions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.melspectrogram import prefix_mask
from lightning_aqa.utils.nisqa_weights import PUBLISHED, NISQAWeights, read_nisqa, setting
from lightning_aqa.utils.weights import WeightsError, load_exactly


class NISQA(Encoder):
    """Encode a clip by the convolutions of NISQA; with ``heads.nisqa.NISQAHead`` it is the official predictor.

    A mel spectrogram in decibels, at most 80 below its loudest, is cut into overlapping segments, of 150 ms each 40 ms
    in the published models; each is a frame. A clip is encoded alone, without padding.

    Weights: ``nisqa.tar`` (quality and four dimensions of it), ``nisqa_mos_only.tar`` and ``nisqa_tts.tar``
    (naturalness of synthesised speech), CC BY-NC-SA 4.0.

    Args:
        checkpoint: Official file.
        sample_rate: Rate of the audio, in Hz; the official code takes each file at its own.
        window_seconds: Length of the windows that longer clips are cut into, in seconds; the official code takes up to
            52 s.

    Raises:
        WeightsError: If the weights are not found, or are not of this model.

    Reference:
        Mittag et al., "NISQA: A Deep CNN-Self-Attention Model for Multidimensional Speech Quality Prediction with
        Crowdsourced Datasets", Interspeech 2021. Differs: a clip under 150 ms is continued by silence.
    """

    published = (PUBLISHED,)
    sample_rate, width, num_layers = 48000, 384, 1
    window_seconds: float | None = 52.0

    def __init__(
        self, checkpoint: str = PUBLISHED.checkpoint, sample_rate: int = 48000, window_seconds: float | None = 52.0
    ) -> None:
        super().__init__()
        weights = read_nisqa(checkpoint)
        self.sample_rate, self.window_seconds = sample_rate, window_seconds
        self.mel = {name: setting(weights, f"ms_{name}") for name in ("n_fft", "n_mels", "fmax")}
        self.mel_seconds = tuple(float(setting(weights, f"ms_{name}_length")) for name in ("hop", "win"))
        self.segment, self.segment_hop = (
            int(setting(weights, "ms_seg_length")),
            int(setting(weights, "ms_seg_hop_length")),
        )
        self.cnn = _Convolutions(weights)
        load_exactly(self.cnn, weights.cnn, weights.path)
        self.width = self.cnn.width

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the convolutions."""
        return [getattr(self.cnn, f"conv{i}") for i in range(1, 7)]

    def freeze_first(self, num_layers: int) -> list[nn.Module]:
        """Freeze the first convolutions, each with its normalisation; see ``Encoder.freeze_first``."""
        above = super().freeze_first(num_layers)
        norms = [getattr(self.cnn, f"bn{i}") for i in range(num_layers + 1, 7)]
        for norm in norms:
            norm.requires_grad_(True)
        return [*above, *norms]

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        like, clips = self.cnn.conv1.weight, waveform.detach().float().cpu().numpy()
        pairs = zip(clips, num_samples.tolist(), strict=True)
        segments = [torch.from_numpy(self._segments(clip[:size])) for clip, size in pairs]
        frames = self.cnn(torch.cat(segments)[:, None].to(like)).float()
        states = pad_sequence(list(frames.split([len(part) for part in segments])), batch_first=True)
        sizes = torch.tensor([len(part) for part in segments], device=states.device)
        return Features(states[:, None], prefix_mask(sizes, states.shape[1]))

    def _segments(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the segments of the spectrogram of a clip, shape ``(F, M, W)``."""
        from librosa import amplitude_to_db
        from librosa.feature import melspectrogram

        hop, window = (int(self.sample_rate * seconds) for seconds in self.mel_seconds)
        shortest = max((self.segment - 1) * hop, self.mel["n_fft"] // 2 + 1)
        samples = np.pad(samples, (0, max(0, shortest - len(samples))))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Empty filters")  # above half of a low rate
            mel = melspectrogram(
                y=samples,
                sr=self.sample_rate,
                n_fft=self.mel["n_fft"],
                hop_length=hop,
                win_length=window,
                pad_mode="reflect",
                power=1.0,
                n_mels=self.mel["n_mels"],
                fmax=self.mel["fmax"],
            )
        level = amplitude_to_db(mel, ref=1.0, amin=1e-4, top_db=80.0).astype(np.float32)
        segments = np.lib.stride_tricks.sliding_window_view(level, self.segment, axis=1)[:, :: self.segment_hop]
        return segments.transpose(1, 0, 2).copy()


class _Convolutions(nn.Module):
    """Six convolutions with batch normalisation, pooled after the first, second and fourth; official names."""

    conv1: nn.Conv2d

    def __init__(self, weights: NISQAWeights) -> None:
        super().__init__()
        kind = setting(weights, "cnn_model")
        if kind not in ("adapt", "standard"):
            raise WeightsError(f"{weights.path}: has a cnn_model of {kind}; expected adapt or standard.")
        kernel = setting(weights, "cnn_kernel_size")
        kernel = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        self.pools = [tuple(setting(weights, f"cnn_pool_{i}")) for i in (1, 2, 3)] if kind == "adapt" else None
        one, two, three = (int(setting(weights, f"cnn_c_out_{i}")) for i in (1, 2, 3))
        sizes, padding = [1, one, two, three, three, three, three], (1, 0 if kernel[1] == 1 else 1)
        for i, (given, wanted) in enumerate(pairwise(sizes), start=1):
            is_last = i == 6 and self.pools is not None
            shape, around = ((kernel[0], self.pools[2][1]), (1, 0)) if is_last and self.pools else (kernel, padding)
            self.add_module(f"conv{i}", nn.Conv2d(given, wanted, shape, padding=around))
            self.add_module(f"bn{i}", nn.BatchNorm2d(wanted))
        self.dropout, flat = nn.Dropout2d(float(weights.settings.get("cnn_dropout") or 0)), three * 12
        flat = three * self.pools[2][0] if self.pools else flat
        last = weights.settings.get("cnn_fc_out_h")
        self.last = {"adapt": "fc", "standard": "fc_out"}[kind] if last else None
        self.width = int(last) if last else flat
        if self.last:
            self.add_module(self.last, nn.Linear(flat, self.width))

    def train(self, mode: bool = True) -> _Convolutions:
        """Switch the mode, but for the normalisations, so that a clip never depends on its batch mates."""
        super().train(mode)
        for i in range(1, 7):
            self.get_submodule(f"bn{i}").eval()
        return self

    def forward(self, segments: Tensor) -> Tensor:
        """Map segments ``(N, 1, M, W)`` to states ``(N, D)``."""
        hidden, num_pooled = segments, 0
        for i in range(1, 7):
            hidden = F.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(hidden)))
            if i in (1, 2, 4):
                hidden, num_pooled = self._pool(hidden, num_pooled), num_pooled + 1
            if i in (2, 3, 4, 5):
                hidden = self.dropout(hidden)
        flat: Tensor = hidden.flatten(1)
        return self.get_submodule(self.last)(flat) if self.last else flat

    def _pool(self, hidden: Tensor, index: int) -> Tensor:
        if self.pools is not None:
            return F.adaptive_max_pool2d(hidden, self.pools[index])
        return F.max_pool2d(hidden, 2, padding=(0, 0 if index else 1))
