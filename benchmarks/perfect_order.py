"""Compute the LCC at which n draws are in a perfect order in 2.5 % of cases: ``python benchmarks/perfect_order.py``.

These are the constants of ``metrics/few.py``. Given the ratings in their order, the predictions of a bivariate normal
are independent normals around them, and the chance that they are in order too is n integrals, one inside the other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import brentq
from scipy.stats import norm

from lightning_aqa.metrics.few import order_bound

Array = NDArray[np.float64]
PROGRESS = Console(stderr=True)
SAMPLES, STEP, REACH = 3000, 0.015, 4.5


def chance(rho: float, ratings_SN: Array) -> float:
    """Return the chance that predictions are in the order of the ratings, mean over S samples of N."""
    grid, spread = np.arange(-REACH, REACH, STEP), math.sqrt(1 - rho**2)
    total = 0.0
    for ratings in np.array_split(ratings_SN, 20):
        below = np.ones((len(ratings), len(grid)))
        for n in range(ratings.shape[1]):
            density = norm.pdf((grid - rho * ratings[:, n : n + 1]) / spread) / spread * below
            steps = (density[:, 1:] + density[:, :-1]) / 2 * STEP
            below = np.concatenate([np.zeros((len(ratings), 1)), np.cumsum(steps, axis=1)], axis=1)
        total += float(below[:, -1].sum())
    return total / len(ratings_SN)


def lowest(n: int) -> float:
    """Return the LCC."""
    ratings = np.sort(np.random.default_rng(n).normal(size=(SAMPLES, n)), axis=1)
    return float(brentq(lambda rho: chance(rho, ratings) - 0.025, 0.5, 0.9995, xtol=5e-5))


def main() -> None:
    """Print the table."""
    table = Table(title="a perfect order of n has a chance of 2.5 % at")
    for column in ("n", "LCC", "SRCC", "KTAU", "SRCC in few.py"):
        table.add_column(column, justify="right")
    for n in track(range(6, 21), transient=True, console=PROGRESS):
        rho = lowest(n)
        ranks = 6 / math.pi * math.asin(rho / 2), 2 / math.pi * math.asin(rho)
        table.add_row(str(n), f"{rho:.4f}", *(f"{value:.4f}" for value in ranks), f"{order_bound(n, 'SRCC'):.4f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
