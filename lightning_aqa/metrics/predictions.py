"""Plain table of rated and predicted scores, which every metric, interval and ceiling takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """One row per clip, sorted by id.

    Args:
        ids: Clip ids, length N.
        systems: System of each clip.
        domains: Domain of each clip.
        targets: Mean opinion scores, shape ``(N, A)``, NaN where not rated.
        scores: Predicted scores, shape ``(N, A)``.
        prompts: Text each clip was made from, empty where there is none; None in a file that does not say.
        deviations: Predicted standard deviations in score points, shape ``(N, A)``; None from a head without them.
        notes: Reasons why scores are likely nonsense, empty where there are none; None where nobody looked.
    """

    ids: list[str]
    systems: list[str]
    domains: list[str]
    targets: NDArray[np.float64]
    scores: NDArray[np.float64]
    prompts: list[str] | None = None
    deviations: NDArray[np.float64] | None = None
    notes: list[str] | None = None
