"""The usual head: mix the layers, pool the frames, standardise, and a perceptron per clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Features, Output, Reads
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.pooling import AttentionPool, LayerMix, Standardise, masked_mean, masked_mean_std

Pooling = Literal["mean", "mean_std", "attention"]
READS: dict[Pooling, Reads] = {"mean": "mean", "mean_std": "mean_std", "attention": "frames"}
"""The part of the frames that each pooling uses."""
SMALLEST_DEVIATION = 0.01
"""Least predicted deviation, in standard deviations of the training scores."""
LARGEST_LOG_VARIANCE = 10.0
"""Bounds of the predicted logarithm of the variance, so that no odd clip makes it overflow."""


def deviation_of(log_variance: Tensor) -> Tensor:
    r"""Turn a free number into a standard deviation.

    .. math:: \sigma = \sqrt{e^{\min(v, 10)} + 0.01^2}

    Args:
        log_variance: v, of any shape.

    Returns:
        sigma, at least 0.01, of the same shape.

    Example:
        >>> deviation_of(torch.tensor([0.0, -100.0]))
        tensor([1.0000, 0.0100])
    """
    return (log_variance.clamp(max=LARGEST_LOG_VARIANCE).exp() + SMALLEST_DEVIATION**2).sqrt()


class MLP(Head):
    """Score a clip from its pooled frames; ``hidden=[]`` makes it a linear head.

    Layers are mixed with learnable weights, frames are pooled, the mean text state is appended where there is one, and
    the result is standardised by constants and given to a perceptron with GELU between its layers. The constants are
    the mean and deviation over the training clips where the encoder is frozen (``fit_features``), else 0 and 1. The
    last layer starts at zero, so the first prediction is the mean of the training scores. ``Output.embedding`` is what
    the last layer reads, for ``trunk="per_axis"`` that of all axes side by side. It runs in float32 under autocast too.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict.
        text_width: Width of the encoder's text states, or None without a text side.
        hidden: Width of each hidden layer; empty for a linear head.
        pooling: How frames become one vector: their mean, mean and standard deviation, or a mean by learned attention.
        trunk: ``shared`` has one perceptron with an output per axis; ``per_axis`` has layer mix, pooling and perceptron
            of its own for each axis.
        dropout: Probability of dropping each input of every linear layer, the pooled vector included.
        use_text: Whether to read the text states of an encoder that has them.
        normalise: Whether to standardise the pooled vector by constants from the training clips.
        deviation: Whether to predict a standard deviation beside each score, for ``GaussianNLL``: at first that of the
            training scores, never under a hundredth of it.

    Raises:
        ValueError: If a hidden layer has no width or ``dropout`` is not a probability under 1.

    Example:
        >>> head = MLP(4, 2, [Axis("PQ", "Production quality", 0, 10)])
        >>> features = Features(torch.ones(3, 2, 5, 4), torch.ones(3, 5, dtype=torch.bool))
        >>> head(features).scores.detach().flatten()
        tensor([5., 5., 5.])
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        hidden: Sequence[int] = (256,),
        pooling: Pooling = "mean_std",
        trunk: Literal["shared", "per_axis"] = "shared",
        dropout: float = 0.3,
        use_text: bool = True,
        normalise: bool = True,
        deviation: bool = False,
    ) -> None:
        super().__init__(width, num_layers, axes, text_width)
        self.use_text, self.normalise = use_text and text_width is not None, normalise
        text_size = (text_width or 0) if self.use_text else 0
        self.num_each = 2 if deviation else 1
        outputs = [len(self.axes)] if trunk == "shared" else [1] * len(self.axes)
        sizes = (self.num_each * number for number in outputs)
        branches = (Branch(width, num_layers, text_size, pooling, hidden, size, dropout) for size in sizes)
        self.branches = cast("Sequence[Branch]", nn.ModuleList(branches))

    @property
    def reads(self) -> Reads:
        """The part of the frames that the pooling uses."""
        return READS[self.branches[0].pooling]

    @torch.no_grad()
    def fit_features(self, features: Iterable[Features]) -> None:
        """Take mean and deviation of the pooled training clips as constants; see ``Head.fit_features``.

        Raises:
            ValueError: If there are no features.
        """
        if not self.normalise:
            return
        pooled: list[list[Tensor]] = [[] for _ in self.branches]
        for batch in features:
            for branch, rows in zip(self.branches, pooled, strict=True):
                rows.append(branch.pool(batch))
        for branch, rows in zip(self.branches, pooled, strict=True):
            branch.fit(rows)

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``.

        Raises:
            ValueError: If this head reads text and the features hold none.
        """
        if self.use_text and features.text is None:
            raise ValueError("This head reads text but the features hold none; give prompts or set use_text=False.")
        with torch.autocast(features.layers.device.type, enabled=False):
            parts = [branch(features) for branch in self.branches]
            outputs_BAN = torch.cat([outputs.unflatten(1, (-1, self.num_each)) for outputs, _ in parts], dim=1)
            embedding_BE = torch.cat([embedding for _, embedding in parts], dim=1)
            scores_BA = self.location_A + self.scale_A * outputs_BAN[..., 0]
            if self.num_each == 1:
                return Output(scores_BA, embedding_BE)
            return Output(scores_BA, embedding_BE, deviation=self.scale_A * deviation_of(outputs_BAN[..., 1]))


class Branch(nn.Module):
    """Mix layers, pool frames, standardise and run a perceptron, for all axes or for one.

    The last layer starts at zero. What is read is brought to the precision of the weights.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        text_size: Width of the text states that are read; 0 reads none.
        pooling: How frames become one vector.
        hidden: Width of each hidden layer; empty for a linear map.
        num_outputs: Outputs of the last layer.
        dropout: Probability of dropping each input of every linear layer.

    Raises:
        ValueError: If a hidden layer has no width or ``dropout`` is not a probability under 1.
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        text_size: int,
        pooling: Pooling,
        hidden: Sequence[int],
        num_outputs: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if any(size < 1 for size in hidden):
            raise ValueError(f"hidden must hold the width of each hidden layer, each at least 1, got {list(hidden)}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and under 1, got {dropout}.")
        self.pooling, self.reads_text = pooling, text_size > 0
        self.mix = LayerMix(num_layers)
        self.attention = AttentionPool(width) if pooling == "attention" else None
        sizes = [(2 * width if pooling == "mean_std" else width) + text_size, *hidden]
        self.standardise = Standardise(sizes[0])
        self.trunk = nn.Sequential()
        for size, next_size in pairwise(sizes):
            self.trunk.extend([nn.Dropout(dropout), nn.Linear(size, next_size), nn.GELU()])
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(sizes[-1], num_outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def pool(self, features: Features) -> Tensor:
        """Return one vector per clip, text included, before standardisation."""
        frames_BFD, mask_BF = self.mix(features.layers), features.frame_mask
        if self.attention is not None:
            pooled_BE: Tensor = self.attention(frames_BFD, mask_BF)
        else:
            pooled_BE = (masked_mean_std if self.pooling == "mean_std" else masked_mean)(frames_BFD, mask_BF)
        if self.reads_text:
            assert features.text is not None
            assert features.text_mask is not None
            pooled_BE = torch.cat([pooled_BE, masked_mean(features.text, features.text_mask)], dim=1)
        return pooled_BE

    def fit(self, pooled: Sequence[Tensor]) -> None:
        """Take mean and deviation of what ``pool`` gave for the training clips as constants.

        Raises:
            ValueError: If there is nothing.
        """
        if not pooled:
            raise ValueError("fit_features needs the features of the training clips, got none.")
        std_E, mean_E = torch.std_mean(torch.cat(list(pooled)), dim=0, correction=0)
        self.standardise.fit(mean_E, std_E)

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return the outputs of the last layer, standardised scores for ``MLP``, and what that layer reads."""
        embedding_BE: Tensor = self.trunk(self.standardise(self.pool(features)))
        return self.last(self.dropout(embedding_BE)), embedding_BE
