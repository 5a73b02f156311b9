"""Several encoders as one, each fed at its own sample rate, their widths side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Features, Part
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.melspectrogram import prefix_mask


def resample_clips(waveform: Tensor, num_samples: Tensor, old_rate: int, new_rate: int) -> tuple[Tensor, Tensor]:
    """Resample padded clips by a windowed sinc, each as if it were alone with silence beyond both ends.

    Args:
        waveform: Clips at ``old_rate``, shape ``(B, T)``, padded at the end with anything.
        num_samples: Valid samples of each clip, shape ``(B,)``.
        old_rate: Rate of the clips, in Hz.
        new_rate: Rate to return, in Hz.

    Returns:
        Clips at ``new_rate`` and their valid samples, ``ceil(num_samples * new_rate / old_rate)`` of each.

    Example:
        >>> clips, sizes = resample_clips(torch.ones(2, 800), torch.tensor([800, 75]), 8000, 4000)
        >>> clips.shape, sizes
        (torch.Size([2, 400]), tensor([400,  38]))
    """
    from torchaudio.functional import resample

    silent_BT = waveform.float().masked_fill(~prefix_mask(num_samples, waveform.shape[1]), 0.0)
    with torch.autocast(waveform.device.type, enabled=False):
        resampled_BT = resample(silent_BT, old_rate, new_rate)
    return resampled_BT, -(-num_samples * new_rate // old_rate)


def nearest_frames(num_frames: Tensor, num_wanted: Tensor) -> Tensor:
    r"""Tell which frame of an encoder lies nearest to each frame of a finer grid.

    Frames divide a clip evenly, so that frame :math:`f` of :math:`F` has its middle at :math:`(f + 1/2) / F`, which
    lies in frame :math:`\lfloor (f + 1/2)\, n / F \rfloor` of :math:`n`.

    Args:
        num_frames: Frames of each clip that the encoder gives, shape ``(B,)``.
        num_wanted: Frames of each clip in the finer grid, shape ``(B,)``.

    Returns:
        Indices into the encoder's frames, shape ``(B, F)`` with F the largest wanted number; 0 beyond a clip's own.

    Example:
        >>> nearest_frames(torch.tensor([2, 1]), torch.tensor([5, 3]))
        tensor([[0, 0, 1, 1, 1],
                [0, 0, 0, 0, 0]])
    """
    size = int(num_wanted.max())
    twice_middle_F = 2 * torch.arange(size, device=num_wanted.device) + 1
    index_BF = twice_middle_F * num_frames[:, None] // (2 * num_wanted[:, None])
    return index_BF.masked_fill(~prefix_mask(num_wanted, size), 0)


def nearest_layers(num_layers: int, num_wanted: int) -> list[int]:
    r"""Tell which layer of an encoder lies nearest in relative depth to each of more layers.

    Layer :math:`l` of :math:`L` is at depth :math:`l / (L - 1)`, and so at layer :math:`l\,(n - 1) / (L - 1)` of
    :math:`n`, rounded, halves up. A single layer stands for all depths.

    Example:
        >>> nearest_layers(3, 5), nearest_layers(1, 3)
        ([0, 1, 1, 2, 2], [0, 0, 0])
    """
    steps = max(num_wanted - 1, 1)
    return [(2 * layer * (num_layers - 1) + steps) // (2 * steps) for layer in range(num_wanted)]


class Concat(Encoder):
    """Encode a clip by several encoders and lay their hidden states side by side along the width.

    Audio comes at the highest of their rates and is resampled to the others inside, clip by clip alike (windowed sinc).
    Per clip, the frames are those of the encoder that gives this clip the most; the frames of the others are repeated,
    nearest in time, and a pooled encoder's single frame is repeated for all. The layers are as many as the deepest
    encoder has; those of the others are repeated, nearest in relative depth, so that a head's mix over layers weighs
    like depths of all encoders. Nothing of this is trained, so a frozen ``Concat`` can be cached.

    Text comes from the one encoder that has a text side. Windows are as long as the shortest that an encoder asks for,
    and clips and last windows as long as the most demanding needs. Train and eval mode, and freezing, hold for all.

    Args:
        encoders: The encoders, in the order of their widths in the result.

    Raises:
        ValueError: If there is no encoder, or more than one has a text side.

    Example:
        >>> from lightning_aqa.encoders.melspectrogram import MelSpectrogram
        >>> encoder = Concat([MelSpectrogram(8000, width=16), MelSpectrogram(16000, width=32, hop_seconds=0.02)])
        >>> features = encoder(torch.zeros(2, 16000), torch.tensor([16000, 800]))
        >>> encoder.sample_rate, features.layers.shape, features.frame_mask.sum(dim=1)
        (16000, torch.Size([2, 4, 26, 48]), tensor([26,  2]))
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("Concat needs at least one encoder, got none; name them by 'encoders'.")
        readers = [encoder for encoder in encoders if encoder.text_width is not None]
        if len(readers) > 1:
            names = " and ".join(type(encoder).__name__ for encoder in readers)
            raise ValueError(
                f"Concat takes text from one encoder, and {names} have a text side; leave one out, "
                "or switch its text off (CLAP has text: false)."
            )
        self.encoders = nn.ModuleList(encoders)
        self.sample_rate = max(encoder.sample_rate for encoder in encoders)
        self.width = sum(encoder.width for encoder in encoders)
        self.num_layers = max(encoder.num_layers for encoder in encoders)
        self.text_width = readers[0].text_width if readers else None
        windows = [encoder.window_seconds for encoder in encoders if encoder.window_seconds is not None]
        self.window_seconds = min(windows, default=None)
        self.min_seconds = max(encoder.min_seconds for encoder in encoders)
        self.padded_seconds = max((encoder.padded_seconds or 0.0 for encoder in encoders), default=0.0) or None
        self.min_tail_seconds = max(encoder.min_tail_seconds for encoder in encoders)

    def freeze_first(self, num_layers: int) -> list[nn.Module]:
        """Freeze the first layers of each encoder; see ``Encoder.freeze_first``."""
        return [part for encoder in self._parts() for part in encoder.freeze_first(num_layers)]

    def parts(self) -> list[Part]:
        """Return each encoder's dimensions, and the first of the layers that stand for each of its own."""
        found, start = list[Part](), 0
        for encoder in self._parts():
            nearest = nearest_layers(encoder.num_layers, self.num_layers)
            layers = tuple(nearest.index(layer) for layer in range(encoder.num_layers))
            found.append(Part(encoder.label, start, encoder.width, layers))
            start += encoder.width
        return found

    def _parts(self) -> list[Encoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode clips."""
        parts = self._encode(waveform, num_samples, prompts)
        counts_EB = torch.stack([part.frame_mask.sum(dim=1) for part in parts])
        wanted_B = counts_EB.amax(dim=0)
        mask_BF = prefix_mask(wanted_B, int(wanted_B.max()))
        pieces = [
            self._align(part.layers, nearest_frames(counts_B, wanted_B))
            for part, counts_B in zip(parts, counts_EB, strict=True)
        ]
        layers_BLFD = torch.cat(pieces, dim=-1).masked_fill_(~mask_BF[:, None, :, None], 0.0)
        text, text_mask = next(((part.text, part.text_mask) for part in parts if part.text is not None), (None, None))
        return Features(layers_BLFD, mask_BF, text, text_mask)

    def _encode(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None) -> list[Features]:
        """Run each encoder at its own rate; each rate is resampled to once."""
        at_rate = {self.sample_rate: (waveform, num_samples)}
        parts: list[Features] = []
        for encoder in self._parts():
            rate = encoder.sample_rate
            if rate not in at_rate:
                at_rate[rate] = resample_clips(waveform, num_samples, self.sample_rate, rate)
            parts.append(encoder(*at_rate[rate], prompts))
        return parts

    def _align(self, layers: Tensor, index: Tensor) -> Tensor:
        """Repeat the layers ``(B, l, f, d)`` of one encoder to ``(B, L, F, d)``, by the frame indices ``(B, F)``."""
        rows = torch.arange(len(layers), device=layers.device)
        depths = torch.tensor(nearest_layers(layers.shape[1], self.num_layers), device=layers.device)
        return layers[rows[:, None, None], depths[:, None], index[:, None]]
