"""The classical frames: log-mel, MFCC and their deltas, flatness, zero crossings, level; nothing to train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder

# Power floor of a mel band, about 100 dB below a full-scale tone: the rounding noise of 16-bit audio says nothing.
FLOOR = 1e-6


def descriptors(
    samples: NDArray[np.float32], sample_rate: int, *, num_mels: int, num_mfcc: int, frame_length: int, hop_length: int
) -> NDArray[np.float32]:
    """Describe one clip frame by frame, all from one short-time spectrum.

    The columns are the log-mel bands, the MFCC, their first and second deltas over nine frames, the spectral flatness,
    the zero crossings per sample, and the level against full scale; logarithms are in bel, that is 10 dB.

    Args:
        samples: The samples of the clip, shape ``(T,)``, full scale 1.
        sample_rate: Rate of the samples, in Hz.
        num_mels: Number of mel bands.
        num_mfcc: Number of cepstral coefficients.
        frame_length: Length of a frame, in samples.
        hop_length: Distance between two frames, in samples.

    Returns:
        Descriptors, shape ``(F, num_mels + 3 * num_mfcc + 3)`` with ``F = 1 + T // hop_length``; finite for silence.

    Example:
        >>> silence = np.zeros(800, dtype=np.float32)
        >>> descriptors(silence, 16000, num_mels=80, num_mfcc=20, frame_length=1024, hop_length=512).shape
        (2, 143)
    """
    from librosa import amplitude_to_db, feature, power_to_db, stft

    num_frames = 1 + len(samples) // hop_length
    samples = np.pad(samples, (0, max(0, frame_length - len(samples))))
    magnitude = np.abs(stft(samples, n_fft=frame_length, hop_length=hop_length, pad_mode="constant"))
    mel = feature.melspectrogram(S=magnitude**2, sr=sample_rate, n_mels=num_mels)
    mel = power_to_db(mel, amin=FLOOR, top_db=None) / 10
    mfcc = feature.mfcc(S=mel, n_mfcc=num_mfcc)
    deltas = [_delta(mfcc[:, :num_frames], order) for order in (1, 2)]
    flatness = power_to_db(feature.spectral_flatness(S=magnitude), amin=1e-10, top_db=None) / 10
    crossings = feature.zero_crossing_rate(samples, frame_length=frame_length, hop_length=hop_length)
    rms = feature.rms(y=samples, frame_length=frame_length, hop_length=hop_length, pad_mode="constant")
    level = amplitude_to_db(rms, amin=1e-5, top_db=None) / 10
    rows = [array[:, :num_frames] for array in (mel, mfcc, *deltas, flatness, crossings, level)]
    return np.concatenate(rows).T.astype(np.float32)


def _delta(rows: NDArray[np.float32], order: int) -> NDArray[np.float32]:
    """Return the slope or curvature along time; a clip of under nine frames is continued by its last frame."""
    from librosa.feature import delta

    missing = max(0, 9 - rows.shape[1])
    longer = np.pad(rows, ((0, 0), (0, missing)), "edge")
    return delta(longer, order=order, mode="nearest")[:, : rows.shape[1]]


class Descriptors(Encoder):
    """Encode a clip by classical descriptors, so that mean and deviation pooling and a linear head is the baseline.

    It has no parameters, runs on the CPU, and takes a clip of any length whole. Each clip is described from its own
    valid samples. In ridge regression on 104 rated clips of real music, 16 kHz did better than 22.05 and 44.1 kHz, and
    frames of 32 and 64 ms better than 128 ms; hops from 20 to 50 ms and 40, 64 or 80 bands did alike.

    Args:
        sample_rate: Rate of the audio, in Hz.
        num_mels: Number of mel bands.
        num_mfcc: Number of cepstral coefficients, at most ``num_mels``.
        frame_seconds: Length of a frame, in seconds.
        hop_seconds: Distance between two frames, in seconds.

    Raises:
        ValueError: If there are more cepstral coefficients than bands, or a length is under one sample.

    Example:
        >>> features = Descriptors()(torch.zeros(2, 16000), torch.tensor([16000, 800]))
        >>> features.layers.shape, features.frame_mask.sum(dim=1)
        (torch.Size([2, 1, 32, 143]), tensor([32,  2]))
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mels: int = 80,
        num_mfcc: int = 20,
        frame_seconds: float = 0.064,
        hop_seconds: float = 0.032,
    ) -> None:
        super().__init__()
        self.frame_length, self.hop_length = round(sample_rate * frame_seconds), round(sample_rate * hop_seconds)
        if not 1 <= num_mfcc <= num_mels:
            raise ValueError(f"num_mfcc must be between 1 and num_mels = {num_mels}, got {num_mfcc}.")
        if min(self.frame_length, self.hop_length) < 1:
            raise ValueError(
                f"frame_seconds and hop_seconds must be at least one sample (1/{sample_rate} s), "
                f"got {frame_seconds} and {hop_seconds}."
            )
        self.sample_rate, self.num_mels, self.num_mfcc = sample_rate, num_mels, num_mfcc
        self.width, self.num_layers = num_mels + 3 * num_mfcc + 3, 1

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips; prompts are not read."""
        clips = waveform.detach().float().cpu().numpy()
        frames = [self._describe(clip[:length]) for clip, length in zip(clips, num_samples.tolist(), strict=True)]
        num_frames = torch.tensor([len(rows) for rows in frames])
        frame_mask = torch.arange(int(num_frames.max())) < num_frames[:, None]
        layers_BLFD = pad_sequence(frames, batch_first=True).unsqueeze(1)
        return Features(layers_BLFD.to(waveform.device), frame_mask.to(waveform.device))

    def _describe(self, samples: NDArray[np.float32]) -> Tensor:
        """Return the descriptors of one clip, shape ``(F, D)``."""
        return torch.from_numpy(
            descriptors(
                samples,
                self.sample_rate,
                num_mels=self.num_mels,
                num_mfcc=self.num_mfcc,
                frame_length=self.frame_length,
                hop_length=self.hop_length,
            )
        )
