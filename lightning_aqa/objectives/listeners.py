"""Loss of single ratings: each listener sees the score of a clip through a line, estimated along with training."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.axis_reduction import (
    AxisReduction,
    as_table,
    check_axis_reduction,
    mean_over_rated,
    reduce_axes,
)
from lightning_aqa.objectives.listener_lines import Lines, fit_lines
from lightning_aqa.objectives.listener_ratings import RatingsOfClips
from lightning_aqa.objectives.space import ScaledObjective, Space

_log = logging.getLogger(__name__)
LEAST_GAIN = -0.9
"""A line that would fall is nearly flat."""


class SeenRatings(NamedTuple):
    """Ratings of R single listeners of the rows of a batch, and the line of the listener of each.

    Args:
        rows: Row of the batch, shape ``(R,)``, int64.
        axes: Index of the axis, shape ``(R,)``, int64.
        values: In score points, shape ``(R,)``.
        offset: Of the listener's line, shape ``(R,)``, in score points.
        gain: Of the same line, shape ``(R,)``; the slope is one more.
        precision: Weight of the rating, one over the variance of the listener's noise, shape ``(R,)``.
    """

    rows: Tensor
    axes: Tensor
    values: Tensor
    offset: Tensor
    gain: Tensor
    precision: Tensor


def listener_loss(
    scores: Tensor,
    targets: Tensor,
    ratings: SeenRatings,
    centre: Tensor,
    clip_weights: Tensor,
    axis_reduction: AxisReduction = "mean",
) -> Tensor:
    r"""Penalise the squared error of each rating after the line of its listener, averaged by precision within a clip.

    .. math:: L = \frac{1}{B} \sum_c \lambda_c \frac{\sum_{i \in c} v_i^{-2}
        (y_{ci} - o_i - p_c - g_i (p_c - \mu))^2}{\sum_{i \in c} v_i^{-2}}

    A rated clip without single ratings counts as one of the mean listener: by the squared error of its mean.

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        targets: Mean opinion scores, shape ``(B, A)``, in score points; an axis that is NaN here is not rated.
        ratings: Ratings y of these rows.
        centre: mu, about which listeners spread scores, shape ``(A,)``, in score points.
        clip_weights: Weight lambda of each clip, shape ``(B, A)``, on average one.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss; zero with a graph where nothing is rated.

    Example:
        >>> one, two = torch.zeros(2, dtype=torch.int64), torch.tensor([0.5, -0.5])
        >>> given = SeenRatings(one, one, torch.tensor([3.0, 4.0]), two, torch.zeros(2), torch.ones(2))
        >>> listener_loss(torch.tensor([[3.0]]), torch.tensor([[3.5]]), given, torch.zeros(1), torch.ones(1, 1))
        tensor(1.2500)
    """
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    at, given = (ratings.rows, ratings.axes), ratings._replace(**_cast(ratings, scores_BA))
    p_R = scores_BA[at]
    squares_R = (given.values - given.offset - p_R - given.gain * (p_R - centre.to(scores_BA)[ratings.axes])).square()
    empty_BA = torch.zeros_like(targets_BA)
    sums_BA = empty_BA.index_put(at, given.precision * squares_R, accumulate=True)
    precision_BA = empty_BA.index_put(at, given.precision, accumulate=True)
    plain_BA = (targets_BA - scores_BA).square()
    squares_BA = torch.where(precision_BA > 0, sums_BA / precision_BA.clamp(min=1e-30), plain_BA)
    losses_A = mean_over_rated(torch.where(rated_BA, clip_weights.to(scores_BA) * squares_BA, 0.0), rated_BA)
    return reduce_axes(losses_A, targets, axis_reduction)


def _cast(ratings: SeenRatings, like: Tensor) -> dict[str, Tensor]:
    return {name: getattr(ratings, name).to(like) for name in ("values", "offset", "gain", "precision")}


def clip_weight(precision: Tensor, clip_variance: float) -> Tensor:
    """Return one over the variance of what predictions miss of a clip and of the noise of its ratings together.

    Args:
        precision: Sum of the precisions of its ratings, any shape.
        clip_variance: Of what predictions miss, in squared score points.
    """
    return 1 / (clip_variance + 1 / precision)


class Listeners(ScaledObjective):
    """Fit the ratings of single listeners with ``listener_loss``: offset, scale and noise of each are estimated.

    It takes the place of ``Regression`` beside any head. Scores are those of the mean listener: nothing of a listener
    is needed to predict, and new listeners change nothing. Before each epoch the lines are fitted anew to all training
    ratings beside the predictions of the epoch before (``fit_lines``), before the first one to the ratings alone; what
    few ratings say of a listener counts for little. A clip whose listeners are noisy or few counts for less, as far as
    predictions are good enough to tell.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        gains: Whether listeners differ in scale, or in offset and noise alone.
        noises: Whether they differ in noise.
        refit: Whether to fit the lines before each epoch; otherwise those of the ratings alone stay.
        space: ``points`` leaves errors in score points, ``standardised`` divides them by the head's scale of each axis.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Raises:
        ValueError: When a fit starts, if no training clip has ratings of single listeners.

    Reference:
        Huang, Cooper, Yamagishi, Toda, LDNet: unified listener dependent modeling in MOS prediction for synthetic
        speech, ICASSP 2022 (its mean listener); Leng et al., MBNet, ICASSP 2021.
        Differs: there networks embed each listener and are trained by gradient; here a line in closed form, shrunk.
    """

    def __init__(
        self,
        weight: float = 1.0,
        gains: bool = True,
        noises: bool = True,
        refit: bool = True,
        space: Space = "points",
        axis_reduction: AxisReduction = "mean",
    ) -> None:
        super().__init__(weight, space)
        check_axis_reduction(axis_reduction)
        self.gains, self.noises, self.refit, self.axis_reduction = gains, noises, refit, axis_reduction
        self.names: list[str] = []
        """Listeners, in the order of the rows of ``lines``."""
        self.lines: list[Lines | None] = []
        """Lines of all listeners per axis; None where they are that of the mean listener."""
        self._lines_AIK = torch.zeros(0, 0, 3, dtype=torch.float64)  # offset, gain, precision
        self._mean_weights: list[float] = []
        self._ratings = RatingsOfClips({}, [])
        self._seen_CA = torch.zeros(0, 0, dtype=torch.float64)
        self._staged: tuple[list[str], Tensor] | None = None
        self._epoch = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the single ratings of the training clips, and fit lines to them."""
        super().on_fit_start(trainer, pl_module)
        rated: Callable[[str], Any] | None = getattr(getattr(trainer, "datamodule", None), "rated", None)
        clips = rated("train") if rated is not None else []
        axes = [axis.name for axis in pl_module.axes]  # type: ignore[union-attr]
        self.take({clip.id: clip.ratings for clip in clips}, axes)
        if trainer is not None and not self.names:
            raise ValueError(
                f"{type(self).__name__}: no training clip has ratings of single listeners; give lists with a row per "
                "rating and a column of listeners, or --objectives.NAME=Regression, which needs means alone."
            )
        if not self.lines:
            self._fit()
            _tell(self.lines, axes)
        self._prepare()

    def take(self, ratings: Mapping[str, Mapping[str, Mapping[str, float]]], axes: Sequence[str]) -> None:
        """Take ratings to learn from; lines of other listeners are dropped.

        Args:
            ratings: Score per axis name per listener of each clip id.
            axes: Names of the A axes.
        """
        before, self._ratings = self.names, RatingsOfClips(ratings, axes)
        self.names = self._ratings.names
        if self.names != before:
            self.lines = []
        shape = len(self._ratings.index), len(axes)
        if self._seen_CA.shape != shape:
            self._seen_CA = torch.full(shape, math.nan, dtype=torch.float64)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the axes, reduced over them."""
        if torch.is_grad_enabled() and output.scores.requires_grad:
            unrated_BA = batch.scores.isnan().to(output.scores.device)
            self._staged = batch.ids, output.scores.detach().masked_fill(unrated_BA, math.nan).cpu().double()
        ratings, weights_BA = self._of_rows(batch)
        centres = [0.0 if lines is None else lines.centre for lines in self.lines] or [0.0] * batch.scores.shape[1]
        device, scale = output.scores.device, self.scale()
        return listener_loss(
            output.scores,
            batch.scores,
            SeenRatings(*(column.to(device) for column in ratings)),
            torch.tensor(centres, device=device),
            weights_BA.to(output.scores) / scale**2,
            self.axis_reduction,
        )

    def _of_rows(self, batch: Batch) -> tuple[SeenRatings, Tensor]:
        """Return the ratings of the rows with their listeners' lines, and the weight of each clip, shape ``(B, A)``."""
        found = self._ratings.of_batch(batch)
        lines_RK = self._lines_AIK[found.axes, found.listeners] if len(found.rows) else torch.zeros(0, 3).double()
        ratings = SeenRatings(found.rows, found.axes, found.values, *lines_RK.unbind(-1))
        weights_BA = torch.ones(batch.scores.shape, dtype=torch.float64)
        precision_BA = torch.zeros_like(weights_BA).index_put(ratings[:2], ratings.precision, accumulate=True)
        for axis, (lines, mean) in enumerate(zip(self.lines, self._mean_weights, strict=False)):
            if lines is not None:
                own_B = clip_weight(precision_BA[:, axis], lines.clip_variance) / mean
                weights_BA[:, axis] = torch.where(precision_BA[:, axis] > 0, own_B, 1.0)
        return ratings, weights_BA

    def _prepare(self) -> None:
        """Keep the lines as a table, shape ``(A, I, 3)``, and the mean weight of the clips per axis."""
        count = len(self.names)
        same = Lines(np.zeros(count), np.zeros(count), np.ones(count), 0.0, 0.0, 0.0, 0.0)
        tables = [
            np.stack([lines.offset, np.maximum(lines.gain, LEAST_GAIN), 1 / lines.noise], axis=-1)
            for lines in (found or same for found in self.lines)
        ]
        self._lines_AIK = torch.from_numpy(np.stack(tables)) if tables else torch.zeros(0, 0, 3).double()
        self._mean_weights = []
        for ratings, lines in zip(self._ratings.of_axes, self.lines, strict=True):
            precision_C = np.bincount(ratings.clips, 1 / (lines or same).noise[ratings.listeners])
            given_C = torch.from_numpy(precision_C[precision_C > 0])
            self._mean_weights.append(float(clip_weight(given_C, lines.clip_variance).mean()) if lines else 1.0)

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Fit the lines where an epoch begins, to the predictions of the one before, from which a run may resume."""
        if trainer.current_epoch != self._epoch:
            if self.refit:
                self._fit()
                self._prepare()
            self._epoch = trainer.current_epoch
            self._seen_CA = torch.full_like(self._seen_CA, math.nan)

    def on_train_batch_end(self, *args: Any) -> None:
        """Remember the predictions of the step for the next fit."""
        if self._staged is None:
            return
        (ids, scores_BA), index = self._staged, self._ratings.index
        for row, id_ in enumerate(ids):
            if id_ in index:  # a clip may be there a second time for its pairs, unrated
                before_A, now_A = self._seen_CA[index[id_]], scores_BA[row]
                self._seen_CA[index[id_]] = torch.where(now_A.isnan(), before_A, now_A)
        self._staged = None

    def _fit(self) -> None:
        before = self.lines or [None] * len(self._ratings.of_axes)
        self.lines = [
            fit_lines(
                ratings, self._seen_CA[:, axis].numpy(), len(self.names), start, gains=self.gains, noises=self.noises
            )
            or start
            for axis, (ratings, start) in enumerate(zip(self._ratings.of_axes, before, strict=True))
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the lines by listener, and the predictions of the epoch that they are not fitted to yet."""
        lines = [
            None if lines is None else [torch.tensor(np.asarray(field), dtype=torch.float64) for field in lines]
            for lines in self.lines
        ]
        return {"names": self.names, "lines": lines, "seen": self._seen_CA.clone(), "epoch": self._epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over saved lines and predictions."""
        self.names, self._epoch = list(state_dict["names"]), int(state_dict["epoch"])
        self.lines = [
            None if fields is None else Lines(*(x.numpy() for x in fields[:3]), *(float(x) for x in fields[3:]))
            for fields in state_dict["lines"]
        ]
        self._seen_CA = state_dict["seen"].clone()


def _tell(lines: Sequence[Lines | None], axes: Sequence[str]) -> None:
    """Say in the log what the ratings alone tell of the listeners, before training."""
    for axis, found in zip(axes, lines, strict=True):
        if found is None:
            _log.warning(
                "%s: ratings alone do not tell listeners from noise; until predictions do, each is the mean listener.",
                axis,
            )
            continue
        noise = np.sqrt(found.noise)
        _log.info(
            "%s: offsets of %d listeners deviate by %.2f, noise is %.2f to %.2f score points.",
            axis, len(noise), math.sqrt(found.offset_variance), noise.min(), noise.max(),
        )  # fmt: skip
