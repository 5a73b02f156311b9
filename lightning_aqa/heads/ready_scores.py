"""The head of models that give scores themselves, such as DNSMOS: their outputs, or a polynomial of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_aqa.batch import Axis, Features, Output, Reads, make_axes
from lightning_aqa.heads.base import Head


class ReadyScores(Head):
    r"""Take the encoder's width as scores: of each frame :math:`\sum_k c_k x^k`, then the mean over the frames.

    Nothing is trained, so that over an encoder whose outputs are scores it is a zero-shot judge.

    Args:
        width: Number of scores that the encoder gives.
        num_layers: Number of encoder layers, of which the last is read.
        axes: The axes to predict, all among ``scores``; all of these where the data rates none.
        text_width: Width of the encoder's text states; they are not read.
        scores: Names of the scores, in the order of the width.
        scale: Lowest and highest score, in score points.
        polynomials: Coefficients from the constant on, for scores that the model does not give as they are.

    Raises:
        ValueError: If the names are not as many as the width, or an axis is none of them.

    Example:
        >>> head = ReadyScores(2, 1, [], scores=["SIG", "BAK"], polynomials={"BAK": [1, 0, 2]})
        >>> head(Features(torch.full((1, 1, 4, 2), 2.0), torch.ones(1, 4, dtype=torch.bool))).scores
        tensor([[2., 9.]])
    """

    is_trained = True

    def __init__(
        self,
        width: int,
        num_layers: int,
        axes: Sequence[Axis],
        text_width: int | None = None,
        *,
        scores: Sequence[str],
        scale: Sequence[float] = (1.0, 5.0),
        polynomials: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        if len(scores) != width:
            raise ValueError(
                f"scores names {', '.join(scores)}, and the encoder gives {width}; name each once, in order."
            )
        named = make_axes({name: scale for name in scores})
        unknown = [axis.name for axis in axes if axis.name not in scores]
        unknown += [name for name in polynomials or {} if name not in scores]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: no score of this model, which gives {', '.join(scores)}; write them by "
                "`score`, and set them beside a trained predictor by `report --judge=NAME=FILE:COLUMN`."
            )
        super().__init__(width, num_layers, axes or named, text_width)
        self.columns = tuple(list(scores).index(axis.name) for axis in self.axes)
        rows = [list((polynomials or {}).get(axis.name, (0.0, 1.0))) for axis in self.axes]
        longest = max(map(len, rows))
        self.coefficients_AK: Tensor
        filled = [[float(number) for number in row] + [0.0] * (longest - len(row)) for row in rows]
        self.register_buffer("coefficients_AK", torch.tensor(filled))

    @property
    def reads(self) -> Reads:
        """Each frame, since a polynomial of the mean is not the mean of the polynomial."""
        return "frames"

    def fit_scale(self, location_A: Tensor, scale_A: Tensor) -> None:
        """Leave the scale, which is the model's own."""

    def forward(self, features: Features) -> Output:
        """Score clips; see ``Head.forward``."""
        given_BFA = features.layers[:, -1][..., list(self.columns)]
        powers_BFAK = torch.stack([given_BFA**k for k in range(self.coefficients_AK.shape[1])], dim=-1)
        frames_BFA = (powers_BFAK * self.coefficients_AK).sum(dim=-1)
        weights_BF1 = features.frame_mask[..., None].to(frames_BFA.dtype)
        scores_BA = (frames_BFA * weights_BF1).sum(dim=1) / weights_BF1.sum(dim=1)
        return Output(scores_BA, scores_BA, frames_BFA, features.frame_mask)
