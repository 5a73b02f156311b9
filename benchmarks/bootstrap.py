"""Time resampled metrics against a loop over resamples with scipy: ``python benchmarks/bootstrap.py``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from lightning_aqa.metrics.bootstrap import Level, replicate

Array = NDArray[np.float64]
CLIPS, SYSTEMS, RESAMPLES, LOOPS = 3000, 36, 10_000, 20
METRICS: dict[str, Callable[[Array, Array], float]] = {
    "MSE": lambda p, y: float(np.mean((p - y) ** 2)),
    "LCC": lambda p, y: float(stats.pearsonr(p, y).statistic),
    "SRCC": lambda p, y: float(stats.spearmanr(p, y).statistic),
    "KTAU": lambda p, y: float(stats.kendalltau(p, y).statistic),
}


def corpus() -> tuple[Array, Array, list[str]]:
    """Make predictions and ratings of ten listeners each, in steps of a tenth, of systems that differ."""
    generator = np.random.default_rng(0)
    system = np.arange(CLIPS) % SYSTEMS
    targets = np.round(5 + generator.normal(size=SYSTEMS)[system] + generator.normal(size=CLIPS), 1)
    predictions = targets + generator.normal(size=CLIPS)
    return predictions, targets, [f"S{number:02}" for number in system]


def loop(predictions: Array, targets: Array, systems: list[str], level: Level, metric: str) -> float:
    """Return the CPU seconds of one resample after another, extrapolated from a few to all."""
    values = np.stack([predictions, targets])
    if level == "system":
        names = np.array(systems)
        values = np.stack([values[:, names == name].mean(1) for name in sorted(set(systems))], axis=1)
    generator = np.random.default_rng(0)
    start = time.process_time()
    for _ in range(LOOPS):
        rows = generator.integers(0, values.shape[1], values.shape[1])
        METRICS[metric](values[0, rows], values[1, rows])
    return (time.process_time() - start) * RESAMPLES / LOOPS


def ours(predictions: Array, targets: Array, systems: list[str], level: Level, metric: str) -> float:
    """Return the CPU seconds of all resamples, and of leaving out, which BCa needs."""
    start = time.process_time()
    replicate(predictions[:, None], targets[:, None], systems, level=level, metrics=[metric], num_resamples=RESAMPLES)
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = Table(title=f"{RESAMPLES:,} resamples of {CLIPS:,} clips or {SYSTEMS} systems, CPU seconds")
    for column in ("level", "metric", f"scipy, {LOOPS} resamples extrapolated", "ours", "ratio"):
        table.add_column(column, justify="left" if column in ("level", "metric") else "right")
    data = corpus()
    total_scipy, total_ours = 0.0, 0.0
    levels: tuple[Level, ...] = ("utterance", "system")
    for level in levels:
        for metric in METRICS:
            slow, fast = loop(*data, level, metric), ours(*data, level, metric)
            total_scipy, total_ours = total_scipy + slow, total_ours + fast
            table.add_row(level, metric, f"{slow:.1f}", f"{fast:.2f}", f"{slow / fast:.0f}x")
    table.add_row("both", "all", f"{total_scipy:.1f}", f"{total_ours:.2f}", f"{total_scipy / total_ours:.0f}x")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
