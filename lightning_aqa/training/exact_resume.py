"""What a run that goes on within an epoch needs beside Lightning's own state: draws, and sums of what was logged."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_batch(epoch: int, batch: int, rank: int) -> None:
    """Seed all that draws in a training step, such as dropout, by (seed, epoch, batch, rank) alone."""
    place = (int(os.environ.get("PL_GLOBAL_SEED", "0")), epoch, batch, rank)
    seed = int(np.random.SeedSequence(place).generate_state(1)[0])
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


class EpochSums:
    """Sum what is logged over an epoch, so that a run resumed within it logs the means of the whole epoch.

    Lightning keeps such sums too, but not in its checkpoints. The sums before the checkpoint are therefore logged once
    more, in front of those after it.

    Example:
        >>> sums = EpochSums()
        >>> sums.add({"loss": torch.tensor(2.0)}, 3)
        >>> sums.state_dict()
        {'totals': {'loss': tensor(6.)}, 'num_clips': 3}
    """

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}
        self.num_clips = 0
        self.is_carried = False

    def add(self, values: Mapping[str, Tensor], num_clips: int) -> None:
        """Add the means over a batch."""
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, torch.zeros((), device=value.device)) + value * num_clips
        self.num_clips += num_clips

    def carried(self) -> list[tuple[dict[str, Tensor], int]]:
        """Return what to log first, once: values and their weights, whose weighted sums are exactly the totals."""
        if not self.is_carried:
            return []
        self.is_carried = False
        zeros = {name: torch.zeros_like(total) for name, total in self.totals.items()}
        return [(dict(self.totals), 1), (zeros, self.num_clips - 1)]

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"totals": dict(self.totals), "num_clips": self.num_clips}

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Take up the sums."""
        self.totals = {name: total.to(device) for name, total in state_dict["totals"].items()}
        self.num_clips, self.is_carried = state_dict["num_clips"], self.num_clips > 0 or bool(self.totals)
