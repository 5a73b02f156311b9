"""Power that plans reach, against simulation: ``python benchmarks/planning.py``.

Each row plans the size of a test, draws such tests with a true difference, and counts how often it is found at 5 %.
Scores are normal; a test is the package's paired jackknife, but for seeds, whose test is Student's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import ttest_ind

from lightning_aqa.metrics import planning
from lightning_aqa.metrics.ceilings import spearman_brown
from lightning_aqa.metrics.jackknife import Replicates, replicate
from lightning_aqa.metrics.significance import Contestant, compare

Array = NDArray[np.float64]
TRIALS = 600


def linear(rank: float) -> float:
    """Return the LCC of a bivariate normal from its SRCC."""
    return 2 * math.sin(math.pi * rank / 6)


def draw(values: Sequence[float], between: float, n: int, seed: int) -> tuple[Array, Array]:
    """Draw ratings and the scores of two predictors with these LCC: shapes ``(n, 1)`` and ``(n, 2)``."""
    a, b = values
    factor = np.linalg.cholesky(np.array([[1, a, b], [a, 1, between], [b, between, 1]]))
    drawn = np.random.default_rng(seed).normal(size=(n, 3)) @ factor.T
    return drawn[:, :1], drawn[:, 1:]


def both(ratings: Array, scores: Array, metric: str) -> tuple[Replicates, Replicates]:
    """Return the two predictors with each clip left out."""
    varied = replicate(scores, ratings, [""] * len(scores), metrics=[metric])[metric]
    return varied.pick([0]), varied.pick([1])


def p_value(ratings: Array, scores: Array, metric: str) -> float:
    """Return the p-value of no difference between the two predictors."""
    pair = [Contestant(of, is_fixed=True) for of in both(ratings, scores, metric)]
    return compare(pair, [(0, 1)], num_draws=1000)[0].p_value


def power_of(metric: str, value: float, between: float, d: float, n: int, trials: int = TRIALS) -> float:
    """Return how often the test finds a true difference d around a value."""
    is_rank = metric == "SRCC"
    ends = [linear(r) if is_rank else r for r in (value + d / 2, value - d / 2)]
    c = linear(between) if is_rank else between
    found = [p_value(*draw(ends, c, n, seed), metric) < 0.05 for seed in range(trials)]
    return float(np.mean(found))


def assumed_rows() -> list[list[str]]:
    """Plan clips from assumptions."""
    rows = []
    cases = (
        ("SRCC", 0.85, 0.9, 0.05), ("SRCC", 0.85, 0.98, 0.02), ("SRCC", 0.6, 0.9, 0.1), ("SRCC", 0.95, 0.95, 0.02),
        ("SRCC", 0.85, 0.6, 0.1), ("LCC", 0.85, 0.9, 0.05), ("LCC", 0.5, 0.5, 0.1),
    )  # fmt: skip
    for metric, value, between, d in cases:
        n = planning.units_needed(d, planning.assumed_deviation(value, between, is_rank=metric == "SRCC"))
        reached = power_of(metric, value, between, d, int(n))
        rows.append([f"assumed: {metric} {value}, correlation {between}", f"{d:g}", f"{n:g} clips", _percent(reached)])
    return rows


def pilot_rows() -> list[list[str]]:
    """Plan clips from pilots: the planned number differs by pilot, so each plans one test."""
    rows, d = [], 0.05
    ends, between = [linear(0.875), linear(0.825)], linear(0.9)
    for size in (30, 100, 400):
        planned, found = [], []
        for seed in range(TRIALS):
            pilot = both(*draw([linear(0.85)] * 2, between, size, 10_000 + seed), "SRCC")
            n = planning.units_needed(d, planning.deviation_per_unit(*pilot, size))
            planned.append(n)
            found.append(p_value(*draw(ends, between, int(n), seed), "SRCC") < 0.05)
        label = f"{np.quantile(planned, 0.05):.0f} to {np.quantile(planned, 0.95):.0f} clips"
        rows.append([f"pilot of {size} clips: SRCC 0.85, correlation 0.9", f"{d:g}", label, _percent(np.mean(found))])
    return rows


def listener_rows() -> list[list[str]]:
    """Plan clips for fewer listeners: the correlations are those with means of 5, and the test has fewer."""
    rows, value, between, d, reliability = [], 0.7, 0.9, 0.06, 0.8
    n5 = planning.units_needed(d, planning.assumed_deviation(value, between, is_rank=False))
    for listeners in (5, 2, 1, 20):
        times = listeners / 5
        factor = planning.listeners_factor(value, between, reliability, times, is_rank=False)
        q = math.sqrt(spearman_brown(reliability, times) / reliability)
        n = math.ceil(n5 * factor)
        reached = power_of("LCC", q * value, between, q * d, n)
        name = f"LCC 0.7 with 5 listeners (reliability 0.8), {listeners} in the test"
        rows.append([name, f"{d:g}", f"{n} clips", _percent(reached)])
    return rows


def seed_rows() -> list[list[str]]:
    """Plan seeds on endless clips; the rule of thumb beside it."""
    rows, d, generator = [], 0.01, np.random.default_rng(0)
    for s in (0.005, 0.01, 0.02):
        for k, how in (
            (planning.seeds_needed(d, s), "planned"),
            (math.ceil(2 * (2.80 * s / d) ** 2), "2 (2.80 s/d)^2"),
        ):
            first, second = generator.normal(size=(2, 20_000, int(k))) * s
            reached = np.mean(ttest_ind(first + d, second, axis=1).pvalue < 0.05)
            rows.append([f"seed deviation {s}, {how}", f"{d:g}", f"{k:g} seeds", _percent(reached)])
    return rows


def both_rows() -> list[list[str]]:
    """Plan clips for few seeds; the test adds draws of t for the seeds to those of the clips, as the package's does."""
    rows, d, s1, s, generator = [], 0.02, 0.25, 0.005, np.random.default_rng(1)
    for k in (3, 5, 10):
        n = planning.units_needed(d, s1, num_seeds=k, seeds_vary=s)
        runs = generator.normal(size=(2, 4000, k)) * s
        found = d + generator.normal(size=4000) * s1 / math.sqrt(n) + runs[0].mean(1) - runs[1].mean(1)
        error = np.sqrt((runs.var(axis=2, ddof=1) / k).sum(0))
        noise = generator.normal(size=2000) * s1 / math.sqrt(n)
        noise = noise + error[:, None] * generator.standard_t(2 * (k - 1), (4000, 2000))
        low, high = np.quantile(noise, [0.025, 0.975], axis=1)
        reached = np.mean((found < low) | (found > high))
        rows.append(
            [f"deviation {s1} over clips, {s} over seeds; {k} seeds", f"{d:g}", f"{n:g} clips", _percent(reached)]
        )
    return rows


def _percent(share: float | np.floating[Any]) -> str:
    return f"{100 * share:.0f} %"


def doubt_rows() -> list[list[str]]:
    """Count how often the number that a pilot plans is within the factor of doubt of the true one."""
    rows = []
    for size in (12, 30, 100, 400):
        true = planning.assumed_deviation(0.85, 0.9)
        found = [
            planning.deviation_per_unit(*both(*draw([linear(0.85)] * 2, linear(0.9), size, s), "SRCC"), size)
            for s in range(TRIALS)
        ]
        factor = planning.factor_of_doubt(size)
        held = np.mean([1 / factor <= (s1 / true) ** 2 <= factor for s1 in found])
        rows.append([str(size), f"{factor:.2f}", _percent(held)])
    return rows


def width_rows() -> list[list[str]]:
    """Measure the middle 95 % of SRCC at the planned number of clips."""
    rows = []
    for value, width in ((0.85, 0.1), (0.6, 0.2), (0.95, 0.05)):
        n = planning.units_for_interval(value, width)
        found = [
            replicate(scores[:, :1], ratings, [""] * int(n), metrics=["SRCC"])["SRCC"].estimate[0]
            for ratings, scores in (draw([linear(value)] * 2, linear(0.97), int(n), seed) for seed in range(3000))
        ]
        low, high = np.quantile(found, [0.025, 0.975])
        rows.append([f"SRCC {value}", f"{width:g}", f"{n:g} clips", f"{high - low:.3f}"])
    return rows


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one table."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=118).print(table)


def main() -> None:
    """Print the tables."""
    rows = [*assumed_rows(), *pilot_rows(), *listener_rows(), *seed_rows(), *both_rows()]
    show("Power at the planned size; 80 % is planned", ("plan", "difference", "planned", "power"), rows)
    show("Plans of pilots within the factor of doubt", ("clips of the pilot", "factor", "share"), doubt_rows())
    show("Width of an interval", ("correlation", "planned width", "planned", "width found"), width_rows())


if __name__ == "__main__":
    main()
