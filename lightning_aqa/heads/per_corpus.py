"""A line per corpus around any head: its listeners' offset and scale, learned along with the head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_aqa.batch import PART, Axis, Batch, Features, Output, Part, Reads
from lightning_aqa.heads.base import Head, HeadCallable
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.utils.text import did_you_mean


class PerCorpus(Head):
    r"""Score clips by a head, and in training see its scores as the listeners of each corpus would give them.

    .. math:: p' = \mu + e^{g_c} (p - \mu) + o_c \sigma, \qquad \sum_c g_c = \sum_c o_c = 0

    per axis; mu and sigma are mean and deviation of the training scores, g and o are learned, and the sums are over the
    corpora that rate the axis. An axis that one corpus alone rates has no line. Outside of training the scores are
    those of the head: of the mean corpus, whatever a clip's corpus is, so that test, predict and score agree. A decay
    of weights draws the lines to the identity.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict.
        text_width: Width of the encoder's text states, or None without a text side.
        head: The head that scores.
        corpora: Names of the corpora, as in ``Mix``, or of domains.
        by: Whether these are names of a ``corpus``, or of each ``domain`` inside one.

    Raises:
        ValueError: In training, if a clip is of another corpus, or if the head gives logits, which no line maps.
    """

    location_A: Tensor
    scale_A: Tensor
    rated_CA: Tensor

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        head: HeadCallable = MLP,
        corpora: Sequence[str] = (),
        by: Literal["corpus", "domain"] = "corpus",
    ) -> None:
        inner = head(width, num_layers, axes, text_width)
        super().__init__(width, num_layers, inner.axes, text_width)
        if by not in ("corpus", "domain"):
            raise ValueError(f"by must be 'corpus' or 'domain', got {by!r}.")
        self.head, self.corpora, self.by = inner, list(corpora), by
        self.is_trained, self.reads_clips = inner.is_trained, inner.reads_clips
        self.offset_CA = nn.Parameter(torch.zeros(len(self.corpora), len(self.axes)))
        self.gain_CA = nn.Parameter(torch.zeros(len(self.corpora), len(self.axes)))
        self.register_buffer("rated_CA", torch.zeros(len(self.corpora), len(self.axes), dtype=torch.bool))

    @property
    def reads(self) -> Reads:
        """The part of the frames that the head uses."""
        return self.head.reads

    def states_reads(self) -> bool:
        """Tell whether the head states it."""
        return self.head.states_reads()

    def fit_scale(self, location_A: Tensor, scale_A: Tensor) -> None:
        """Take mean and standard deviation of the training scores, and give them to the head."""
        super().fit_scale(location_A, scale_A)
        self.head.fit_scale(location_A, scale_A)

    def fit_features(self, features: Iterable[Features]) -> None:
        """Let the head look at the features of the training clips."""
        self.head.fit_features(features)

    def fit_clips(self, windows: Iterable[tuple[Features, Batch]], group_of: Callable[[str], str] = str) -> None:
        """Let the head look at the training clips with their scores."""
        self.head.fit_clips(windows, group_of)

    def take_parts(self, parts: Sequence[Part]) -> None:
        """Tell the head which encoders' hidden states lie side by side."""
        self.head.take_parts(parts)

    def forward(self, features: Features) -> Output:
        """Score clips as the mean corpus would."""
        output: Output = self.head(features)
        return output

    def forward_rows(self, features: Features, batch: Batch) -> Output:
        """Score rows; in training as the listeners of their corpora would."""
        output = self.head.forward_rows(features, batch)
        if not self.training:
            return output
        if output.logits is not None:
            raise ValueError(f"PerCorpus maps scores, and {type(self.head).__name__} is trained by its logits.")
        rows_B = torch.tensor([self._row_of(domain) for domain in batch.domains], device=self.offset_CA.device)
        seen_CA = torch.zeros_like(self.offset_CA).index_add(0, rows_B, (~batch.scores.isnan()).to(self.offset_CA))
        self.rated_CA.logical_or_(seen_CA > 0)
        return self._mapped(output, *(self._centred(table)[rows_B] for table in (self.offset_CA, self.gain_CA)))

    def _row_of(self, domain: str) -> int:
        name = domain.split(PART)[0] if self.by == "corpus" else domain
        if name not in self.corpora:
            raise ValueError(
                f"model.head.corpora names {', '.join(self.corpora) or 'none'}, and a training clip is of "
                f"{name or 'none'}; name all of them.{did_you_mean(name, self.corpora)}"
            )
        return self.corpora.index(name)

    def _centred(self, table_CA: Tensor) -> Tensor:
        """Return numbers whose sum over the corpora that rate an axis is zero, and zero for the others."""
        rated_CA = self.rated_CA.to(table_CA)
        mean_A = (table_CA * rated_CA).sum(0) / rated_CA.sum(0).clamp(min=1)
        return (table_CA - mean_A) * rated_CA

    def _mapped(self, output: Output, offset_BA: Tensor, gain_BA: Tensor) -> Output:
        factor_BA, shift_BA = gain_BA.exp(), offset_BA * self.scale_A
        moved = self.location_A + factor_BA * (output.scores - self.location_A) + shift_BA
        frames = output.frame_scores
        if frames is not None:
            centred = frames - self.location_A
            frames = self.location_A + factor_BA[:, None] * centred + shift_BA[:, None]
        deviation = None if output.deviation is None else output.deviation * factor_BA
        return output._replace(scores=moved, frame_scores=frames, deviation=deviation)
