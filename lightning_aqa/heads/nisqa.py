"""The head of NISQA: self-attention or an LSTM over the frames, and a pooling for each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_aqa.batch import Axis, Features, Output
from lightning_aqa.heads.base import Head
from lightning_aqa.utils.nisqa_weights import NISQAWeights, read_nisqa
from lightning_aqa.utils.weights import WeightsError, load_exactly

AXES = (
    Axis("MOS", "Overall quality", 1.0, 5.0),
    Axis("NOI", "Noisiness", 1.0, 5.0),
    Axis("DIS", "Discontinuity", 1.0, 5.0),
    Axis("COL", "Coloration", 1.0, 5.0),
    Axis("LOUD", "Loudness", 1.0, 5.0),
)
"""The axes of ``nisqa.tar``, in the order of its outputs; high is good on all of them."""
PUBLISHED = {"td": "self_att", "td_sa_d_model": 64, "td_sa_nhead": 1, "td_sa_num_layers": 2, "td_sa_h": 64}
PUBLISHED |= {"td_sa_dropout": 0.1, "pool": "att", "pool_att_h": 128, "pool_att_dropout": 0.1}
"""The settings of the published heads, by their official names."""


class NISQAHead(Head):
    """Score each axis by its own pooling of frames that self-attention, or an LSTM, has read.

    Given a checkpoint it starts from the official head, so that over ``encoders.nisqa.NISQA`` of the same checkpoint it
    is the official predictor before any training; its scores then are the official ones, and ``fit_scale`` leaves them.
    Without one it starts from random weights over any encoder, of which it reads the last layer. It
    runs in float32 under autocast too.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict; with a checkpoint, any of MOS, NOI, DIS, COL and LOUD, or of a model of one score MOS
            alone; all of them where the data rates none.
        text_width: Width of the encoder's text states; they are not read.
        checkpoint: Official file, such as ``nisqa.tar``; null starts from random weights.

    Raises:
        WeightsError: If the weights are not found, or are not of this head.
        ValueError: If the checkpoint has no score for an axis.

    Reference:
        Mittag et al., "NISQA", Interspeech 2021, https://arxiv.org/abs/2104.09494.
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        checkpoint: str | None = None,
    ) -> None:
        weights = None if checkpoint is None else read_nisqa(checkpoint)
        known = AXES if weights is None or weights.settings["model"] == "NISQA_DIM" else AXES[:1]
        super().__init__(width, num_layers, axes or (known if weights else ()), text_width)
        settings = PUBLISHED if weights is None else weights.settings
        self.time_dependency = nn.ModuleDict({"model": _over_time(width, settings)}) if _reads_time(settings) else None
        inner = width if self.time_dependency is None else _width_of(settings)
        self.pool_layers = nn.ModuleList(nn.ModuleDict({"model": _Pooling(inner, settings)}) for _ in self.axes)
        self.is_trained = weights is not None
        if weights is not None:
            self._start_from(weights, [axis.name for axis in known])
            self.location_A.zero_()
            self.scale_A.fill_(1.0)

    def _start_from(self, weights: NISQAWeights, known: list[str]) -> None:
        """Take the official head, of its poolings those of these axes."""
        missing = [axis.name for axis in self.axes if axis.name not in known]
        if missing:
            raise ValueError(
                f"{weights.path} has no score for {', '.join(missing)}; it has {', '.join(known)}. Leave the head's "
                "checkpoint out to train one."
            )
        tensors = {
            name: value for name, value in weights.rest.items() if not name.startswith(("pool.", "pool_layers."))
        }
        for i, axis in enumerate(self.axes):
            prefix = f"pool_layers.{known.index(axis.name)}." if len(known) > 1 else "pool."
            found = {name: value for name, value in weights.rest.items() if name.startswith(prefix)}
            tensors |= {f"pool_layers.{i}.{name.removeprefix(prefix)}": value for name, value in found.items()}
        load_exactly(self, tensors, weights.path, ignored=("location_A", "scale_A"))

    def fit_scale(self, location_A: Tensor, scale_A: Tensor) -> None:
        """Take the scale of the training scores, unless a checkpoint has brought its own."""
        if not self.is_trained:
            super().fit_scale(location_A, scale_A)

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``."""
        hidden, mask_BF = features.layers[:, -1], features.frame_mask
        with torch.autocast(hidden.device.type, enabled=False):
            if self.time_dependency is not None:
                hidden = self.time_dependency["model"](hidden, mask_BF)
            pooled_ABE, scores_AB = zip(*(pool["model"](hidden, mask_BF) for pool in self._pools()), strict=True)
        return Output(self.location_A + self.scale_A * torch.stack(scores_AB, dim=1), torch.cat(pooled_ABE, dim=1))

    def _pools(self) -> list[Any]:
        return list(self.pool_layers)


def _reads_time(settings: dict[str, Any]) -> bool:
    return settings.get("td") not in (None, "skip")


def _width_of(settings: dict[str, Any]) -> int:
    if settings["td"] == "lstm":
        return int(settings["td_lstm_h"]) * (2 if settings.get("td_lstm_bidirectional") else 1)
    return int(settings["td_sa_d_model"])


def _over_time(width: int, settings: dict[str, Any]) -> nn.Module:
    if settings["td"] == "lstm":
        return _LSTM(width, settings)
    if settings["td"] != "self_att" or settings.get("td_sa_pos_enc"):
        raise WeightsError(f"NISQA's td is {settings['td']}; expected self_att without positions, lstm or skip.")
    return _SelfAttention(width, settings)


class _SelfAttention(nn.Module):
    """Layers of self-attention on a projection of the frames; official names."""

    def __init__(self, width: int, settings: dict[str, Any]) -> None:
        super().__init__()
        inner, dropout = int(settings["td_sa_d_model"]), float(settings.get("td_sa_dropout") or 0)
        self.linear, self.norm1 = nn.Linear(width, inner), nn.LayerNorm(inner)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(inner, settings["td_sa_nhead"], settings["td_sa_h"], dropout, batch_first=True)
            for _ in range(int(settings["td_sa_num_layers"]))
        )

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map frames ``(B, F, D)`` under a mask ``(B, F)``."""
        hidden = self.norm1(self.linear(hidden))
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=~mask).masked_fill(~mask[..., None], 0.0)
        return hidden


class _LSTM(nn.Module):
    """A recurrent network over the valid frames; official names."""

    def __init__(self, width: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            width,
            int(settings["td_lstm_h"]),
            int(settings.get("td_lstm_num_layers") or 1),
            batch_first=True,
            bidirectional=bool(settings.get("td_lstm_bidirectional")),
        )

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map frames ``(B, F, D)`` under a mask ``(B, F)``."""
        packed = pack_padded_sequence(hidden, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        found, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=hidden.shape[1])
        return found


class _Pooling(nn.Module):
    """One state of a clip, and its score: by attention, mean, maximum or last frame; official names."""

    def __init__(self, width: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.kind, inner = settings["pool"], settings.get("pool_att_h")
        if self.kind not in ("att", "avg", "max", "last_step", "last_step_bi"):
            raise WeightsError(f"NISQA's pool is {self.kind}; expected att, avg, max, last_step or last_step_bi.")
        if self.kind != "att":
            self.linear = nn.Linear(width, 1)
        elif inner:
            self.linear1, self.linear2, self.linear3 = nn.Linear(width, inner), nn.Linear(inner, 1), nn.Linear(width, 1)
        else:
            self.linear1, self.linear2 = nn.Linear(width, 1), nn.Linear(width, 1)
        self.dropout = nn.Dropout(float(settings.get("pool_att_dropout") or 0))
        self.has_perceptron = bool(inner)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled state ``(B, D)`` and the score ``(B,)``."""
        pooled_BD = self._pool(hidden, mask)
        last = self.linear if self.kind != "att" else self.linear3 if self.has_perceptron else self.linear2
        return pooled_BD, last(pooled_BD).squeeze(1)

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        num_frames = mask.sum(dim=1)
        if self.kind == "max":
            return hidden.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
        if self.kind == "avg":
            return hidden.masked_fill(~mask[..., None], 0.0).sum(dim=1) / num_frames[:, None]
        if self.kind.startswith("last_step"):
            last = hidden[torch.arange(len(hidden), device=hidden.device), num_frames - 1]
            half = hidden.shape[2] // 2
            return torch.cat([last[:, :half], hidden[:, 0, half:]], dim=1) if self.kind == "last_step_bi" else last
        weight = self.linear1(hidden)
        if self.has_perceptron:
            weight = self.linear2(self.dropout(F.relu(weight)))
        share_BF1: Tensor = weight.masked_fill(~mask[..., None], -torch.inf).softmax(dim=1)
        return (share_BF1 * hidden).sum(dim=1)
