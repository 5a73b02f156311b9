"""AESA-Net: a recurrent network over frames, then attention and a score per frame for each axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Features, Output
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.pooling import LayerMix, Standardise, masked_mean, masked_mean_std


def reverse_valid(frames: Tensor, mask: Tensor) -> Tensor:
    """Reverse the valid frames of each clip in time and leave the padding where it is.

    Args:
        frames: Frames, shape ``(B, F, D)``.
        mask: True where valid, shape ``(B, F)``, bool; the valid frames of a row come first.

    Returns:
        Reversed frames, shape ``(B, F, D)``.

    Example:
        >>> frames, mask = torch.tensor([[[1], [2], [3], [0]]]), torch.tensor([[True, True, True, False]])
        >>> reverse_valid(frames, mask).flatten()
        tensor([3, 2, 1, 0])
    """
    place_F = torch.arange(frames.shape[1], device=frames.device)
    place_BF = torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - place_F, place_F)
    return frames.gather(1, place_BF[..., None].expand_as(frames))


class BLSTM(nn.Module):
    """Run a bidirectional LSTM whose backward direction starts at each clip's last valid frame.

    It computes what ``torch.nn.LSTM`` computes on packed sequences. There, on a CPU, the gradient takes time quadratic
    in the length: 44 s against 1 s for 16 clips of 940 frames.

    Args:
        input_width: Width of an input frame.
        width: Width of each direction.
        num_layers: Number of layers.
    """

    def __init__(self, input_width: int, width: int, num_layers: int) -> None:
        super().__init__()
        sizes = [input_width] + [2 * width] * (num_layers - 1)
        self.ahead = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes)
        self.back = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Map frames ``(B, F, D)`` under a prefix mask ``(B, F)`` to both directions, ``(B, F, 2 width)``."""
        for ahead, back in zip(self.ahead, self.back, strict=True):
            back_BFE = reverse_valid(back(reverse_valid(frames, mask))[0], mask)
            frames = torch.cat([ahead(frames)[0], back_BFE], dim=-1)
        return frames


class AESANet(Head):
    r"""Score every frame of a clip on each axis and average: the head of the AudioMOS 2025 Track 2 entry AESA-Net.

    Layer mix, standardisation, linear adapter, two-layer bidirectional LSTM and a shared linear layer with dropout and
    ReLU; then for each axis multi-head self-attention and a linear layer with sigmoid, which puts the score of a frame
    between the ends of the scale:

    .. math:: s_f = \mathrm{low} + (\mathrm{high} - \mathrm{low})\,\sigma(w^\top h_f + b),

    and the clip's score is the mean over its valid frames. ``Output.frame_scores`` holds the :math:`s_f`, zero at
    padded frames. ``Output.embedding`` is the mean of the shared layer over valid frames: it is the last representation
    that all axes have in common, so a triplet loss on it shapes all that lies below the branches (a guess, the paper
    does not say which embedding it takes). LSTM, frame scores and pooling run in float32, under autocast too. Learning
    rates above 5e-4 tend to saturate the sigmoid; the paper's is 1e-4.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict.
        text_width: Width of the encoder's text states; text is not read.
        adapter_width: Width of the adapter; a guess, the paper gives no sizes.
        lstm_width: Width of each direction of the LSTM; a guess.
        shared_width: Width of the shared layer and of the attention; a guess.
        num_heads: Number of attention heads; a guess.
        dropout: Probability of dropping an element of the shared layer; a guess, as is ReLU.

    Raises:
        ValueError: If ``shared_width`` is not a multiple of ``num_heads``.

    Example:
        >>> head = AESANet(4, 2, [Axis("PQ", "Production quality", 0, 10)])
        >>> features = Features(torch.ones(3, 2, 5, 4), torch.ones(3, 5, dtype=torch.bool))
        >>> output = head(features)
        >>> output.scores.shape, output.frame_scores.shape, output.embedding.shape
        (torch.Size([3, 1]), torch.Size([3, 5, 1]), torch.Size([3, 128]))

    Reference:
        "Improving Perceptual Audio Aesthetic Assessment via Triplet Loss and Self-Supervised Embeddings",
        https://arxiv.org/abs/2509.03292. Differs: clips are batched with masks instead of one by one; the unit
        interval is mapped onto each axis's scale; the last bias starts at the mean of the training scores; the frames
        of a frozen encoder are standardised by constants of the training clips, or descriptors would train slowly.
    """

    low_A: Tensor
    span_A: Tensor

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        adapter_width: int = 128,
        lstm_width: int = 128,
        shared_width: int = 128,
        num_heads: int = 4,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(width, num_layers, axes, text_width)
        if shared_width % num_heads:
            raise ValueError(f"shared_width must be a multiple of num_heads, got {shared_width} and {num_heads}.")
        self.register_buffer("low_A", torch.tensor([float(axis.low) for axis in self.axes]))
        self.register_buffer("span_A", torch.tensor([float(axis.high - axis.low) for axis in self.axes]))
        self.mix = LayerMix(num_layers)
        self.standardise = Standardise(width)
        self.adapter = nn.Linear(width, adapter_width)
        self.lstm = BLSTM(adapter_width, lstm_width, num_layers=2)
        self.shared = nn.Sequential(nn.Linear(2 * lstm_width, shared_width), nn.Dropout(dropout), nn.ReLU())
        branches = nn.ModuleList(_Branch(shared_width, num_heads) for _ in self.axes)
        self.branches = cast("Sequence[_Branch]", branches)

    @torch.no_grad()
    def fit_scale(self, location_A: Tensor, scale_A: Tensor) -> None:
        """Start the frame scores around the mean of the training scores; see ``Head.fit_scale``."""
        super().fit_scale(location_A, scale_A)
        unit_A = ((self.location_A - self.low_A) / self.span_A).clamp(0.01, 0.99)
        for branch, bias in zip(self.branches, unit_A.logit(), strict=True):
            branch.last.bias.fill_(bias)

    @torch.no_grad()
    def fit_features(self, features: Iterable[Features]) -> None:
        """Take mean and deviation of the frames as constants, all clips weighing alike; see ``Head.fit_features``.

        Raises:
            ValueError: If there are no features.
        """
        pooled = [masked_mean_std(self.mix(batch.layers), batch.frame_mask) for batch in features]
        self.standardise.fit_frames(pooled)

    def forward(self, features: Features) -> Output:
        """Score clips and their frames; see ``Head.forward``."""
        mask_BF, device = features.frame_mask, features.layers.device.type
        adapted_BFE = self.adapter(self.standardise(self.mix(features.layers)))
        with torch.autocast(device, enabled=False):
            recurrent_BFE = self.lstm(adapted_BFE.to(self.location_A.dtype), mask_BF)
        shared_BFE = self.shared(recurrent_BFE)
        unit_BFA = torch.stack([branch(shared_BFE, mask_BF) for branch in self.branches], dim=-1)
        frame_scores_BFA = (self.low_A + self.span_A * unit_BFA).masked_fill(~mask_BF[..., None], 0.0)
        scores_BA = masked_mean(frame_scores_BFA, mask_BF)
        embedding_BE = masked_mean(shared_BFE.to(self.location_A.dtype), mask_BF)
        return Output(scores_BA, embedding_BE, frame_scores=frame_scores_BFA, frame_mask=mask_BF)


class _Branch(nn.Module):
    """One axis: self-attention over valid frames and a score between 0 and 1 for each frame."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.last = nn.Linear(width, 1)

    def forward(self, shared: Tensor, mask: Tensor) -> Tensor:
        """Score frames ``(B, F, E)`` under a mask ``(B, F)``; shape ``(B, F)``, float32."""
        attended_BFE = self.attention(shared, shared, shared, key_padding_mask=~mask, need_weights=False)[0]
        with torch.autocast(shared.device.type, enabled=False):
            return torch.sigmoid(self.last(attended_BFE.to(self.last.weight.dtype))).squeeze(-1)
