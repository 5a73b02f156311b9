"""The mean of several models of one kind, as one module: those of the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Features, Output
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.module import AQAModule
from lightning_aqa.utils.davidson import mean_link


def average(members: Sequence[AQAModule], weights: Sequence[Sequence[float]] | None = None) -> AQAModule:
    """Return a module whose scores are the mean of those of its members, or their weighted sum, for evaluation.

    Encoders of the same weights run once. Others run side by side, their layers one after another.

    Args:
        members: Trained modules with encoders of one class and the same axes.
        weights: Weight of each member on each axis; None is the mean.

    Raises:
        ValueError: If encoders differ that also read prompts, or the axes differ.
    """
    first = members[0]
    if any(member.axes != first.axes for member in members):
        raise ValueError("an ensemble takes models of the same axes.")
    is_shared = all(same_weights(member.encoder, first.encoder) for member in members)
    if not is_shared and first.encoder.text_width is not None:
        raise ValueError("an ensemble takes no encoders with a text side that were trained apart; use the refit.")
    encoder = first.encoder if is_shared else _SideBySide([member.encoder for member in members])
    layers = (
        None
        if is_shared or first.layers is None
        else [index * first.encoder.num_layers + layer for index in range(len(members)) for layer in first.layers]
    )
    num_layers = 0 if is_shared else first.encoder.num_layers if first.layers is None else len(first.layers)
    mean = _MeanHead([member.head for member in members], num_layers, weights)
    chosen = first.layers if is_shared else layers
    module = AQAModule(first.axes, encoder, lambda *sizes: mean, freeze="all", layers=chosen)
    module.is_fresh, module.trained_on = False, first.trained_on
    module.pair_link = mean_link([member.pair_link for member in members])
    return module.eval()


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Tell whether two parts have the same names of weights and the same weights."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


class _SideBySide(Encoder):
    """Encoders of one class, whose layers come one after another."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(encoders)
        first = encoders[0]
        for name in ("sample_rate", "width", "window_seconds", "min_seconds", "min_tail_seconds", "padded_seconds"):
            setattr(self, name, getattr(first, name))
        self.num_layers = len(encoders) * first.num_layers

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode by each."""
        found: list[Features] = [member(waveform, num_samples, prompts) for member in self.members]
        return found[0]._replace(layers=torch.cat([features.layers for features in found], dim=1))


class _MeanHead(Head):
    """Sum of the weighted scores of heads, each of which reads its own layers, or all the same."""

    is_trained = True
    weights_MA: Tensor

    def __init__(
        self, heads: Sequence[Head], num_layers: int, weights: Sequence[Sequence[float]] | None = None
    ) -> None:
        first = heads[0]
        super().__init__(first.width, len(heads) * num_layers or first.num_layers, first.axes, first.text_width)
        self.members, self._own_layers = nn.ModuleList(heads), num_layers
        self.fit_scale(first.location_A, first.scale_A)
        equal = [[1 / len(heads)] * len(self.axes)] * len(heads)
        self.register_buffer("weights_MA", torch.tensor(equal if weights is None else weights))

    def forward(self, features: Features) -> Output:
        """Score clips by each and average; deviations and frame scores too, where all give them."""
        found: list[Output] = [head(self._of(features, index)) for index, head in enumerate(self.members)]
        deviations = [output.deviation for output in found if output.deviation is not None]
        frames = [output.frame_scores for output in found if output.frame_scores is not None]
        have_frames = len(frames) == len(found)
        return Output(
            self._weighted([output.scores for output in found]),
            torch.cat([output.embedding for output in found], dim=1),
            frame_scores=self._weighted(frames) if have_frames else None,
            frame_mask=found[0].frame_mask if have_frames else None,
            deviation=self._weighted(deviations) if len(deviations) == len(found) else None,
        )

    def _weighted(self, values: Sequence[Tensor]) -> Tensor:
        return torch.einsum("m...a,ma->...a", torch.stack(list(values)), self.weights_MA.to(values[0].dtype))

    def _of(self, features: Features, index: int) -> Features:
        if not self._own_layers:
            return features
        own = slice(index * self._own_layers, (index + 1) * self._own_layers)
        return features._replace(layers=features.layers[:, own])
