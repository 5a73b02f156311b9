"""Learn from pairs: the likelihood of which clip a listener found better, ties included."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_aqa.batch import Batch, Output
from lightning_aqa.objectives.base import Objective
from lightning_aqa.utils.davidson import PairLink, fit_link

MEMORY = 1024
"""Last pairs of an axis that its slope and tie parameter are fitted to."""


def bradley_terry_loss(
    log_odds: Tensor, outcomes: Tensor, weights: Tensor | None = None, *, tie: Tensor | float = 0.0
) -> Tensor:
    r"""Average the negative log-likelihood of the outcomes of pairs, by weight.

    .. math:: P_a : P_b : P_t = e^{d/2} : e^{-d/2} : \nu

    With nu 0 that is the loss of a logistic regression, :math:`\log(1 + e^{-d})` where a wins.

    Args:
        log_odds: d, of the first clip against the second where there is no tie, shape ``(P,)``.
        outcomes: 0 where the first one won, 1 where the second one did, 2 for a tie, shape ``(P,)``, int64.
        weights: Weight of each pair, shape ``(P,)``; None is all ones.
        tie: nu, Davidson's tie parameter, at least 0 and above 0 where there are ties; a number or shape ``(P,)``.

    Returns:
        Scalar loss in nats; zero with a graph without pairs.

    Example:
        >>> bradley_terry_loss(torch.tensor([0.0]), torch.tensor([0]))
        tensor(0.6931)

    Reference:
        Bradley, Terry, "Rank analysis of incomplete block designs", Biometrika 39, 1952; Davidson, "On extending the
        Bradley-Terry model to accommodate ties in paired comparison experiments", JASA 65, 1970.
    """
    nu_P = torch.as_tensor(tie, dtype=log_odds.dtype, device=log_odds.device).log().expand(len(log_odds))
    logits_P3 = torch.stack([log_odds / 2, -log_odds / 2, nu_P], dim=1)
    losses_P = F.cross_entropy(logits_P3, outcomes, reduction="none")
    if weights is None:
        return losses_P.sum() / max(len(losses_P), 1)
    weights_P = weights.to(losses_P.dtype)
    return (weights_P * losses_P).sum() / weights_P.sum().clamp(min=1e-12)


class BradleyTerry(Objective):
    """Fit the scores to pairs with ``bradley_terry_loss``, ties by Davidson; the log-odds are a slope times a gap.

    An axis that only pairs are about has a slope of 1: its scores are log-odds. Where clips are rated too, the ratings
    say what a score point is, and the slope is fitted, as the tie parameter is, by maximum likelihood to the last pairs
    of training as they were scored. Both are state of this objective, not parameters of the optimiser: two numbers
    per axis, which Newton's method finds exactly. A checkpoint keeps them, and the probabilities that ``score --pairs``
    and ``results.json`` give come from them.

    Args:
        weight: Factor of this term in the sum (dimensionless).
        slope: Log-odds per score point; null fits it where clips are rated too, and else is 1.
        tie: Davidson's tie parameter, at least 0; null fits it, and is 0 as long as no pair is a tie.

    Raises:
        ValueError: If an option is out of range, or the data has no pairs.
    """

    reads_pairs = True

    def __init__(self, weight: float = 1.0, slope: float | None = None, tie: float | None = None) -> None:
        super().__init__(weight)
        if slope is not None and not 0 < slope < math.inf:
            raise ValueError(f"slope must be above 0, got {slope}.")
        if tie is not None and not 0 <= tie < math.inf:
            raise ValueError(f"tie must be at least 0, got {tie}.")
        self.slope, self.tie = slope, tie
        self.link: PairLink | None = None
        self._units: list[float] = []
        self._rated: list[bool] = []
        self._memory: list[np.ndarray[Any, Any]] = []  # per axis: difference, outcome and weight of each pair

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the unit of each axis from the head; refuse data that has no pairs.

        Raises:
            ValueError: If there are none.
        """
        manifest = getattr(getattr(trainer, "datamodule", None), "manifest", None)
        if manifest is not None and not manifest.split("train").pairs:
            raise ValueError(
                f"The objective {self.name} learns from pairs, and the training clips have none: give "
                f"--data=PairTable --data.path=PAIRS, or drop it by --objectives.{self.name}=null."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the scale of the training scores from the head, once it has it."""
        self._units = pl_module.get_submodule("head").get_buffer("scale_A").tolist()
        self._show(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take slopes and tie parameters from a trained module that is validated without a fit."""
        self.link = self.link or getattr(pl_module, "pair_link", None)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Tell the module, which gives probabilities in validation."""
        self._show(pl_module)

    def _show(self, pl_module: Any) -> None:
        if self.link is not None:
            pl_module.pair_link = self.link

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss of the pairs of the batch, over all axes."""
        scores_BA, pairs = output.scores.to(torch.promote_types(output.scores.dtype, torch.float32)), batch.pairs
        self._note_ratings(batch.scores)
        if pairs is None or len(pairs.outcomes) == 0:
            return (
                0.0 * torch.where(batch.scores.isnan(), 0.0, scores_BA).sum()
            )  # a graph, and what is not finite shows
        difference_P = scores_BA[pairs.rows_a, pairs.axes] - scores_BA[pairs.rows_b, pairs.axes]
        if torch.is_grad_enabled():
            self._learn(difference_P.detach(), pairs.outcomes, pairs.weights, pairs.axes)
        assert self.link is not None
        slopes_P, ties_P = (difference_P.new_tensor(values)[pairs.axes] for values in self.link)
        return bradley_terry_loss(slopes_P * difference_P, pairs.outcomes, pairs.weights, tie=ties_P)

    def _note_ratings(self, scores_BA: Tensor) -> None:
        """Learn which axes are rated."""
        num_axes = scores_BA.shape[1]
        if len(self._memory) != num_axes:
            self._memory = [np.zeros((0, 3))] * num_axes
            self._rated = [False] * num_axes
        self._units = self._units if len(self._units) == num_axes else [1.0] * num_axes
        if torch.is_grad_enabled() and not all(self._rated):
            rated = (~scores_BA.isnan()).any(0).tolist()
            self._rated = [before or now for before, now in zip(self._rated, rated, strict=True)]
        if self.link is None:
            self.link = PairLink((self.slope or 1.0,) * num_axes, (self.tie or 0.0,) * num_axes)

    def _learn(self, differences_P: Tensor, outcomes_P: Tensor, weights_P: Tensor, axes_P: Tensor) -> None:
        """Remember the pairs of a step, and fit slope and tie parameter of their axes to what is remembered."""
        assert self.link is not None
        rows = [values.cpu().double().numpy() for values in (differences_P, outcomes_P, weights_P)]
        axes = axes_P.cpu().numpy()
        if self.tie == 0 and bool((outcomes_P == 2).any()):
            raise ValueError("tie=0 says that no pair is a tie, and some are: give a tie above 0, or null to fit it.")
        slopes, ties = list(self.link.slopes), list(self.link.ties)
        for a in np.unique(axes).tolist():
            new = np.stack([values[axes == a] for values in rows], axis=1)
            self._memory[a] = np.concatenate([self._memory[a], new[np.isfinite(new).all(1)]])[-MEMORY:]
            d, outcome, weight = self._memory[a].T
            given = self.slope if self.slope is not None or self._rated[a] else 1.0
            settings: dict[str, Any] = {"unit": self._units[a], "slope": given, "tie": self.tie}
            slopes[a], ties[a] = fit_link(d, outcome.astype(np.intp), weight, **settings)
        self.link = PairLink(tuple(slopes), tuple(ties))

    def state_dict(self) -> dict[str, Any]:
        """Return slopes, tie parameters and the pairs that they are fitted to, plainly."""
        if self.link is None:
            return {}
        link = {name: list(values) for name, values in self.link._asdict().items()}
        return {"link": link, "rated": list(self._rated), "memory": [torch.from_numpy(rows) for rows in self._memory]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take them back."""
        if state_dict:
            self.link = PairLink.read({"": state_dict}, len(state_dict["rated"]))
            self._rated = list(state_dict["rated"])
            self._memory = [rows.cpu().numpy() for rows in state_dict["memory"]]
