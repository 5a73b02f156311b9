"""Text attends to audio: every word of the prompt looks for the frames that answer it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Axis, Features, Output, Reads
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.bins import bins_of, expectation, standard_bins
from lightning_aqa.heads.pooling import LayerMix, Standardise, masked_mean, masked_mean_std

TEXTUAL = {"ta", "textual alignment", "text alignment"}
"""Names and titles of axes that are about the prompt, in lower case."""


def choose_text_axes(axes: Sequence[Axis], text_axes: Sequence[str] | None) -> list[bool]:
    """Tell for each axis whether it reads the prompt.

    Args:
        axes: The axes to predict.
        text_axes: Names of those that do; None takes the axes named like textual alignment and, where none is so named,
            all of them.

    Raises:
        ValueError: If a name is not that of an axis.

    Example:
        >>> choose_text_axes([Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)], None)
        [False, True]
    """
    names = [axis.name for axis in axes]
    if text_axes is None:
        found = [axis.name for axis in axes if {_plain(axis.name), _plain(axis.title)} & TEXTUAL]
        return [name in (found or names) for name in names]
    unknown = sorted(set(text_axes) - set(names))
    if unknown:
        raise ValueError(f"text_axes names {', '.join(unknown)}, but the axes are {', '.join(names)}.")
    return [name in text_axes for name in names]


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ")


class CrossAttention(Head):
    r"""Score textual alignment by attention of the prompt's words to the frames, the other axes by the audio alone.

    Layers are mixed, frames standardised by constants and projected to x, text states projected to w. Then

    .. math:: z = \mathrm{LN}(w + \mathrm{MHA}(\mathrm{query}\; w, \mathrm{key}\; x, \mathrm{value}\; x)),

    and the mean of z over the valid words, beside the pooled audio (mean and standard deviation over the valid frames),
    goes through a hidden layer to the axes that read the text. The others have a hidden layer on the pooled audio.
    Padded frames and words count nowhere. The last layers start at zero, so the first prediction is the mean of the
    training scores, or their normal distribution over the bins. ``Output.embedding`` is what the last layers read: the
    hidden layer of the audio, then that of the text, where there are axes for it. It runs in the precision of its
    weights under autocast too.

    Args:
        width: Encoder width D.
        num_layers: Number of encoder layers L.
        axes: The axes to predict.
        text_width: Width of the encoder's text states.
        text_axes: Names of the axes that read the prompt. Null takes those named like textual alignment (TA) and, where
            none is, all axes; an empty list leaves the text out, to see what it gives.
        attention_width: Width of the attention, a multiple of ``num_heads``.
        num_heads: Number of attention heads.
        hidden: Width of each hidden layer.
        dropout: Probability of dropping each input of every hidden and last layer.
        num_bins: Predict a distribution over so many bins of the scale, for ``SoftOrdinal``, as the head ``Ordinal`` of
            kind gaussian does; null predicts the score itself.

    Raises:
        ValueError: If the encoder has no text side or no audio, ``text_axes`` names an axis that is not there, or a
            size cannot be; in ``forward``, if the features hold no text.

    Example:
        >>> axes = [Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)]
        >>> head = CrossAttention(4, 2, axes, 6)
        >>> frames, words = torch.ones(3, 5, dtype=torch.bool), torch.ones(3, 7, dtype=torch.bool)
        >>> output = head(Features(torch.ones(3, 2, 5, 4), frames, torch.ones(3, 7, 6), words))
        >>> output.scores.shape, output.embedding.shape
        (torch.Size([3, 2]), torch.Size([3, 512]))

    Reference:
        Cross-attention between audio and text as in the winner of track 1 of the AudioMOS 2025 challenge,
        https://arxiv.org/abs/2507.09904. Its sizes and what follows the attention are not known here; ours are guesses.
    """

    centres_AK: Tensor | None

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        text_axes: Sequence[str] | None = None,
        attention_width: int = 128,
        num_heads: int = 4,
        hidden: int = 256,
        dropout: float = 0.3,
        num_bins: int | None = None,
    ) -> None:
        super().__init__(width, num_layers, axes, text_width)
        self.reads_text = choose_text_axes(self.axes, text_axes)
        num_text = sum(self.reads_text)
        _check_encoder(width, text_width, reads_text=num_text > 0)
        _check_sizes(attention_width, num_heads, hidden)
        self.mix, self.standardise = LayerMix(num_layers), Standardise(width)
        self.attention = _WordsToFrames(text_width or 0, width, attention_width, num_heads) if num_text else None
        sizes = [(2 * width, len(self.axes) - num_text), (attention_width + 2 * width, num_text)]
        self.num_bins, per_axis = num_bins, num_bins or 1
        self.audio, self.text = (
            _Scorer(size, hidden, number * per_axis, dropout) if number else None for size, number in sizes
        )
        self.register_buffer("centres_AK", None if num_bins is None else bins_of(self.axes, num_bins))
        columns = sorted(range(len(self.axes)), key=lambda column: self.reads_text[column])
        self.order = [columns.index(column) for column in range(len(columns))]

    @property
    def reads(self) -> Reads:
        """All frames for the attention; where no axis reads text, mean and deviation."""
        return "mean_std" if self.text is None else "frames"

    @torch.no_grad()
    def fit_features(self, features: Iterable[Features]) -> None:
        """Take mean and deviation of the frames as constants, all clips weighing alike; see ``Head.fit_features``.

        Raises:
            ValueError: If there are no features.
        """
        self.standardise.fit_frames([masked_mean_std(self._mixed(batch), batch.frame_mask) for batch in features])

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``.

        Raises:
            ValueError: If an axis reads text and the features hold none.
        """
        with torch.autocast(features.layers.device.type, enabled=False):
            frames_BFD, parts = self.standardise(self._mixed(features)), []
            audio_BE = masked_mean_std(frames_BFD, features.frame_mask)
            if self.audio is not None:
                parts.append(self.audio(audio_BE))
            if self.text is not None:
                parts.append(self.text(torch.cat([self._listen(frames_BFD, features), audio_BE], dim=1)))
            ordered = [outputs.unflatten(1, (-1, self.num_bins or 1)) for outputs, _ in parts]
            outputs_BAK = torch.cat(ordered, dim=1)[:, self.order]
            return self._output(outputs_BAK, torch.cat([embedding for _, embedding in parts], dim=1))

    def _output(self, outputs_BAK: Tensor, embedding_BE: Tensor) -> Output:
        """Turn standardised scores, or what is added to the logits of the starting distribution, into scores."""
        if self.centres_AK is None:
            return Output(self.location_A + self.scale_A * outputs_BAK[..., 0], embedding_BE)
        start_AK = -standard_bins(self.centres_AK, self.location_A, self.scale_A).square() / 2
        logits_BAK = start_AK + outputs_BAK
        scores_BA, deviation_BA = expectation(logits_BAK, self.centres_AK)
        return Output(scores_BA, embedding_BE, logits=logits_BAK, deviation=deviation_BA)

    def _mixed(self, features: Features) -> Tensor:
        mixed_BFD: Tensor = self.mix(features.layers.to(self.mix.logits_L.dtype))
        return mixed_BFD

    def _listen(self, frames_BFD: Tensor, features: Features) -> Tensor:
        """Return the mean of the words that have attended to the frames, shape ``(B, E)``."""
        if features.text is None or features.text_mask is None:
            raise ValueError("This head reads text but the features hold none; give prompts or set text_axes=[].")
        assert self.attention is not None
        words_BWD, word_mask_BW = features.text.to(frames_BFD.dtype), features.text_mask
        attended_BWE = self.attention(words_BWD, word_mask_BW, frames_BFD, features.frame_mask)
        return masked_mean(attended_BWE, word_mask_BW)


def _check_encoder(width: int, text_width: int | None, *, reads_text: bool) -> None:
    if reads_text and text_width is None:
        raise ValueError(
            "CrossAttention reads the prompt, but the encoder has no text side; take one that has (CLAP, or Concat of "
            "an audio encoder and TextEncoder), or set text_axes=[] to read the audio alone."
        )
    if width == 0:
        raise ValueError(
            "CrossAttention attends to audio, but the encoder gives none (width 0), as TextEncoder alone does; take an "
            "encoder that gives frames beside the text, or the head MLP, which can read text alone."
        )


def _check_sizes(attention_width: int, num_heads: int, hidden: int) -> None:
    if min(attention_width, num_heads, hidden) < 1:
        given = f"{attention_width}, {num_heads} and {hidden}"
        raise ValueError(f"attention_width, num_heads and hidden must each be at least 1, got {given}.")
    if attention_width % num_heads:
        raise ValueError(f"attention_width must be a multiple of num_heads, got {attention_width} and {num_heads}.")


class _WordsToFrames(nn.Module):
    """Multi-head attention with words as queries and frames as keys and values, residual and layer norm."""

    def __init__(self, text_width: int, width: int, attention_width: int, num_heads: int) -> None:
        super().__init__()
        self.words, self.frames = nn.Linear(text_width, attention_width), nn.Linear(width, attention_width)
        self.attention = nn.MultiheadAttention(attention_width, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(attention_width)

    def forward(self, words: Tensor, word_mask: Tensor, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Map words ``(B, W, D_text)`` and frames ``(B, F, D)`` under their masks to ``(B, W, E)``."""
        words_BWE = self.words(words.masked_fill(~word_mask[..., None], 0.0))
        frames_BFE = self.frames(frames.masked_fill(~frame_mask[..., None], 0.0))
        heard_BWE = self.attention(words_BWE, frames_BFE, frames_BFE, key_padding_mask=~frame_mask, need_weights=False)
        attended_BWE: Tensor = self.norm(words_BWE + heard_BWE[0])
        return attended_BWE


class _Scorer(nn.Module):
    """A hidden layer and a last layer that starts at zero."""

    def __init__(self, size: int, hidden: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Dropout(dropout), nn.Linear(size, hidden), nn.GELU())
        self.dropout, self.last = nn.Dropout(dropout), nn.Linear(hidden, num_outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardised scores and what the last layer reads."""
        embedding_BE: Tensor = self.trunk(given)
        return self.last(self.dropout(embedding_BE)), embedding_BE
