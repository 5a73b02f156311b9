"""The contract of an objective: a Lightning callback with one extra method, ``loss``."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_aqa.batch import Batch, Output


class Objective(Callback, ABC):
    """One named term of the training loss, with its own weight, its own state and every hook of a callback.

    Under several processes ``loss`` sees the gathered rows of all of them, the same on each, so a loss over pairs is
    the loss of the global batch. An objective holds no parameters: the optimiser would never see them.

    Args:
        weight: Factor of this term in the sum (dimensionless); logged values are unweighted.

    Attributes:
        reads_scores_alone: Whether ``loss`` reads ``output.scores`` and nothing else of the output, and keeps no
            memory where there is no gradient; such a term is also logged for the whole validation split.
        reads_pairs: Whether it learns from ``batch.pairs``, so that no clip need be rated.
    """

    reads_scores_alone: bool = True
    reads_pairs: bool = False

    def __init__(self, weight: float = 1.0) -> None:
        if not weight >= 0:
            raise ValueError(f"weight must be a number of at least 0, got {weight}.")
        self.weight = weight
        self.name = type(self).__name__.lower()

    @property
    def state_key(self) -> str:
        """Key of this objective's state in a checkpoint: its class and its name under ``objectives:``."""
        return f"{type(self).__qualname__}[{self.name}]"

    @abstractmethod
    def loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the unweighted scalar; it keeps its graph even when it is zero.

        It is defined for one clip, for all ties and for missing (NaN) scores.
        """
