"""Count false alarms and hits of the tests between variants: ``python benchmarks/test_size.py``.

All variants rate by the truth plus an error in common, one of the variant and one of the run; the size of the last two
may differ from run to run ("seeds differ"). Where all variants are equal every alarm is false.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lightning_aqa.metrics.jackknife import replicate
from lightning_aqa.metrics.significance import Contestant, compare, differs

PROGRESS = Console(stderr=True)
METRICS = ("MSE", "LCC", "SRCC")
COMMON, VARIANT, RUN = 0.3, 0.4, 0.3


class Case(NamedTuple):
    """A table of variants.

    Args:
        units: Clips or systems.
        variants: How many, of which the first is the baseline.
        seeds: Runs of each.
        spread: Standard deviation of the logarithm of a run's error.
        gain: By how much the baseline errs more than the others, relative.
        trials: How many tables.
    """

    units: int
    variants: int
    seeds: int
    spread: float = 0.0
    gain: float = 0.0
    trials: int = 400


PAIRS = tuple(Case(n, 2, k, spread) for n in (6, 12, 30, 104, 400) for k, spread in ((3, 0.0), (3, 0.1), (5, 0.1)))
TABLES = tuple(Case(n, v, 3, 0.05, trials=400) for n in (12, 30) for v in (6, 12))
POWER = tuple(Case(n, 2, k, 0.05, gain) for n in (30, 104) for k in (3, 5) for gain in (0.0, 0.25, 0.5))


def contestants(case: Case, seed: int) -> dict[str, list[Contestant]]:
    """Draw a table."""
    generator = np.random.default_rng([seed, case.units])
    y, common = generator.normal(size=(2, case.units))
    found: dict[str, list[Contestant]] = {metric: [] for metric in METRICS}
    for v in range(case.variants):
        own = VARIANT * generator.normal(size=case.units)
        errors = COMMON * common + own + RUN * generator.normal(size=(case.seeds, case.units))
        sizes = np.exp(case.spread * generator.normal(size=(case.seeds, 1))) * (1 + (case.gain if v == 0 else 0))
        runs = (y + sizes * errors).T
        for metric, of in replicate(runs, y[:, None], [""] * case.units, metrics=METRICS).items():
            found[metric].append(Contestant(of))
    return found


def rates(case: Case) -> dict[str, tuple[float, float, float]]:
    """Return per metric how often the second differs from the first, any from the first, and any from any."""
    alarms: dict[str, list[tuple[bool, bool, bool]]] = {metric: [] for metric in METRICS}
    every = [(i, j) for i in range(case.variants) for j in range(i)]
    for seed in track(range(case.trials), str(tuple(case[:5])), transient=True, console=PROGRESS):
        for metric, of in contestants(case, seed).items():
            first = compare(of, [(v, 0) for v in range(1, case.variants)], num_draws=2000)
            pairs = compare(of, every, num_draws=2000)
            any_of_first, any_of_all = (any(differs(d.p_adjusted) for d in group) for group in (first, pairs))
            alarms[metric].append((first[0].p_value < 0.05, any_of_first, any_of_all))
    return {metric: tuple(np.mean(found, axis=0)) for metric, found in alarms.items()}


def show(title: str, cases: Sequence[Case], positions: Sequence[int]) -> None:
    """Print a table: one row per case, percentages of the chosen rates."""
    table = Table(title=title, title_justify="left")
    for name in ("n", "variants", "seeds", "seeds differ", "gain", *METRICS):
        table.add_column(name, justify="right")
    for case in cases:
        found = rates(case)
        cells = [" / ".join(f"{100 * found[metric][position]:.1f}" for position in positions) for metric in METRICS]
        table.add_row(*(f"{value:g}" for value in case[:5]), *cells)
    Console(width=110).print(table)


def standard_error(trials: int) -> float:
    """Return the standard error of a rate of 5 %, in percent."""
    return 100 * math.sqrt(0.05 * 0.95 / trials)


def main() -> None:
    """Print the tables."""
    error = f"standard error {standard_error(400):.1f}"
    show(f"two equal variants: false alarms in percent ({error})", PAIRS, (0,))
    show(f"equal variants: any told apart from the baseline / any from any, in percent ({error})", TABLES, (1, 2))
    show("the first errs more by this share: told apart, in percent", POWER, (0,))


if __name__ == "__main__":
    main()
