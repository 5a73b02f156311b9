"""Bias-aware loss: each corpus's listeners see the common score through a map, which training estimates as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_aqa.batch import PART, Batch, Output
from lightning_aqa.objectives.axis_reduction import (
    AxisReduction,
    as_table,
    check_axis_reduction,
    mean_over_rated,
    reduce_axes,
)
from lightning_aqa.objectives.base import Objective
from lightning_aqa.utils.text import did_you_mean

Order = Literal[1, 2, 3]
IDENTITY = (0.0, 1.0, 0.0, 0.0)
"""Coefficients of a corpus without bias."""


def bias_aware_loss(
    scores: Tensor,
    targets: Tensor,
    coefficients: Tensor,
    *,
    plain_weight: float = 0.0,
    axis_reduction: AxisReduction = "mean",
) -> Tensor:
    r"""Penalise the squared error after the map of each clip's corpus, averaged over the rated clips of each axis.

    .. math:: L = \frac{1}{B} \sum_i \bigl(y_i - (b_0 + b_1 p_i + b_2 p_i^2 + b_3 p_i^3)\bigr)^2
        + w \frac{1}{B} \sum_i (y_i - p_i)^2

    Args:
        scores: Predictions p, shape ``(B, A)``, in score points.
        targets: Mean opinion scores y, shape ``(B, A)``, in score points; NaN where not rated.
        coefficients: b of each clip's corpus, shape ``(B, A, 4)``.
        plain_weight: w, the weight of the error without the map.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Returns:
        Scalar loss; zero with a graph where nothing is rated.

    Example:
        >>> scores, targets = torch.tensor([[2.0], [4.0]]), torch.tensor([[3.0], [4.0]])
        >>> bias_aware_loss(scores, targets, torch.tensor([[[0.5, 1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0, 0.0]]]))
        tensor(0.1250)

    Reference:
        Mittag, Zadtootaghaj, Michael, Naderi and Moeller, Bias-aware loss for training image and speech quality
        prediction models from multiple datasets, QoMEX 2021; arXiv 2104.10217.
    """
    scores_BA, targets_BA, rated_BA = as_table(scores, targets)
    powers_BAK = torch.stack([scores_BA**k for k in range(coefficients.shape[-1])], dim=-1)
    mapped_BA = (coefficients.to(scores_BA) * powers_BAK).sum(-1)
    squares_BA = (targets_BA - mapped_BA).square() + plain_weight * (targets_BA - scores_BA).square()
    losses_A = mean_over_rated(torch.where(rated_BA, squares_BA, 0.0), rated_BA)
    return reduce_axes(losses_A, targets, axis_reduction)


def fit_bias(scores: Tensor, targets: Tensor, order: Order) -> Tensor | None:
    """Fit the ratings of one corpus by a polynomial of the predictions, with least squares.

    Args:
        scores: Predictions, shape ``(N,)``.
        targets: Mean opinion scores, shape ``(N,)``.
        order: Its degree.

    Returns:
        Coefficients from b_0 on, shape ``(4,)``, float64, zero above the degree; None where fewer than ``order + 2``
        predictions differ, or where a line would fall.

    Example:
        >>> fit_bias(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]), 1).round(decimals=6).abs().tolist()
        [0.0, 2.0, 0.0, 0.0]
    """
    x_N, y_N = scores.detach().cpu().double(), targets.detach().cpu().double()
    if len(set(x_N.tolist())) < order + 2:
        return None
    centre, spread = x_N.mean(), x_N.std()
    z_N = (x_N - centre) / spread
    moments = torch.stack([(z_N**k).sum() for k in range(2 * order + 1)])  # plain sums, which a resumed run repeats
    gram_KK = torch.stack([moments[k : k + order + 1] for k in range(order + 1)])
    fitted_K = torch.linalg.solve(gram_KK, torch.stack([(z_N**k * y_N).sum() for k in range(order + 1)]))
    if order == 1 and fitted_K[1] <= 0:
        return None
    return _expanded(fitted_K, float(centre), float(spread))


def _expanded(fitted: Tensor, centre: float, spread: float) -> Tensor:
    """Write a polynomial of (x - centre) / spread as one of x."""
    found, power = torch.zeros(4, dtype=torch.float64), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    for coefficient in fitted:
        found = found + coefficient * power
        power = (torch.cat([power.new_zeros(1), power[:-1]]) - centre * power) / spread
    return found


class BiasAware(Objective):
    """Fit the scores through a map per corpus with ``bias_aware_loss``: a strict panel then teaches no lower quality.

    Before each epoch the map of every corpus is fitted anew to its training clips: ratings by predictions of the epoch
    before, per axis, once the two correlate over all corpora. Predictions themselves are on the scale of the anchor. It
    takes the place of ``Regression`` where the corpora of a ``Mix`` share axes.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        order: Degree of the map: 1 is a line, 3 the most.
        anchor: Corpus whose map stays the identity, and whose scale predictions have; null anchors none.
        min_correlation: Pearson correlation of ratings with predictions over all training clips above which maps start.
        plain_weight: Weight of the squared error without a map beside that with it.
        by: Give a map to each ``corpus`` of a mix, or to each ``domain`` inside it.
        axis_reduction: ``sum`` over the axes or ``mean`` over those that are rated.

    Raises:
        ValueError: If an option is out of range; when a fit starts, if no training clip is of the anchor.

    Reference:
        See ``bias_aware_loss``; ``biasLoss`` of the published code of NISQA.
        Differs: clips without a rating on an axis are left out, where the code leaves out their whole corpus; an axis
        that one corpus alone rates has no map, and a line that would fall is not taken.
    """

    def __init__(
        self,
        weight: float = 1.0,
        order: Order = 1,
        anchor: str | None = None,
        min_correlation: float = 0.7,
        plain_weight: float = 0.0,
        by: Literal["corpus", "domain"] = "corpus",
        axis_reduction: AxisReduction = "mean",
    ) -> None:
        super().__init__(weight)
        check_axis_reduction(axis_reduction)
        if order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, got {order}.")
        if by not in ("corpus", "domain"):
            raise ValueError(f"by must be 'corpus' or 'domain', got {by!r}.")
        if not -1 <= min_correlation <= 1 or not plain_weight >= 0:
            raise ValueError(
                f"min_correlation and plain_weight must be from -1 to 1 and at least 0, got {min_correlation} and "
                f"{plain_weight}."
            )
        self.order, self.anchor, self.min_correlation = order, anchor, min_correlation
        self.plain_weight, self.by, self.axis_reduction = plain_weight, by, axis_reduction
        self.coefficients: dict[str, Tensor] = {}
        """Map per corpus, shape ``(A, 4)``; one that is not there is the identity."""
        self._started: list[bool] = []
        self._epoch = 0
        self._seen: dict[str, list[Tensor]] = {}
        self._staged: tuple[list[str], Tensor] | None = None

    def group_of(self, domain: str) -> str:
        """Return what of a domain has a map of its own: its corpus, or itself."""
        return domain.split(PART)[0] if self.by == "corpus" else domain

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether there are training clips of the anchor."""
        rated: Callable[[str], Iterable[Any]] | None = getattr(getattr(trainer, "datamodule", None), "rated", None)
        if self.anchor is None or rated is None:
            return
        groups = sorted({self.group_of(clip.domain) for clip in rated("train")})
        if self.anchor not in groups:
            raise ValueError(
                f"{type(self).__name__}: anchor is {self.anchor}; the training clips are of {', '.join(groups)}."
                f"{did_you_mean(self.anchor, groups)}"
            )

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the axes, reduced over them."""
        groups = [self.group_of(domain) for domain in batch.domains]
        if torch.is_grad_enabled() and output.scores.requires_grad:
            self._staged = groups, torch.stack([output.scores.detach(), batch.scores.to(output.scores)]).cpu().double()
        return bias_aware_loss(
            output.scores,
            batch.scores,
            self._of_rows(groups, output.scores),
            plain_weight=self.plain_weight,
            axis_reduction=self.axis_reduction,
        )

    def _of_rows(self, groups: list[str], scores: Tensor) -> Tensor:
        """Return the coefficients of each row's map, shape ``(B, A, 4)``."""
        same = torch.tensor(IDENTITY, dtype=torch.float64).expand(scores.shape[1], 4)
        return torch.stack([self.coefficients.get(group, same) for group in groups]).to(scores.device)

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Fit the maps where an epoch begins, to the clips of the one before, from which a run may have resumed."""
        if trainer.current_epoch != self._epoch:
            self.update()
            self._epoch = trainer.current_epoch

    def on_train_batch_end(self, *args: Any) -> None:
        """Remember the clips of the step for the next fit."""
        if self._staged is None:
            return
        groups, tables_2BA = self._staged
        for row, group in enumerate(groups):
            self._seen.setdefault(group, []).append(tables_2BA[:, row])
        self._staged = None

    def update(self) -> None:
        """Fit the map of every corpus to the clips seen since the last call, per axis, and forget these."""
        seen = {group: torch.stack(rows, dim=1) for group, rows in self._seen.items()}  # (2, N, A)
        self._seen = {}
        if not seen:
            return
        num_axes = next(iter(seen.values())).shape[2]
        self._started = self._started or [False] * num_axes
        for axis in range(num_axes):
            tables = {group: table[:, ~table[1, :, axis].isnan(), axis] for group, table in seen.items()}
            tables = {group: table for group, table in tables.items() if table.shape[1]}
            if len(tables) > 1:
                self._started[axis] = self._started[axis] or self._correlates(torch.cat(list(tables.values()), dim=1))
                if self._started[axis]:
                    self._fit(axis, num_axes, tables)

    def _correlates(self, table_2N: Tensor) -> bool:
        return table_2N.shape[1] > 2 and float(torch.corrcoef(table_2N)[0, 1]) > self.min_correlation

    def _fit(self, axis: int, num_axes: int, tables: dict[str, Tensor]) -> None:
        for group, (scores_N, targets_N) in tables.items():
            fitted = None if group == self.anchor else fit_bias(scores_N, targets_N, self.order)
            if fitted is not None:
                same = torch.tensor(IDENTITY, dtype=torch.float64).repeat(num_axes, 1)
                self.coefficients.setdefault(group, same)[axis] = fitted

    def state_dict(self) -> dict[str, Any]:
        """Return the maps, and the clips of the epoch that they are not fitted to yet."""
        seen = {group: torch.stack(rows, dim=1) for group, rows in self._seen.items()}
        kept = {group: table.clone() for group, table in self.coefficients.items()}
        return {"coefficients": kept, "started": torch.tensor(self._started), "seen": seen, "epoch": self._epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over saved maps and clips."""
        self.coefficients = {group: table.clone() for group, table in state_dict["coefficients"].items()}
        self._started = [bool(started) for started in state_dict["started"]]
        self._epoch = int(state_dict["epoch"])
        self._seen = {group: list(table.unbind(1)) for group, table in state_dict["seen"].items()}
