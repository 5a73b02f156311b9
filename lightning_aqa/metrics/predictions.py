"""Plain table of rated and predicted scores, which every metric, interval and ceiling takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
        intervals: Ends between which the rating lies, shape ``(N, A, 2)``, NaN where there are none; None without any.
    """

    ids: list[str]
    systems: list[str]
    domains: list[str]
    targets: NDArray[np.float64]
    scores: NDArray[np.float64]
    prompts: list[str] | None = None
    deviations: NDArray[np.float64] | None = None
    notes: list[str] | None = None
    intervals: NDArray[np.float64] | None = None


def join(tables: Sequence[Predictions]) -> Predictions:
    """Join tables of different clips, such as those of the folds of a cross-validation, sorted by id.

    A field that one of them lacks is None.

    Example:
        >>> one, two = (Predictions([id_], [""], [""], np.ones((1, 1)), np.ones((1, 1))) for id_ in "ba")
        >>> join([one, two]).ids
        ['a', 'b']
    """
    order = np.argsort([id_ for table in tables for id_ in table.ids])

    def joined(name: str) -> Any:
        parts = [getattr(table, name) for table in tables]
        if any(part is None for part in parts):
            return None
        if isinstance(parts[0], np.ndarray):
            return np.concatenate(parts)[order]
        values = [value for part in parts for value in part]
        return [values[i] for i in order]

    return Predictions(**{name: joined(name) for name in Predictions._fields})
