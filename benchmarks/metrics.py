"""Time the correlations against torchmetrics and check them against scipy: ``python benchmarks/metrics.py``.

torchmetrics' Kendall compares all pairs, N^2 of them. At N = 100 000 that takes hours, so it is timed at two smaller N,
with ours at the same N beside it, and the larger one is scaled by N^2; its time per pair at both is printed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lightning_aqa.metrics.correlation import ktau, lcc, srcc

NUM_CLIPS, REPEATS = 100_000, 5
PAIRS_AT = (2000, 8000)
Arrays = tuple[NDArray[np.float64], NDArray[np.float64]]


def scores(size: int) -> Arrays:
    """Make ratings in steps of 0.2, which tie, and predictions that agree with them by about 0.8."""
    random = np.random.default_rng(size)
    targets = 1 + random.integers(0, 21, size) / 5
    return targets + random.standard_normal(size), targets


def cpu_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median CPU time of some calls, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return median(times[1:])


def torchmetrics_of(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return torchmetrics' function."""
    from torchmetrics import functional

    named: dict[str, Any] = {
        "LCC": functional.pearson_corrcoef,
        "SRCC": functional.spearman_corrcoef,
        "KTAU": functional.kendall_rank_corrcoef,
    }
    found: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = named[name]
    return found


def scipy_of(name: str, arrays: Arrays) -> float:
    """Return scipy's value."""
    from scipy import stats

    function: Any = {"LCC": stats.pearsonr, "SRCC": stats.spearmanr, "KTAU": stats.kendalltau}[name]
    return float(function(*arrays).statistic)


def count_pairs(predictions: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Return tau-b as its definition has it, by looking at every pair."""
    signs = [np.sign(values[:, None] - values) for values in (predictions, targets)]
    return float((signs[0] * signs[1]).sum() / np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum()))


def compare(name: str, ours: Callable[..., float], size: int, table: Table) -> float:
    """Add a row; return torchmetrics' CPU seconds."""
    arrays = scores(size)
    tensors = [torch.from_numpy(values) for values in arrays]
    theirs = torchmetrics_of(name)
    own = cpu_seconds(lambda: ours(*arrays))
    other = cpu_seconds(lambda: theirs(*tensors), 1 if name == "KTAU" else REPEATS)
    own_error, exact = abs(ours(*arrays) - scipy_of(name, arrays)), scipy_of(name, arrays)
    error = abs(float(theirs(*tensors)) - exact)
    cells = (f"{own * 1e3:.2f} ms", f"{other * 1e3:.1f} ms", f"{other / own:.2g}x", f"{own_error:.0e}", f"{error:.0e}")
    table.add_row(name, f"{size:,}", *cells)
    return other


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table = Table(title="CPU time, float64, one thread")
    for column in ("metric", "N", "ours", "torchmetrics", "ratio", "ours to scipy", "torchmetrics to scipy"):
        table.add_column(column, justify="right")
    compare("LCC", lcc, NUM_CLIPS, table)
    compare("SRCC", srcc, NUM_CLIPS, table)
    seconds = [compare("KTAU", ktau, size, table) for size in PAIRS_AT]
    arrays = scores(NUM_CLIPS)
    own, error = cpu_seconds(lambda: ktau(*arrays)), abs(ktau(*arrays) - scipy_of("KTAU", arrays))
    whole = seconds[-1] * (NUM_CLIPS / PAIRS_AT[-1]) ** 2
    cells = (f"{own * 1e3:.2f} ms", f"{whole:.0f} s, scaled", f"{whole / own:.0f}x", f"{error:.0e}", "")
    table.add_row("KTAU", f"{NUM_CLIPS:,}", *cells)
    Console(width=120).print(table)
    per_pair = ", ".join(f"{s / n**2 * 1e9:.2f} ns at N = {n:,}" for s, n in zip(seconds, PAIRS_AT, strict=True))
    print(f"torchmetrics' KTAU per pair: {per_pair}; it is scaled by N^2 from N = {PAIRS_AT[-1]:,}.")
    few = scores(PAIRS_AT[0])
    print(f"Ours against a count of all pairs at N = {PAIRS_AT[0]:,}: {abs(ktau(*few) - count_pairs(*few)):.0e}.")


if __name__ == "__main__":
    main()
