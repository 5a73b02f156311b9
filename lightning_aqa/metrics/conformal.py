"""Conformal intervals: for every clip two ends between which its rating lies, with a promised share of all clips."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.predictions import Predictions

Array = NDArray[np.float64]
SHARE = 0.9
"""Share of clips that intervals hold, unless another is asked for."""
FEWEST_OF_DOMAIN = 20
"""Clips (or systems) of a domain under which its intervals are those of all clips."""
_EXACT = 1e-9


def fewest_units(share: float) -> int:
    """Return how many calibration clips (or systems) an interval takes: with fewer none is wide enough.

    Example:
        >>> fewest_units(0.9), fewest_units(0.95)
        (9, 19)
    """
    return math.ceil(share / (1 - share) - _EXACT)


def conformal_quantile(values: Array, share: float, units: Sequence[str] | None = None) -> float:
    r"""Return the value that a new one does not pass with a probability of at least ``share``.

    Of n exchangeable values it is the :math:`\lceil (n + 1) s \rceil`-th smallest. With units, such as systems, the new
    value is of a new unit: each of the S units weighs :math:`1 / (S + 1)`, in equal parts of its values.

    Args:
        values: Shape ``(N,)``; NaN is left out.
        share: Share of new values, between 0 and 1.
        units: Unit of each value, an empty one being a unit of its own; None is each by itself.

    Returns:
        Infinity where there are too few values, or units, for the share.

    Example:
        >>> conformal_quantile(np.arange(1.0, 10.0), 0.9), conformal_quantile(np.arange(1.0, 9.0), 0.9)
        (9.0, inf)

    Reference:
        Lei et al., "Distribution-free predictive inference for regression", JASA 113, 2018. Units: Lee, Barber and
        Willett, "Distribution-free inference with hierarchical data", 2023.
    """
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    weights = _unit_weights([units[i] for i in order.tolist()] if units is not None else [""] * len(order))
    reached = np.flatnonzero(np.cumsum(weights) >= share - _EXACT)
    return float(values[order[reached[0]]]) if len(reached) else math.inf


def _unit_weights(units: Sequence[str]) -> Array:
    """Return the weight of each value, where a new unit weighs as much as each of these."""
    counts = Counter(unit for unit in units if unit)
    total = len(counts) + units.count("")
    return np.array([1 / ((total + 1) * (counts[unit] or 1)) for unit in units])


class ConformalCalibration(NamedTuple):
    """Errors of clips that a model was not trained on, from which the intervals of other clips follow.

    Args:
        split: Name of the split that the clips are of.
        axes: Names of the axes.
        is_scaled: Whether errors are in units of the deviation that the model gave for the clip.
        by_system: Whether the new clips are of new systems, so that systems count and not clips.
        domains: Domain of each clip.
        systems: System of each clip.
        errors: Absolute errors in score points, or in deviations, shape ``(N, A)``; NaN where not rated.
        ids: Id of each clip.
    """

    split: str
    axes: Sequence[str]
    is_scaled: bool
    by_system: bool
    domains: Sequence[str]
    systems: Sequence[str]
    errors: Array
    ids: Sequence[str]

    @classmethod
    def of(
        cls, split: str, axes: Sequence[str], table: Predictions, *, by_system: bool = False
    ) -> ConformalCalibration:
        """Take the errors of the clips of a table, in deviations where each clip has one on every axis."""
        errors_NA, deviations = np.abs(table.scores - table.targets), table.deviations
        is_scaled = deviations is not None and bool((np.isfinite(deviations) & (deviations > 0)).all())
        if is_scaled:
            errors_NA = errors_NA / deviations
        return cls(split, list(axes), is_scaled, by_system, table.domains, table.systems, errors_NA, table.ids)

    def rows(self, keep: NDArray[np.bool_]) -> ConformalCalibration:
        """Return the calibration by some of the clips."""
        at = np.flatnonzero(keep).tolist()
        domains, systems, ids = ([of[i] for i in at] for of in (self.domains, self.systems, self.ids))
        return self._replace(domains=domains, systems=systems, ids=ids, errors=self.errors[keep])

    def num_units(self, a: int, domain: str = "") -> int:
        """Count the clips that are rated on an axis, or their systems; those of a domain where one is given."""
        rows = self._of_domain(a, domain)
        systems = [self.systems[i] for i in rows.tolist()]
        return len(set(systems) - {""}) + systems.count("") if self.by_system else len(rows)

    def _of_domain(self, a: int, domain: str) -> NDArray[np.intp]:
        is_of = np.array([domain in ("", name) for name in self.domains], dtype=np.bool_)
        return np.flatnonzero(is_of & ~np.isnan(self.errors[:, a]))

    def has_own(self, a: int, domain: str, share: float = SHARE) -> bool:
        """Tell whether a domain has intervals of its own; else its clips have those of all."""
        return bool(domain) and self.num_units(a, domain) >= max(FEWEST_OF_DOMAIN, fewest_units(share))

    def factor(self, a: int, domain: str = "", share: float = SHARE) -> float:
        """Return half of the width of an axis's intervals, in score points or deviations; infinity where none is."""
        rows = self._of_domain(a, domain if self.has_own(a, domain, share) else "")
        units = [self.systems[i] for i in rows.tolist()] if self.by_system else None
        return conformal_quantile(self.errors[rows, a], share, units)

    def why_none(self, a: int, share: float = SHARE) -> str:
        """Say in a few words why an axis has no intervals; empty where it has."""
        count, least = self.num_units(a), fewest_units(share)
        if count >= least:
            return ""
        unit = "systems" if self.by_system else "clips"
        return f"{count} rated {unit} of {self.split} to calibrate by, {share:.4g} takes at least {least}"

    def factors(self, domain: str = "", share: float = SHARE) -> Array:
        """Return the factor of each axis for clips of a domain, shape ``(A,)``."""
        return np.array([self.factor(a, domain, share) for a in range(len(self.axes))])

    def ends(
        self, scores: Array, deviations: Array | None, factors: Array, scales: Sequence[tuple[float, float]]
    ) -> Array:
        """Return the intervals of clips, within the scale.

        Args:
            scores: Shape ``(M, A)``, in score points.
            deviations: The model's, shape ``(M, A)``; None from a head without them.
            factors: Those of each clip's domain, shape ``(M, A)``.
            scales: Lowest and highest score of each axis.

        Returns:
            Low and high ends, shape ``(M, A, 2)``; NaN where there are none.
        """
        half_MA = factors * (math.nan if deviations is None else deviations) if self.is_scaled else factors
        half_MA = np.where(np.isfinite(half_MA), half_MA, math.nan)
        lowest, highest = np.array(scales, dtype=np.float64).reshape(-1, 2).T
        return np.stack([np.clip(scores + sign * half_MA, lowest, highest) for sign in (-1, 1)], axis=-1)


class IntervalCoverage(NamedTuple):
    """Share of ratings that intervals hold, and their width.

    Args:
        n: Rated clips with an interval.
        covered: Share of them whose rating is within; NaN of none.
        width: Mean width, in score points; NaN of none.
    """

    n: int
    covered: float
    width: float


def interval_coverage(ends: Array, targets: Array) -> IntervalCoverage:
    """Compute the coverage and the mean width of intervals.

    Args:
        ends: Low and high ends, shape ``(N, 2)``, NaN where there is none.
        targets: Ratings, shape ``(N,)``, NaN where not rated.

    Example:
        >>> interval_coverage(np.array([[1.0, 3.0], [2.0, 3.0]]), np.array([2.5, 4.0]))
        IntervalCoverage(n=2, covered=0.5, width=1.5)
    """
    known = np.isfinite(ends).all(axis=1) & np.isfinite(targets)
    if not known.any():
        return IntervalCoverage(0, math.nan, math.nan)
    (low, high), y = ends[known].T, targets[known]
    inside = (low <= y + _EXACT) & (y - _EXACT <= high)
    return IntervalCoverage(int(known.sum()), float(inside.mean()), float((high - low).mean()))
