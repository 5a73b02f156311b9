"""A distribution over the bins of each axis's scale: its mean is the score, its spread says how sure the head is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Features, Output, Reads
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.bins import bins_of, expectation, standard_bins
from lightning_aqa.heads.mlp import READS, Branch, Pooling

Kind = Literal["gaussian", "coral"]
SMALLEST_GAP = 1e-4
"""Least difference of neighbouring thresholds of a coral head, in logits: no bin is ever empty."""


def bin_logits(first: Tensor, gaps: Tensor) -> Tensor:
    r"""Turn ordered threshold logits into the logarithm of the mass of each bin.

    With :math:`z_k = z_0 - \sum_{j \le k} g_j` and :math:`P(y > k) = \sigma(z_k)` the mass of a bin between two
    thresholds is

    .. math:: \sigma(z_{k-1}) - \sigma(z_k) = \sigma(z_{k-1})\,\sigma(-z_k)\,(1 - e^{-g_k}),

    a product of positive factors, so that its logarithm is finite where the difference would be rounded to zero.

    Args:
        first: z_0, logit of lying above the first threshold, shape ``(B, A)``.
        gaps: g, how much lower each next logit is, above 0, shape ``(A, K - 2)``.

    Returns:
        Log-probabilities of the bins, shape ``(B, A, K)``.

    Example:
        >>> bin_logits(torch.zeros(1, 1), torch.tensor([[3.0]]).log()).exp()
        tensor([[[0.5000, 0.2500, 0.2500]]])
    """
    steps_AJ = F.pad(gaps.cumsum(dim=-1), (1, 0))
    above_BAJ = first[..., None] - steps_AJ
    inside_AK = F.pad((-torch.expm1(-gaps)).log(), (1, 1))
    return F.pad(F.logsigmoid(above_BAJ), (1, 0)) + F.pad(F.logsigmoid(-above_BAJ), (0, 1)) + inside_AK


class Ordinal(Head):
    r"""Predict a distribution over K bins of each axis's scale; the score is its mean.

    The bins lie at :math:`c_k = \mathrm{low} + k\,(\mathrm{high} - \mathrm{low}) / (K - 1)`, from one end of the scale
    to the other, so a score never leaves it. Layer mix, pooling and perceptron are those of ``MLP``.

    * ``gaussian``: a logit per bin, softmax. The name is that of its training target, ``SoftOrdinal``.
    * ``coral``: one logit per axis and K - 1 falling biases, :math:`P(y > k) = \sigma(w^\top h + b_k)`; all thresholds
      share w, so their order never changes. The score is
      :math:`\mathrm{low} + \mathrm{step} \sum_k P(y > k)`, which is the mean over the bins.

    ``Output.logits`` are logits of the bins for both kinds, so either is trained by ``SoftOrdinal``, by ``Coral`` or,
    on the mean alone, by any loss on scores. ``Output.deviation`` is the standard deviation of the predicted
    distribution. The scale of an axis fixes the bins, so scores need no de-standardisation: ``location_A`` and
    ``scale_A`` set where the head starts, at the normal distribution of the training scores, not narrower than a bin.
    It runs in the precision of its weights under autocast too.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict.
        text_width: Width of the encoder's text states, or None without a text side.
        kind: ``gaussian`` or ``coral``.
        num_bins: K, the number of bins of each axis.
        hidden: Width of each hidden layer; empty for a linear head.
        pooling: How frames become one vector: their mean, mean and standard deviation, or a mean by learned attention.
        dropout: Probability of dropping each input of every linear layer, the pooled vector included.
        use_text: Whether to read the text states of an encoder that has them.
        normalise: Whether to standardise the pooled vector by constants from the training clips.

    Raises:
        ValueError: If an option cannot be.

    Example:
        >>> head = Ordinal(4, 2, [Axis("PQ", "Production quality", 0, 10)], num_bins=5)
        >>> output = head(Features(torch.ones(3, 2, 5, 4), torch.ones(3, 5, dtype=torch.bool)))
        >>> output.scores.shape, output.deviation.shape, output.logits.shape
        (torch.Size([3, 1]), torch.Size([3, 1]), torch.Size([3, 1, 5]))

    Reference:
        ``gaussian``: winner of track 1 of the AudioMOS 2025 challenge, https://arxiv.org/abs/2507.09904. Where its bins
        lie is not known here; that the outer ones lie at the ends of the scale is a guess. ``coral``: Cao, Mirjalili,
        Raschka, "Rank consistent ordinal regression for neural networks with application to age estimation", 2020,
        https://arxiv.org/abs/1901.07884. Differs: the biases fall by construction, not only where the loss is least.
    """

    centres_AK: Tensor

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        kind: Kind = "gaussian",
        num_bins: int = 20,
        hidden: Sequence[int] = (256,),
        pooling: Pooling = "mean_std",
        dropout: float = 0.3,
        use_text: bool = True,
        normalise: bool = True,
    ) -> None:
        super().__init__(width, num_layers, axes, text_width)
        if kind not in ("gaussian", "coral"):
            raise ValueError(f"kind must be 'gaussian' or 'coral', got {kind!r}.")
        centres_AK = bins_of(self.axes, num_bins)
        self.kind, self.num_bins, self.normalise = kind, num_bins, normalise
        self.use_text = use_text and text_width is not None
        num_axes, text_size = len(self.axes), (text_width or 0) if self.use_text else 0
        num_outputs = num_axes * (num_bins if kind == "gaussian" else 1)
        self.branch = Branch(width, num_layers, text_size, pooling, hidden, num_outputs, dropout)
        self.gaps_AJ = nn.Parameter(torch.zeros(num_axes, num_bins - 2)) if kind == "coral" else None
        self.register_buffer("centres_AK", centres_AK)
        self._start()

    @property
    def reads(self) -> Reads:
        """The part of the frames that the pooling uses."""
        return READS[self.branch.pooling]

    def fit_scale(self, location_A: Tensor, scale_A: Tensor) -> None:
        """Start at the normal distribution of the training scores; see ``Head.fit_scale``."""
        super().fit_scale(location_A, scale_A)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Set the biases so that every clip is first given the distribution of the training scores."""
        standard_AK = standard_bins(self.centres_AK, self.location_A, self.scale_A)
        if self.gaps_AJ is None:
            self.branch.last.bias.copy_(-standard_AK.square().flatten() / 2)
            return
        thresholds_AJ = (standard_AK[:, 1:] + standard_AK[:, :-1]) / 2
        above_AJ = torch.special.log_ndtr(-thresholds_AJ) - torch.special.log_ndtr(thresholds_AJ)
        gaps_AJ = (-above_AJ.diff(dim=1) - SMALLEST_GAP).clamp(min=SMALLEST_GAP)
        self.branch.last.bias.copy_(above_AJ[:, 0])
        self.gaps_AJ.copy_(gaps_AJ + (-torch.expm1(-gaps_AJ)).log())  # the inverse of softplus

    @torch.no_grad()
    def fit_features(self, features: Iterable[Features]) -> None:
        """Take mean and deviation of the pooled training clips as constants; see ``Head.fit_features``.

        Raises:
            ValueError: If there are no features.
        """
        if self.normalise:
            self.branch.fit([self.branch.pool(batch) for batch in features])

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``.

        Raises:
            ValueError: If this head reads text and the features hold none.
        """
        if self.use_text and features.text is None:
            raise ValueError("This head reads text but the features hold none; give prompts or set use_text=False.")
        with torch.autocast(features.layers.device.type, enabled=False):
            outputs_BN, embedding_BE = self.branch(features)
            if self.gaps_AJ is None:
                logits_BAK = outputs_BN.unflatten(1, self.centres_AK.shape)
            else:
                logits_BAK = bin_logits(outputs_BN, F.softplus(self.gaps_AJ) + SMALLEST_GAP)
            scores_BA, deviation_BA = expectation(logits_BAK, self.centres_AK)
            return Output(scores_BA, embedding_BE, logits=logits_BAK, deviation=deviation_BA)
