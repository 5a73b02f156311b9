"""Coverage of the intervals that n alone gives a published correlation: ``python benchmarks/published_intervals.py``.

Samples of a bivariate normal; per n and LCC of the population the intervals in percent that hold the true value, and
their median width. What the textbook formula for SRCC alone holds is in the table of ``interval_coverage.py``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import ktau, lcc, srcc
from lightning_aqa.metrics.from_size import CORRELATIONS, interval_from_size
from lightning_aqa.metrics.uncertainty import Interval

SIZES = (2, 3, 6, 11, 30, 36, 110, 413)
VALUES = (0.3, 0.8, 0.95, 0.99)
TRIALS = 1000


def row(n: int, rho: float, random: np.random.Generator) -> list[str]:
    """Return the cells of one n and one LCC of the population."""
    true = {"LCC": rho, "SRCC": 6 / math.pi * math.asin(rho / 2), "KTAU": 2 / math.pi * math.asin(rho)}
    found: dict[str, list[tuple[Interval, float]]] = {}
    for _ in range(TRIALS):
        x, noise = random.standard_normal((2, n))
        y = rho * x + math.sqrt(1 - rho**2) * noise
        values = {"LCC": lcc(x, y), "SRCC": srcc(x, y), "KTAU": ktau(x, y)}
        for metric, value in values.items():
            found.setdefault(metric, []).append((interval_from_size(value, n, metric), true[metric]))
    return [cell(found[metric]) for metric in CORRELATIONS]


def cell(found: list[tuple[Interval, float]]) -> str:
    """Write how many intervals hold their value, and how wide they are."""
    ends: NDArray[np.float64] = np.array([[of.low, of.high, true] for of, true in found])
    if np.isnan(ends).any():
        return "none"
    held = (ends[:, 0] <= ends[:, 2] + 1e-12) & (ends[:, 2] <= ends[:, 1] + 1e-12)
    return f"{100 * held.mean():.1f} ({np.median(ends[:, 1] - ends[:, 0]):.3f})"


def main() -> None:
    """Print the table."""
    random = np.random.default_rng(0)
    print("| n | population | LCC | SRCC | KTAU |\n|---|---|---|---|---|")
    for n in SIZES:
        for rho in VALUES if n > 3 else VALUES[:1]:
            print(f"| {n} | {rho:g} | " + " | ".join(row(n, rho, random)) + " |", flush=True)


if __name__ == "__main__":
    main()
