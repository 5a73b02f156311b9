"""Compare ceilings with what a predictor without error reaches: ``python benchmarks/ceilings.py``.

Simulated corpora of 300 clips, 20 systems and 200 draws per design (about two CPU minutes). True is the mean LCC
(SRCC, MSE less the square of the mean difference) of the noiseless score with the mean ratings; the
second table is of the predictor that knows each system's true mean.
"""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from lightning_aqa.metrics.ceilings import axis_ceilings, system_only
from lightning_aqa.metrics.correlation import ktau, lcc, srcc
from lightning_aqa.metrics.listeners import ListenerRatings

TRIALS = 200
DESIGNS: dict[str, dict[str, float | str]] = {
    "10 each": {"low": 10, "high": 10},
    "5 each": {"low": 5, "high": 5},
    "2 each": {"low": 2, "high": 2},
    "2 to 20": {"low": 2, "high": 20},
    "1 or 2": {"low": 1, "high": 2},
    "80 % one, else 2": {"low": 2, "high": 2, "alone": 0.8},
    "30 % one, else 5": {"low": 5, "high": 5, "alone": 0.3},
    "10 each, rounded to 1..5": {"low": 10, "high": 10, "rounded": 1},
    "5 of 100 at random, bias .8": {"low": 5, "high": 5, "who": "random", "bias": 0.8},
    "5 of 100, bias .8, ids lost": {"low": 5, "high": 5, "who": "random", "bias": 0.8, "lost": 1},
    "the same 10, bias .8": {"low": 10, "high": 10, "who": "same", "bias": 0.8},
    "the same 10, clip .7, bias 1, rest 1.4": {
        "low": 10, "high": 10, "who": "same", "bias": 1, "rest": 1.4, "system": 0.5, "clip": 0.5,
    },
    "own panel of 5 per system, bias .8": {"low": 5, "high": 5, "who": "own", "bias": 0.8},
    "the same 10, listener x system .6": {"low": 10, "high": 10, "who": "same", "view": 0.6},
    "5 of 100, bias .8, listener x system .6": {"low": 5, "high": 5, "who": "random", "bias": 0.8, "view": 0.6},
}  # fmt: skip


def draw(
    generator: np.random.Generator,
    *,
    low: int,
    high: int,
    alone: float = 0.0,
    who: str = "anew",
    bias: float = 0.0,
    view: float = 0.0,
    rest: float = 0.8,
    system: float = 0.7,
    clip: float = 0.5,
    rounded: bool = False,
    lost: bool = False,
    clips: int = 300,
    systems: int = 20,
) -> tuple[np.ndarray, list[str], ListenerRatings]:
    """Return what clips are worth, their systems, and ratings of them."""
    of = np.arange(clips) % systems
    worth = 3 + generator.normal(0, system, systems)[of] + generator.normal(0, clip, clips)
    k = np.where(generator.random(clips) < alone, 1, generator.integers(low, high + 1, clips))
    shape = (clips, high)
    if who == "anew":
        people = np.arange(clips * high).reshape(shape)
    elif who == "same":
        people = np.broadcast_to(np.arange(high), shape)
    elif who == "own":
        people = of[:, None] * high + np.arange(high)
    else:
        people = np.array([generator.permutation(100)[:high] for _ in range(clips)])
    level = generator.normal(0, bias, int(people.max()) + 1)[people]
    seen = generator.normal(0, view, (int(people.max()) + 1, systems))[people, of[:, None]] if view else 0.0
    values = worth[:, None] + level + seen + generator.normal(0, rest, shape)
    values = np.clip(values.round(), 1, 5) if rounded else values
    there = np.arange(high) < k[:, None]
    names = np.arange(clips * high).reshape(shape) if lost else people
    table = ListenerRatings(np.where(there, values, np.nan)[:, None], np.where(there, names, -1)[:, None])
    return worth, [f"S{i:02}" for i in of], table


def by_system(values: np.ndarray, systems: list[str]) -> np.ndarray:
    """Return the mean of each system."""
    names = np.array(systems)
    return np.array([values[names == name].mean() for name in sorted(set(systems))], dtype=np.float64)


def compare_ceilings(design: dict[str, float | str], trials: int = TRIALS) -> dict[str, np.ndarray]:
    """Return the mean printed and true (LCC, SRCC, MSE) per level."""
    found: dict[str, list[tuple[list[float], list[float]]]] = {"utterance": [], "system": []}
    for seed in range(trials):
        worth, systems, table = draw(np.random.default_rng(seed), **design)  # type: ignore[arg-type]
        mos = np.nanmean(table.values[:, 0], axis=1)
        for level, rows in found.items():
            of = axis_ceilings(table, systems, ["Q"], level)["Q"]
            t, m = (worth, mos) if level == "utterance" else (by_system(worth, systems), by_system(mos, systems))
            rows.append(([of.lcc, of.srcc, of.mse], [lcc(t, m), srcc(t, m), float((t - m).var(ddof=1))]))
    return {level: np.array(rows).mean(0) for level, rows in found.items()}


def compare_system_only(systems: int, clips: int, icc: float, trials: int = 300) -> np.ndarray:
    """Return the mean printed and true (LCC, SRCC, KTAU, MSE)."""
    rows = []
    for seed in range(trials):
        generator = np.random.default_rng(seed)
        known = np.repeat(generator.normal(0, np.sqrt(icc), systems), clips)
        y = known + generator.normal(0, np.sqrt(1 - icc), systems * clips)
        of = system_only([f"S{i:02}" for i in np.repeat(np.arange(systems), clips)], y)
        true = [lcc(known, y), srcc(known, y), ktau(known, y)] if icc else [0.0, 0.0, 0.0]
        rows.append(([of[name] for name in ("LCC", "SRCC", "KTAU", "MSE")], [*true, float(((known - y) ** 2).mean())]))
    return np.asarray(np.array(rows).mean(0))


def main() -> None:
    """Print both tables: printed / true."""
    console = Console(width=160)
    table = Table(title="ceilings: printed / true", box=None)
    for name in (
        "design",
        *(f"{level} {metric}" for level in ("clips", "systems") for metric in ("LCC", "SRCC", "MSE")),
    ):
        table.add_column(name)
    for name, design in DESIGNS.items():
        found = compare_ceilings(design)
        table.add_row(name, *(f"{a:.3f} / {b:.3f}" for means in found.values() for a, b in means.T))
    console.print(table)
    table = Table(title="knows the system alone: printed / true", box=None)
    for name in ("systems x clips, icc", "LCC", "SRCC", "KTAU", "MSE"):
        table.add_column(name)
    for systems, clips, icc in ((12, 3, 0.5), (12, 20, 0.5), (36, 85, 0.5), (12, 3, 0.1), (4, 26, 0.0), (2, 20, 0.0)):
        means = compare_system_only(systems, clips, icc, 50 if systems > 12 else 300)
        table.add_row(f"{systems} x {clips}, {icc:g}", *(f"{a:.3f} / {b:.3f}" for a, b in means.T))
    console.print(table)


if __name__ == "__main__":
    main()
