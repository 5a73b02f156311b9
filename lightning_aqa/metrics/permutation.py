"""Permutation tests between two variants: exchange their predictions clip by clip, or their runs as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.bootstrap import Level
from lightning_aqa.metrics.resampling import Codes, Unit, chunks, units_of
from lightning_aqa.metrics.weighted import STATISTICS, means_of_systems, metrics_of_columns

Array = NDArray[np.float64]
_SAME = 1e-12


def permutation_test_of_clips(
    first: Array,
    second: Array,
    targets: Array,
    systems: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    metric: str = "SRCC",
    level: Level = "utterance",
    unit: Unit | None = None,
    num_permutations: int = 2000,
    seed: int = 0,
) -> float:
    """Test whether two sets of trained models differ, by exchanging their predictions clip by clip.

    Where nothing differs, which of the two made the prediction of a clip is a coin's toss. Runs are exchanged in pairs:
    row k of one with row k of the other.

    Args:
        first: Predictions of K runs, shape ``(K, N)``, or ``(N,)`` for one.
        second: Predictions of as many runs of the other.
        targets: Shape ``(N,)``, NaN where not rated.
        systems: System of each clip; empty where unknown.
        prompts: Prompt of each clip; empty where unknown.
        metric: MSE, LCC, SRCC or KTAU.
        level: ``utterance`` or ``system``.
        unit: What is exchanged as one piece, clip, system or prompt; None is ``clip`` at utterance level and
            ``system`` at system level.
        num_permutations: How many are drawn; where there are no more than that, each is tried once.
        seed: Of the draws.

    Returns:
        The two-sided p-value; NaN where the metric is undefined.

    Raises:
        ValueError: If the numbers of runs differ, or two units are crossed.
    """
    pairs_K = list(zip(np.atleast_2d(first), np.atleast_2d(second), strict=False))
    if np.shape(np.atleast_2d(first)) != np.shape(np.atleast_2d(second)):
        raise ValueError(
            f"runs are exchanged in pairs, got predictions of shape {np.shape(first)} and {np.shape(second)}; "
            "give as many runs of each, or use permutation_test_of_seeds."
        )
    units = units_of(unit or ("clip" if level == "utterance" else "system"), systems, prompts)
    if len(units.ways) > 1:
        raise ValueError(f"predictions are exchanged by clip, system or prompt, got {unit!r}.")
    rated_N = np.isfinite(targets) & ((units.systems >= 0) | (level == "utterance"))
    unit_N, y_N, systems_N = units.ways[0][rated_N], np.asarray(targets, np.float64)[rated_N], units.systems[rated_N]

    def gap(swapped_UR: Array) -> Array:
        swapped_NR = swapped_UR[unit_N]
        gaps = [_gap(a[rated_N], b[rated_N], y_N, systems_N, swapped_NR, level, metric) for a, b in pairs_K]
        return np.asarray(np.mean(gaps, axis=0))

    num_units = int(units.ways[0].max(initial=-1)) + 1
    observed = abs(float(gap(np.zeros((num_units, 1)))[0]))
    if not math.isfinite(observed):
        return math.nan
    is_exact = 2.0**num_units <= num_permutations
    swaps = _all_swaps(num_units) if is_exact else _random_swaps(num_units, num_permutations, 2 * len(y_N), seed)
    gaps = np.concatenate([np.abs(gap(part)) for part in swaps])
    return _share(gaps, observed, is_exact)


def _gap(a_N: Array, b_N: Array, y_N: Array, systems_N: Codes, swapped_NR: Array, level: Level, metric: str) -> Array:
    """Return the difference in each permutation: both variants are the same stacked rows with other counts."""
    p_M, y_M, systems_M = np.concatenate([a_N, b_N]), np.tile(y_N, 2), np.tile(systems_N, 2)
    w_MR = np.concatenate([1 - swapped_NR, swapped_NR])
    if level == "utterance":
        return STATISTICS[metric](p_M, y_M, w_MR) - STATISTICS[metric](p_M, y_M, 1 - w_MR)
    y_SR = means_of_systems(y_M, systems_M, w_MR)
    sides = (means_of_systems(p_M, systems_M, counts) for counts in (w_MR, 1 - w_MR))
    ours, theirs = (metrics_of_columns(p_SR, y_SR, np.ones(y_SR.shape), [metric])[metric] for p_SR in sides)
    return ours - theirs


def _share(gaps: Array, observed: float, is_exact: bool) -> float:
    """Count the gaps as large as the observed one, which itself is one of the permutations."""
    as_large = np.count_nonzero(gaps >= observed - _SAME)
    return float(as_large / len(gaps) if is_exact else (as_large + 1) / (len(gaps) + 1))


def _all_swaps(num_units: int) -> Iterator[Array]:
    numbers = np.arange(2**num_units)
    yield ((numbers >> np.arange(num_units)[:, None]) & 1).astype(np.float64)


def _random_swaps(num_units: int, num_permutations: int, num_rows: int, seed: int) -> Iterator[Array]:
    generator = np.random.default_rng(seed)
    for width in chunks(num_permutations, num_rows):
        yield generator.integers(0, 2, (num_units, width)).astype(np.float64)


def permutation_test_of_seeds(
    first: Sequence[float], second: Sequence[float], *, num_permutations: int = 10_000
) -> float:
    """Test whether two training procedures differ on the same clips, by exchanging whole runs between them.

    The smallest p-value is 2 over the number of ways to deal the runs: .1 for 3 against 3, .008 for 5 against 5.

    Args:
        first: The metric of each run of one variant.
        second: The metric of each run of the other.
        num_permutations: Where there are no more ways than that each is tried once; otherwise as many are drawn.

    Returns:
        The two-sided p-value; NaN without a run of each, or with an undefined metric.

    Example:
        >>> permutation_test_of_seeds([0.9, 0.91, 0.92], [0.8, 0.81, 0.82])
        0.1
    """
    values = np.array([*first, *second], dtype=np.float64)
    if not len(first) or not len(second) or not np.isfinite(values).all():
        return math.nan
    is_exact = math.comb(len(values), len(first)) <= num_permutations
    chosen = (
        _all_deals(len(values), len(first)) if is_exact else _random_deals(len(values), len(first), num_permutations)
    )
    sums = values[chosen].sum(1)
    gaps = np.abs(sums / len(first) - (values.sum() - sums) / len(second))
    return _share(gaps, abs(float(np.mean(first) - np.mean(second))), is_exact)


def _all_deals(total: int, picked: int) -> Codes:
    return np.array(list(combinations(range(total), picked)), dtype=np.intp)


def _random_deals(total: int, picked: int, number: int) -> Codes:
    return np.argsort(np.random.default_rng(0).random((number, total)), axis=1)[:, :picked]
