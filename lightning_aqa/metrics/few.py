"""Few units: how many a correlation, an interval and a test need, and what a perfect order of few still says."""

from __future__ import annotations

import math

FEWEST_FOR_CORRELATION = 3
FEWEST_FOR_INTERVAL = 6
"""A paired test of n units cannot go below 2 / 2^n, which is below .05 from six on."""

_LOWEST_RHO = {
    6: 0.6665, 7: 0.8265, 8: 0.9014, 9: 0.9394, 10: 0.9617, 11: 0.9750, 12: 0.9827, 13: 0.9874, 14: 0.9909, 15: 0.9932,
    16: 0.9950, 17: 0.9961, 18: 0.9969, 19: 0.9975, 20: 0.9979,
}  # fmt: skip
"""LCC of a bivariate normal of which n draws are in a perfect order in 2.5 % of cases: benchmarks/perfect_order.py."""


def too_few(count: int, unit: str) -> str:
    """Say why so few units have no interval and no p-value; empty where they are enough.

    Args:
        count: How many there are.
        unit: What they are, in the plural.

    Example:
        >>> too_few(3, "systems")
        '3 systems: a perfect order comes by luck in 1 of 3'
        >>> too_few(2, "clips"), too_few(6, "clips")
        ('2 clips: a correlation needs 3', '')
    """
    if count >= FEWEST_FOR_INTERVAL:
        return ""
    if count < FEWEST_FOR_CORRELATION:
        unit = unit.removesuffix("s") if count == 1 else unit
        return f"{count} {unit}: a correlation needs {FEWEST_FOR_CORRELATION}"
    return f"{count} {unit}: a perfect order comes by luck in 1 of {math.factorial(count) // 2}"


def order_bound(count: int, metric: str) -> float:
    r"""Return the lowest rank correlation that a perfect order of n values leaves possible.

    The value of a bivariate normal population at which the order of n draws is perfect in 2.5 % of all cases,
    :math:`\frac{6}{\pi} \arcsin \frac{\rho}{2}` for SRCC and :math:`\frac{2}{\pi} \arcsin \rho` for KTAU: the lower end
    of an exact 95 % interval, the upper being 1.

    Args:
        count: n, at least 6; from 20 on the bound of 20 is returned, .998 for SRCC.
        metric: ``SRCC`` or ``KTAU``.

    Example:
        >>> [round(order_bound(n, "SRCC"), 2) for n in (6, 8, 10)]
        [0.65, 0.89, 0.96]
    """
    rho = _LOWEST_RHO[min(max(count, min(_LOWEST_RHO)), max(_LOWEST_RHO))]
    return 6 / math.pi * math.asin(rho / 2) if metric == "SRCC" else 2 / math.pi * math.asin(rho)


def order_slack(count: int, metric: str) -> float:
    r"""Return how far apart two rank correlations may be of predictors that put n units in one order.

    The predictors correlate at least at b, see ``order_bound``, and so their correlations with any ratings differ by at
    most :math:`\sqrt{2 (1 - b)}`. Above n = 20, where 1 - b falls as :math:`n^{-4}` for SRCC and :math:`n^{-2}` for
    KTAU, that of 20 is scaled.

    Args:
        count: n.
        metric: ``SRCC`` or ``KTAU``.

    Example:
        >>> [round(order_slack(n, "SRCC"), 3) for n in (6, 20, 200)]
        [0.838, 0.068, 0.001]
    """
    shrunk = min(max(_LOWEST_RHO) / count, 1.0) ** (2 if metric == "SRCC" else 1)
    return math.sqrt(2 * (1 - order_bound(count, metric))) * shrunk


def half_step(count: int, metric: str) -> float:
    """Return half of the gap between a perfect order of n values and the next one, the least distance from 1.

    A rank correlation of few values is known to that; it also keeps Fisher's z finite.

    Example:
        >>> half_step(4, "SRCC")
        0.1
    """
    if metric == "SRCC":
        return 6 / max(count * (count**2 - 1), 1)
    return 2 / max(count * (count - 1), 1) if metric == "KTAU" else 1e-12
