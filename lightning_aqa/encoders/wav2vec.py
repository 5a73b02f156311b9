"""WavLM, HuBERT and wav2vec 2.0 on transformers' modules: ragged batches, exact for each clip, at matrix speed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_aqa.encoders.cpu import can_pack, same_convolution, side_by_side
from lightning_aqa.encoders.melspectrogram import prefix_mask
from lightning_aqa.encoders.wav2vec_convolutions import (
    StridedConvolution,
    fold_group_norm,
    frames_of,
    is_gelu,
    rows_for,
    tap_groups,
)

# Clips encoded at once times the square of their frames bounds the memory of attention: on a CPU, where more is not
# faster, one clip of 10 s, elsewhere sixteen.
MAX_FRAME_PAIRS = {"cpu": 250_000, "other": 4_000_000}
# Frames of a padded group over those of its clips: a CPU is as fast on one clip as on several, and pays for padding.
MOST_PADDING = {"cpu": 1.02, "other": 4.0}
# Frames that the convolutions make at once: on a CPU few enough for what lies between the layers to stay in its cache.
FRAMES_AT_ONCE = {"cpu": 64, "other": 100_000}
NARROWEST_GROUP = 16
"""Channels of a group below which oneDNN's convolution in bfloat16 is wrong on CPUs with AMX; these run in float32."""


def attend(attention: Any, hidden: Tensor, position_bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Attend from every frame to the valid frames of its clip by fused attention.

    Args:
        attention: A transformers module with ``q_proj``, ``k_proj``, ``v_proj`` and ``out_proj``; they are called, so
            that hooks and adapters on them work.
        hidden: Frames, shape ``(B, F, D)``.
        position_bias: WavLM's bias by distance, shape ``(H, F, F)``, which each query gates; None for the others.
        mask: True where a frame is valid, shape ``(B, F)``; None where all are.

    Returns:
        Shape ``(B, F, D)``.
    """
    size = (*hidden.shape[:2], attention.num_heads, -1)
    query, key, value = (
        project(hidden).view(size).transpose(1, 2) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    bias = None if mask is None else mask[:, None, None]
    if position_bias is not None:
        gates = attention.gru_rel_pos_linear(hidden.view(size).transpose(1, 2))
        gate_a, gate_b = torch.sigmoid(gates.unflatten(-1, (2, 4)).sum(-1)).chunk(2, dim=-1)
        gate = gate_a * (gate_b * attention.gru_rel_pos_const - 1.0) + 2.0
        bias = (gate * position_bias).to(query.dtype)
        bias = bias if mask is None else bias.masked_fill(~mask[:, None, None], -torch.inf)
    dropout = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    out: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return out


def position_states(embed: Any, hidden: Tensor) -> Tensor:
    """Return what a positional convolution of transformers adds to frames, shape ``(B, F, D)``."""
    conv = embed.conv
    is_known = isinstance(conv, nn.Conv1d) and is_gelu(embed.activation) and not hasattr(embed, "batch_norm")
    is_narrow = conv.in_channels // conv.groups < NARROWEST_GROUP if isinstance(conv, nn.Conv1d) else False
    if is_known and not is_narrow and can_pack(hidden, *conv.parameters()):
        return same_convolution(hidden, conv, gelu=True)
    if hidden.device.type == "cpu" and is_narrow:
        exact = {name: parameter.float() for name, parameter in embed.named_parameters()}
        with torch.autocast("cpu", enabled=False):
            hidden = torch.func.functional_call(embed, exact, hidden.float()).to(hidden.dtype)
    else:
        hidden = embed(hidden)
    return hidden


def groups_of_like_length(num_frames: Sequence[int], limit: int, most_padding: float) -> Iterator[list[int]]:
    """Yield the indices of clips from the longest to the shortest, some of like length as a group.

    Args:
        num_frames: Frames of each clip.
        limit: Most pairs of frames in a group of several.
        most_padding: Most frames of a padded group of several, in terms of those of its clips.

    Example:
        >>> list(groups_of_like_length([30, 10, 20, 10], 900, 1.2))
        [[0], [2], [1, 3]]
    """
    group: list[int] = []
    for row in sorted(range(len(num_frames)), key=lambda row: -num_frames[row]):
        longest, size = num_frames[(group or [row])[0]], len(group) + 1
        padded, real = size * longest, sum(num_frames[other] for other in (*group, row))
        if group and (padded * longest > limit or padded > most_padding * real):
            yield group
            group = []
        group.append(row)
    yield group


def _kind(tensor: Tensor) -> str:
    return "cpu" if tensor.device.type == "cpu" else "other"


class SpeechModel(nn.Module):
    """Run a WavLM, HuBERT or wav2vec 2.0 of transformers on ragged batches.

    The convolutions run clip by clip on the clip's own samples, the transformer on a few clips of like length at once.
    The first group normalisation takes its statistics over a window that the caller names. Dropout follows train
    mode; layer-drop and the masking of pre-training do not run, since heads read every layer and every frame.

    Args:
        model: A ``WavLMModel``, ``HubertModel`` or ``Wav2Vec2Model`` with its weights.

    Raises:
        RuntimeError: If this class and the model's own forward differ, as another version of transformers may make it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        self.kernels, self.strides = tuple(config.conv_kernel), tuple(config.conv_stride)
        self.width, self.num_layers = int(config.hidden_size), int(config.num_hidden_layers) + 1
        self.is_stable = bool(config.do_stable_layer_norm)
        self.model = model
        self._check()
        if self.is_stable:
            model.encoder.layer_norm = nn.Identity()  # it comes after the last hidden state

    @torch.no_grad()
    def _check(self) -> None:
        """Compare with the model's own forward on a tenth of a second."""
        mode, size = self.training, 40 * rows_for(1, self.kernels, self.strides) // 10
        chirp = (torch.linspace(0, 40, size) ** 2).sin()
        self.eval()
        own = self([chirp], [frames_of(size, self.kernels, self.strides)], [size])[0].transpose(0, 1)
        theirs = torch.stack(self.model(chirp[None], output_hidden_states=True).hidden_states)
        self.train(mode)
        if not torch.allclose(own, theirs, atol=1e-3, rtol=1e-3):
            import transformers

            raise RuntimeError(
                f"{type(self.model).__name__} of transformers {transformers.__version__} computes something else than "
                "lightning_aqa's fast forward; install transformers 5.23 and please report it."
            )

    def forward(
        self, clips: Sequence[Tensor], num_frames: Sequence[int], windows: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Encode clips.

        Args:
            clips: Samples of each clip, shape ``(T,)`` each.
            num_frames: Frames to return of each clip; where they reach past its end, zeros follow it.
            windows: Samples that the statistics of the group normalisation run over, for each clip.

        Returns:
            The input of the first block and the output of each, shape ``(B, L, F, D)``, float32, zero at padded
            frames; and which frames are valid, ``(B, F)``.
        """
        longest = max(num_frames)
        layers_BLFD = clips[0].new_empty(len(clips), self.num_layers, longest, self.width)
        kind = _kind(layers_BLFD)
        groups = list(groups_of_like_length(num_frames, MAX_FRAME_PAIRS[kind], MOST_PADDING[kind]))
        taps = self._taps()

        def encode(rows: Sequence[int]) -> None:
            parts = [self._convolve(clips[row], num_frames[row], windows[row], taps) for row in rows]
            if kind != "cpu" or torch.is_grad_enabled():
                states = torch.stack(list(self._transform(parts)), dim=1)
                layers_BLFD[list(rows), :, : states.shape[2]] = states.to(layers_BLFD.dtype)
                layers_BLFD[list(rows), :, states.shape[2] :] = 0.0
                return
            for number, state in enumerate(self._transform(parts)):
                for row, frames in zip(rows, state, strict=True):
                    layers_BLFD[row, number, : len(frames)] = frames
                    layers_BLFD[row, number, len(frames) :] = 0.0

        side_by_side(encode, groups, layers_BLFD.device)
        return layers_BLFD, prefix_mask(torch.tensor(num_frames, device=layers_BLFD.device), longest)

    def _taps(self) -> list[list[Tensor]]:
        """Return the taps of each convolution, laid out once for all clips."""
        convs = [layer.conv for layer in self.model.feature_extractor.conv_layers]
        for conv in convs:
            if type(conv) is not nn.Conv1d:
                raise ValueError(f"{type(conv).__name__}: the convolutions take no adapters; name linear layers alone.")
        return [tap_groups(conv.weight, stride) for conv, stride in zip(convs, self.strides, strict=True)]

    def _convolve(self, samples: Tensor, num_frames: int, window: int, taps: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return the frames of one clip before the transformer, shape ``(F, C)``, made some at a time."""
        layers = self._folded_layers(samples, window, taps)
        hop, at_once = math.prod(self.strides), FRAMES_AT_ONCE[_kind(samples)]
        pieces: list[Tensor] = []
        for first in range(0, num_frames, at_once):
            size = min(at_once, num_frames - first)
            needed = rows_for(size, self.kernels, self.strides)
            piece = samples[first * hop : first * hop + needed]
            hidden = F.pad(piece, (0, needed - len(piece)))[:, None]
            for layer in layers:
                hidden = layer(hidden)
            pieces.append(hidden[:size])
        return torch.cat(pieces)

    def _folded_layers(
        self, samples: Tensor, window: int, taps: Sequence[Sequence[Tensor]]
    ) -> list[StridedConvolution]:
        """Return the convolutions; the group normalisation of a clip is in them."""
        layers: list[StridedConvolution] = []
        for layer, groups, stride in zip(self.model.feature_extractor.conv_layers, taps, self.strides, strict=True):
            weight, bias, norm = layer.conv.weight, layer.conv.bias, getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                with torch.autocast(samples.device.type, enabled=False):
                    folded, bias = fold_group_norm(samples, window, weight, norm, stride)
                weight, bias, norm = folded.to(weight), bias.to(weight), None
                groups = tap_groups(weight, stride)
            layers.append(StridedConvolution(weight, bias, stride, groups, norm, layer.activation))
        return layers

    def _transform(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Run the transformer on the frames of some clips; yield each hidden state, ``(B, F, D)``, zero at padding."""
        encoder = self.model.encoder
        sizes = torch.tensor([len(part) for part in parts], device=parts[0].device)
        mask = prefix_mask(sizes, int(sizes.max()))
        projected = self.model.feature_projection(pad_sequence(list(parts), batch_first=True))
        hidden = projected[0] if isinstance(projected, tuple) else projected
        hidden = hidden.masked_fill(~mask[..., None], 0.0)
        hidden = hidden + position_states(encoder.pos_conv_embed, hidden)
        hidden = encoder.dropout(hidden if self.is_stable else encoder.layer_norm(hidden))
        attention = encoder.layers[0].attention
        is_wavlm = self.model.config.model_type == "wavlm"
        position_bias = attention.compute_bias(mask.shape[1], mask.shape[1]) if is_wavlm else None
        padding = None if mask.all() else ~mask
        yield hidden if padding is None else hidden.masked_fill(padding[..., None], 0.0)
        for layer in encoder.layers:
            hidden = self._block(layer, hidden, position_bias, None if padding is None else mask)
            yield hidden if padding is None else hidden.masked_fill(padding[..., None], 0.0)

    def _block(self, layer: Any, hidden: Tensor, position_bias: Tensor | None, mask: Tensor | None) -> Tensor:
        """Run one transformer block, normalised before (``is_stable``) or after its two branches."""
        first, second = layer.layer_norm, layer.final_layer_norm
        if self.is_stable:
            hidden = hidden + layer.dropout(attend(layer.attention, first(hidden), position_bias, mask))
            out: Tensor = hidden + layer.feed_forward(second(hidden))
        else:
            hidden = first(hidden + layer.dropout(attend(layer.attention, hidden, position_bias, mask)))
            out = second(hidden + layer.feed_forward(hidden))
        return out
