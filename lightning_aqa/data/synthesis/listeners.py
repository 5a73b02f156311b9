"""Simulated listeners: the worth of a clip by formula, and what a panel might have said of it. No person rated.

The true quality is a function of what was done to a clip, so its audio carries the answer and a predictor can learn it;
the ratings are what a panel with habits and moods of its own would give around that truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis

# By domain: production complexity and its step per layer, and shifts of enjoyment and usefulness, in score points.
_DOMAINS = {"speech": (1.7, 0.0, 0.0, 0.0), "sound": (1.9, 1.0, -1.6, -0.7), "music": (2.4, 1.0, 0.6, 0.2)}


def true_scores(domain: str, num_layers: int, damage: float, wrong: float = 0.0) -> dict[str, float]:
    r"""Say how good a simulated clip truly is, per axis of both corpora, in score points.

    With damage :math:`d`, layers :math:`n` and a fraction :math:`w` of wrong content:

    - MI ``= 4.5 - 3.4 d + 0.12 (n - 2)``, TA ``= 4.7 - d - 2.7 w``, on 1-5;
    - PQ ``= 8.5 - 6.5 d``, PC ``= base + step n - d`` by domain, CE ``= 7 - 5 d + 0.2 (n - 1)`` and
      CU ``= 7.8 - 5.5 d``, the last two shifted by domain, on 0-10.

    Example:
        >>> true_scores("music", num_layers=2, damage=0.5, wrong=0.0)["MI"]
        2.8
    """
    base, step, enjoyment, usefulness = _DOMAINS[domain]
    return {
        "MI": 4.5 - 3.4 * damage + 0.12 * (num_layers - 2),
        "TA": 4.7 - damage - 2.7 * wrong,
        "PQ": 8.5 - 6.5 * damage,
        "PC": base + step * num_layers - damage,
        "CE": 7.0 - 5.0 * damage + 0.2 * (num_layers - 1) + enjoyment,
        "CU": 7.8 - 5.5 * damage + usefulness,
    }


class ListenerPanel(NamedTuple):
    """Simulated listeners, each with a bias, a use of the scale and noise.

    Args:
        bias: Added to each axis, in score points, shape ``(listeners, A)``.
        slope: Spread of a listener's ratings around the middle of the scale, 1 is true, shape ``(listeners,)``.
        noise: Standard deviation of what changes from rating to rating, in score points.
        axes: What they rate.
    """

    bias: NDArray[np.float64]
    slope: NDArray[np.float64]
    noise: float
    axes: Sequence[Axis]

    @classmethod
    def draw(cls, num_listeners: int, axes: Sequence[Axis], rng: np.random.Generator) -> ListenerPanel:
        """Draw listeners with a bias of 6 %, a noise of 10 % of the range of the scale, and slopes of 1 +- 0.15."""
        span = axes[0].high - axes[0].low
        bias_NA = rng.normal(0, 0.06 * span, (num_listeners, len(axes)))
        return cls(bias_NA, rng.normal(1, 0.15, num_listeners), 0.1 * span, axes)

    def rate(
        self, truth: Mapping[str, float], listeners: Sequence[int], rng: np.random.Generator
    ) -> dict[str, list[int]]:
        """Return the ratings of some listeners, by their indices, per axis name.

        A rating is ``round(middle + slope * (truth - middle) + bias + noise)``, kept within the scale.
        """
        ratings, chosen = {}, list(listeners)
        for index, axis in enumerate(self.axes):
            middle, noise_N = (axis.low + axis.high) / 2, rng.normal(0, self.noise, len(chosen))
            heard_N = middle + self.slope[chosen] * (truth[axis.name] - middle)
            rated_N = np.rint(heard_N + self.bias[chosen, index] + noise_N)
            ratings[axis.name] = [int(rating) for rating in np.clip(rated_N, axis.low, axis.high)]
        return ratings
