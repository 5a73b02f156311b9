"""Power of a test: the smallest true difference that one of its size finds."""

from __future__ import annotations

import math

SIGNIFICANCE = 0.05
"""Chance of any false alarm over the comparisons of a column."""
POWER = 0.8
"""Chance to find a true difference that is usual in plans."""


def smallest_difference(
    standard_error: float, freedom: float = math.inf, power: float = POWER, bound: float | None = None
) -> float:
    r"""Return the smallest true difference that a two-sided 5 % test of this size finds with this chance.

    .. math:: d = \delta\,\mathrm{SE} \quad\text{with}\quad P(t_{\nu, \delta} > t_{\nu, .975}) = \text{power}

    where :math:`t_{\nu, \delta}` is Student's t with :math:`\nu` degrees of freedom, moved by :math:`\delta`. For many
    degrees of freedom this is 2.80 standard errors at a power of 80 %.

    Args:
        standard_error: Of the difference.
        freedom: Degrees of freedom from which the standard error is known, such as units less one.
        power: Chance to find it, above .025 and below 1.
        bound: What t has to pass, where several tests are made at once; None is the bound of one test.

    Returns:
        In the unit of the standard error; NaN where that or the degrees of freedom are undefined.

    Example:
        >>> [round(smallest_difference(0.01, v), 4) for v in (2, 5, 30, math.inf)]
        [0.0565, 0.0351, 0.029, 0.028]
    """
    if not (standard_error >= 0 and freedom > 0):
        return math.nan
    from scipy.special import nctdtrinc, stdtrit

    if bound is None:
        bound = float(stdtrit(freedom, 1 - SIGNIFICANCE / 2))
    return standard_error * float(nctdtrinc(freedom, 1 - power, bound))
