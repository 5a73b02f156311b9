"""Count how often 95 % intervals of SRCC hold the true value: ``python benchmarks/interval_coverage.py``.

Samples of a bivariate normal, whose SRCC is known. "Bonett-Wright" is the textbook formula on Fisher's z.
"""

from __future__ import annotations

import math

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lightning_aqa.metrics.bootstrap import Interval, Replicates, interval, replicate

CASES = ((0.99, 30), (0.9, 30), (0.6, 30), (0.7, 150))
TRIALS, RESAMPLES = 1000, 1000


def bonett_wright(replicates: Replicates, n: int) -> Interval:
    """Return the interval of Bonett and Wright (2000): Fisher's z with an error of sqrt((1 + r^2 / 2) / (n - 3))."""
    r = float(replicates.estimate[0])
    half = 1.96 * math.sqrt((1 + r * r / 2) / (n - 3))
    return Interval(math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))


def trial(rho: float, n: int, seed: int) -> dict[str, Interval]:
    """Draw one sample and return its intervals."""
    y, noise = np.random.default_rng(seed).normal(size=(2, n, 1))
    p = rho * y + math.sqrt(1 - rho**2) * noise
    drawn = replicate(p, y, [""] * n, metrics=["SRCC"], num_resamples=RESAMPLES, seed=seed)["SRCC"]
    return {
        "BCa": interval(drawn, "bca"),
        "percentile": interval(drawn, "percentile"),
        "Bonett-Wright": bonett_wright(drawn, n),
    }


def main() -> None:
    """Print the table."""
    table = Table(title=f"95 % intervals of SRCC, {TRIALS} samples each: share that holds the true value (mean width)")
    for column in ("true SRCC", "n", "BCa", "percentile", "Bonett-Wright"):
        table.add_column(column, justify="right")
    for rho, n in CASES:
        true = 6 / math.pi * math.asin(rho / 2)
        trials = [trial(rho, n, seed) for seed in track(range(TRIALS), f"n = {n}", transient=True)]
        row = [f"{true:.3f}", str(n)]
        for method in trials[0]:
            held = np.mean([found[method].low <= true <= found[method].high for found in trials])
            width = np.mean([found[method].high - found[method].low for found in trials])
            row.append(f"{100 * held:.1f} % ({width:.3f})")
        table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
