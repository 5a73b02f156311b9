"""Simulated listeners: what a clip is truly worth, by formula, and what ten people might have said. No person rated.

The true quality is a function of what was done to a clip, so its audio carries the answer and a predictor can learn it;
the ratings are what a panel with habits and moods of its own would give around that truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis

# Score points that a flawless clip earns beyond the speech clip of the formulas below.
_COMPLEXITY = {"speech": (1.7, 0.0), "sound": (1.9, 1.0), "music": (2.4, 1.0)}
_ENJOYMENT = {"speech": 0.0, "sound": -1.6, "music": 0.6}
_USEFULNESS = {"speech": 0.0, "sound": -0.7, "music": 0.2}


def true_scores(domain: str, num_layers: int, damage: float, wrong: float = 0.0) -> dict[str, float]:
    r"""Say how good a simulated clip truly is, per axis of both corpora.

    With damage :math:`d`, layers :math:`n` and a fraction :math:`w` of wrong content:

    - MI ``= 4.5 - 3.4 d + 0.12 (n - 2)``, TA ``= 4.7 - d - 2.7 w``, on 1-5;
    - PQ ``= 8.5 - 6.5 d``, PC ``= base + step n - d`` by domain, CE ``= 7 - 5 d + 0.2 (n - 1)`` and
      CU ``= 7.8 - 5.5 d``, the last two shifted by domain, on 0-10.

    Args:
        domain: ``speech``, ``music`` or ``sound``.
        num_layers: How much sounds at the same time.
        damage: Of the degradations, 0 to 1, see ``damage``.
        wrong: Fraction of the clip that is not what the prompt asked for.

    Returns:
        Score per axis name, in score points of its corpus.

    Example:
        >>> true_scores("music", num_layers=2, damage=0.5, wrong=0.0)["MI"]
        2.8
    """
    base, step = _COMPLEXITY[domain]
    return {
        "MI": 4.5 - 3.4 * damage + 0.12 * (num_layers - 2),
        "TA": 4.7 - damage - 2.7 * wrong,
        "PQ": 8.5 - 6.5 * damage,
        "PC": base + step * num_layers - damage,
        "CE": 7.0 - 5.0 * damage + 0.2 * (num_layers - 1) + _ENJOYMENT[domain],
        "CU": 7.8 - 5.5 * damage + _USEFULNESS[domain],
    }


class Panel(NamedTuple):
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
    def draw(cls, num_listeners: int, axes: Sequence[Axis], rng: np.random.Generator) -> Panel:
        """Draw listeners with a bias of 6 %, a noise of 10 % of the range of the scale, and slopes of 1 +- 0.15."""
        span = axes[0].high - axes[0].low
        bias_NA = rng.normal(0, 0.06 * span, (num_listeners, len(axes)))
        return cls(bias_NA, rng.normal(1, 0.15, num_listeners), 0.1 * span, axes)

    def rate(
        self, truth: Mapping[str, float], listeners: Sequence[int], rng: np.random.Generator
    ) -> dict[str, list[int]]:
        """Rate one clip: ``round(middle + slope * (truth - middle) + bias + noise)``, kept within the scale.

        Args:
            truth: True score per axis name.
            listeners: Who rates it, indices into the panel.
            rng: Generator of the noise.

        Returns:
            Ratings per axis name, in the order of ``listeners``.
        """
        ratings = {}
        for index, axis in enumerate(self.axes):
            middle, noise_N = (axis.low + axis.high) / 2, rng.normal(0, self.noise, len(listeners))
            heard_N = middle + self.slope[list(listeners)] * (truth[axis.name] - middle)
            rated_N = np.rint(heard_N + self.bias[list(listeners), index] + noise_N)
            ratings[axis.name] = [int(rating) for rating in np.clip(rated_N, axis.low, axis.high)]
        return ratings
