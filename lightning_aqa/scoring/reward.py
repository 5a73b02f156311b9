"""A trained predictor as a reward: a differentiable score with a lower bound, and the ascent that it invites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.scoring.waveforms import as_tensor, to_mono

Bound = Literal["score", "low"]


class Reward:
    r"""Score clips for an optimiser: one number per clip, with a gradient to its samples.

    .. math:: r = \sum_a w_a (s_a - m_a)

    ``score`` has m = 0. With ``low`` m is the half width of the interval of axis a, and where several scorers are given
    their standard deviation times ``spread``: what predictors do not agree on is worth nothing. A clip that climbs to
    where no training clip was still scores high; see ``lightning-aqa probe``.

    Args:
        scorers: A scorer, as ``load`` gives it, or several of the same axes, whose mean is taken.
        weights: Weight per axis; None weighs all alike, adding up to one.
        bound: Whether to reward the score or its lower bound.
        spread: Standard deviations between scorers that count against a clip.

    Raises:
        ValueError: If an axis is unknown, scorers have other axes, or there is nothing that a bound follows from.

    Example:
        >>> from lightning_aqa import AQAModule
        >>> from lightning_aqa.encoders.melspectrogram import MelSpectrogram
        >>> scorer = Scorer(AQAModule([("MI", "Impression", 1, 5)], MelSpectrogram(width=8, depth=1)), device="cpu")
        >>> clips = torch.zeros(2, 16000, requires_grad=True)
        >>> Reward(scorer, bound="score")(clips, 16000).shape
        torch.Size([2])
    """

    def __init__(
        self,
        scorers: Scorer | Sequence[Scorer],
        weights: Mapping[str, float] | None = None,
        bound: Bound = "low",
        spread: float = 1.0,
    ) -> None:
        self.scorers = [scorers] if isinstance(scorers, Scorer) else list(scorers)
        if bound not in get_args(Bound):
            raise ValueError(f"bound must be score or low, got {bound!r}.")
        if not self.scorers:
            raise ValueError("A reward needs a scorer, and none is given.")
        self.axes = self.scorers[0].axes
        names = [axis.name for axis in self.axes]
        for scorer in self.scorers[1:]:
            if scorer.axes != self.axes:
                raise ValueError(f"scorers must have the same axes; one has {', '.join(names)}, another others.")
        unknown = [name for name in weights or {} if name not in names]
        if unknown:
            raise ValueError(f"weights names {unknown[0]}; the axes are {', '.join(names)}.")
        self.weights = [(weights or dict.fromkeys(names, 1 / len(names))).get(name, 0.0) for name in names]
        self.bound, self.spread = bound, spread
        self._margins = self._half_widths(names) if bound == "low" and len(self.scorers) == 1 else None

    def _half_widths(self, names: Sequence[str]) -> list[float]:
        trust = self.scorers[0].trust
        if trust.calibration is None or trust.calibration.is_scaled:
            why = "has none" if trust.calibration is None else "has one that varies by clip"
            raise ValueError(
                f"bound=low needs an interval of one width per axis, and this predictor {why}: give several scorers, "
                "whose disagreement then counts, or bound='score'."
            )
        found = trust.calibration.factors(share=trust.share).tolist()
        bad = [name for name, width, w in zip(names, found, self.weights, strict=True) if w and not isfinite(width)]
        if bad:
            raise ValueError(f"bound=low: {bad[0]} has no interval ({trust.why_none}); give bound='score'.")
        return [width if w else 0.0 for width, w in zip(found, self.weights, strict=True)]

    def __call__(self, audio: Any, sample_rate: float, prompts: str | Sequence[str] | None = None) -> Tensor:
        """Reward clips.

        Args:
            audio: Tensor of shape ``(B, T)``, ``(B, C, T)``, or a list of tensors ``(T,)`` or ``(C, T)``.
            sample_rate: In Hz.
            prompts: Text of each clip.

        Returns:
            Rewards in score points, shape ``(B,)``.

        Raises:
            ValueError: If the shape is another, or a gradient is asked for and the encoder has none.
        """
        clips = list(audio)
        if not clips or any(as_tensor(clip).ndim == 0 for clip in clips):
            raise ValueError("A reward takes a batch: shape (B, T) or (B, C, T), or a list of clips.")
        scores_SBA = torch.stack([scorer.score_waveforms(clips, sample_rate, prompts) for scorer in self.scorers])
        scores_BA = scores_SBA.mean(0)
        weights_A = torch.tensor(self.weights, dtype=scores_BA.dtype, device=scores_BA.device)
        if self._margins is not None:
            scores_BA = scores_BA - torch.tensor(self._margins, dtype=scores_BA.dtype, device=scores_BA.device)
        elif self.bound == "low":
            scores_BA = scores_BA - self.spread * (scores_SBA.var(0, unbiased=True) + 1e-12).sqrt()
        return (scores_BA * weights_A).sum(-1)


def ascend(
    reward: Reward, waveform: Tensor, sample_rate: float, decibel: float = -40.0, steps: int = 20, prompt: str = ""
) -> Tensor:
    """Change a clip, within a level below its own, so that its score rises: projected gradient ascent.

    Args:
        reward: What rises.
        waveform: Shape ``(T,)`` or ``(C, T)``; channels are averaged.
        sample_rate: In Hz.
        decibel: Level of the change against that of the clip, both as root mean square.
        steps: Steps, each a quarter of the largest change long.
        prompt: Text of the clip.

    Returns:
        The changed clip, shape ``(T,)``; the best of all steps.

    Raises:
        ValueError: If the encoder has no gradient to the waveform.
    """
    clean_T = to_mono(as_tensor(waveform)).detach().float()
    radius = float(clean_T.norm()) * 10 ** (decibel / 20)
    change_T, best, best_score = torch.zeros_like(clean_T), clean_T, -float("inf")
    for step in range(steps + 1):
        change_T.requires_grad_(True)
        score = reward([clean_T + change_T], sample_rate, [prompt])[0]
        if (value := score.item()) > best_score:
            best, best_score = (clean_T + change_T).detach(), value
        if step == steps or radius == 0:
            break
        (slope_T,) = torch.autograd.grad(score, change_T)
        change_T = change_T.detach() + 0.25 * radius * slope_T / slope_T.norm().clamp(min=1e-20)
        change_T = change_T * min(1.0, radius / max(float(change_T.norm()), 1e-20))
    return best
