"""From a window of a clip to a row of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_aqa.batch import Batch, Features, Pairs
from lightning_aqa.data.audio import Resampler, read_audio
from lightning_aqa.data.augment import Augmenter
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.windows import Window

Normalise = Literal["keep", "rms"]
FeatureReader = Callable[[Clip, Window], Features]


class WindowRow(NamedTuple):
    """One window before batching: its clip, its audio or its features, its scores."""

    clip: Clip
    waveform: Tensor
    scores: Tensor
    weight: float
    features: Features | None
    pairs: tuple[tuple[int, int, int, float, int], ...] | None = None


class ClipWindows(Dataset[WindowRow]):
    """Read windows of a manifest's clips; a window is the index.

    Args:
        manifest: The clips.
        sample_rate: Rate to read at, in Hz.
        features: Reads a window's cached features; None reads its audio.
        resampler: What brings files of another rate to this one.
        normalise: ``rms`` divides each window by its root mean square; ``keep`` leaves it as it is.
        augmenter: Changes windows that name an epoch, before they are normalised; None changes none.
    """

    def __init__(
        self,
        manifest: Manifest,
        sample_rate: int,
        features: FeatureReader | None = None,
        resampler: Resampler = "soxr",
        normalise: Normalise = "keep",
        augmenter: Augmenter | None = None,
    ) -> None:
        self.manifest, self.sample_rate, self.features = manifest, sample_rate, features
        self.resampler: Resampler = resampler
        self.normalise: Normalise = normalise
        self.augmenter = augmenter
        self.scores_NA = torch.from_numpy(manifest.scores()).float()

    def __getitem__(self, window: Window) -> WindowRow:
        """Return one window."""
        clip = self.manifest[window.clip]
        scores_A = self.scores_NA[window.clip] if window.counts else torch.full_like(self.scores_NA[0], torch.nan)
        if self.features is not None:
            features = self.features(clip, window)
            return WindowRow(clip, torch.zeros(0), scores_A, window.weight, features, window.pairs)
        samples_T = read_window(clip, window, self.sample_rate, self.resampler)
        if self.augmenter is not None and window.epoch is not None:
            samples_T, scores_A = self.augmenter(samples_T, scores_A, window)
        normalised_T = unit_rms(samples_T) if self.normalise == "rms" else samples_T
        return WindowRow(clip, normalised_T, scores_A, window.weight, None, window.pairs)


def read_window(clip: Clip, window: Window, sample_rate: int, resampler: Resampler = "soxr") -> Tensor:
    """Read the audio of one window, shape ``(T,)``.

    Raises:
        AudioError: If the file cannot be read or holds samples that are not finite.
    """
    start = clip.start + window.start
    return torch.from_numpy(read_audio(clip.path, sample_rate, start, start + window.seconds, resampler))


def unit_rms(samples: Tensor) -> Tensor:
    """Divide samples by their root mean square; silence stays silence.

    Example:
        >>> unit_rms(torch.tensor([3.0, -3.0]))
        tensor([ 1., -1.])
    """
    exact = torch.float32 if samples.device.type == "mps" else torch.float64
    root_mean_square = samples.to(exact).square().mean().sqrt()
    return samples if root_mean_square == 0 else (samples / root_mean_square).to(samples.dtype)


def collate(rows: Sequence[WindowRow]) -> Batch:
    """Pad rows to a batch."""
    clips = [row.clip for row in rows]
    cached = [row.features for row in rows if row.features is not None]
    return Batch(
        waveform=torch.nn.utils.rnn.pad_sequence([row.waveform for row in rows], batch_first=True),
        num_samples=torch.tensor([len(row.waveform) for row in rows]),
        scores=torch.stack([row.scores for row in rows]),
        ids=[clip.id for clip in clips],
        systems=[clip.system for clip in clips],
        domains=[clip.domain for clip in clips],
        prompts=[clip.prompt for clip in clips],
        features=stack_features(cached) if cached else None,
        weights=torch.tensor([row.weight for row in rows]),
        pairs=None if rows[0].pairs is None else stack_pairs(rows[0].pairs),
    )


def stack_pairs(pairs: Sequence[tuple[int, int, int, float, int]]) -> Pairs:
    """Stack the pairs of a batch: rows of both clips, outcome, weight and axis of each."""
    columns = [[pair[field] for pair in pairs] for field in range(5)]
    rows_a, rows_b, outcomes, axes = (torch.tensor(columns[field], dtype=torch.int64) for field in (0, 1, 2, 4))
    return Pairs(rows_a, rows_b, outcomes, torch.tensor(columns[3], dtype=torch.float32), axes)


def stack_features(features: Sequence[Features]) -> Features:
    """Pad features of single windows (B = 1 each) in their frames and tokens, and stack them."""
    layers_BLFD = _pad([item.layers[0].transpose(0, 1) for item in features]).transpose(1, 2)
    frame_mask_BF = _pad([item.frame_mask[0] for item in features])
    texts = [item.text[0] for item in features if item.text is not None]
    masks = [item.text_mask[0] for item in features if item.text_mask is not None]
    return Features(layers_BLFD, frame_mask_BF, _pad(texts) if texts else None, _pad(masks) if masks else None)


def _pad(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
