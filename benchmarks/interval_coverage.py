"""Count how often 95 % intervals hold the true value: ``python benchmarks/interval_coverage.py``.

Three tables: samples of a bivariate normal; clips of systems and prompts, where the unit decides; predictions out of
folds. "Bonett-Wright" is the textbook formula for SRCC on Fisher's z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lightning_aqa.metrics.jackknife import replicate
from lightning_aqa.metrics.levels import METRICS
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.metrics.uncertainty import Interval, interval

Array = NDArray[np.float64]
PROGRESS = Console(stderr=True)
TRIALS, FEWER = 1000, 300
SIZES, RHOS = (6, 8, 10, 12, 30, 104), (0.5, 0.8, 0.95, 0.99)
DESIGNS = (
    (6, 20, 0.6, 0.0, 0.4), (12, 20, 0.6, 0.0, 0.4), (36, 20, 0.6, 0.0, 0.4), (12, 20, 0.4, 0.3, 0.3),
    (30, 10, 0.4, 0.3, 0.3), (12, 12, 0.4, 0.4, 0.2),
)  # fmt: skip
UNITS: tuple[Unit, ...] = ("clip", "system", "prompt", "system+prompt")
RHO = 0.8
FOLDS = ((36, 10, 1.0), (104, 10, 1.0), (104, 40, 1.0), (104, 10, 0.0), (413, 40, 1.0))


def true_values(rho: float, variance: float = 1.0) -> dict[str, float]:
    """Return the metrics of a bivariate normal population."""
    ranks = {"SRCC": 6 / math.pi * math.asin(rho / 2), "KTAU": 2 / math.pi * math.asin(rho)}
    return {"MSE": 2 * (1 - rho) * variance, "LCC": rho, **ranks}


def pair(generator: np.random.Generator, n: int, rho: float) -> tuple[Array, Array]:
    """Return predictions and ratings of correlation rho."""
    y, noise = generator.normal(size=(2, n))
    return rho * y + math.sqrt(1 - rho**2) * noise, y


def bonett_wright(r: float, n: int) -> Interval:
    """Return the interval of Bonett and Wright (2000): Fisher's z with an error of sqrt((1 + r^2 / 2) / (n - 3))."""
    z, half = math.atanh(min(r, 1 - 1e-12)), 1.96 * math.sqrt((1 + r * r / 2) / (n - 3))
    return Interval(math.tanh(z - half), math.tanh(z + half))


def held(found: Sequence[Interval], true: float) -> str:
    """Write the share of intervals that hold the true value, and their median width."""
    share = np.mean([low <= true <= high for low, high in found])
    return f"{100 * share:.1f} ({np.median([high - low for low, high in found]):.2f})"


def normal_rows() -> Iterator[list[str]]:
    """Yield the rows of samples of a bivariate normal."""
    for n in SIZES:
        for rho in RHOS:
            found: dict[str, list[Interval]] = {name: [] for name in (*METRICS, "Bonett-Wright")}
            for seed in track(range(TRIALS), f"n = {n}, rho = {rho}", transient=True, console=PROGRESS):
                p, y = pair(np.random.default_rng(seed), n, rho)
                for metric, of in replicate(p[:, None], y[:, None], [""] * n).items():
                    found[metric].append(interval(of))
                    if metric == "SRCC":
                        found["Bonett-Wright"].append(bonett_wright(float(of.estimate[0]), n))
            true = true_values(rho)
            true["Bonett-Wright"] = true["SRCC"]
            yield [str(n), f"{rho:g}", *(held(intervals, true[name]) for name, intervals in found.items())]


def clustered_rows() -> Iterator[list[str]]:
    """Yield the rows of clips of systems and prompts: the target is new systems and new prompts."""
    for num_systems, num_prompts, *variances in DESIGNS:
        systems, prompts = (
            [f"{i:02}" for i in rows] for rows in np.divmod(np.arange(num_systems * num_prompts), num_prompts)
        )
        found: dict[Unit, dict[str, list[Interval]]] = {u: {m: [] for m in METRICS[:3]} for u in UNITS}
        for seed in track(range(FEWER), f"{num_systems} x {num_prompts}", transient=True, console=PROGRESS):
            generator = np.random.default_rng(seed)
            parts = [pair(generator, n, RHO) for n in (num_systems, num_prompts, len(systems))]
            rows = [np.array(systems, int), np.array(prompts, int), np.arange(len(systems))]
            p, y = (
                sum(math.sqrt(v) * part[side][of] for v, part, of in zip(variances, parts, rows, strict=True))
                for side in (0, 1)
            )
            for unit in UNITS:
                columns = (np.asarray(p)[:, None], np.asarray(y)[:, None])
                for metric, of in replicate(*columns, systems, prompts, unit=unit, metrics=METRICS[:3]).items():
                    found[unit][metric].append(interval(of))
        true = true_values(RHO, sum(variances))
        for unit, metrics in found.items():
            design = f"{num_systems} x {num_prompts}: " + ", ".join(f"{v:g}" for v in variances)
            yield [design, unit, *(held(intervals, true[metric]) for metric, intervals in metrics.items())]


def ridge(x_ND: Array, y_N: Array) -> Callable[[Array], Array]:
    """Fit a ridge regression."""
    centre, level = x_ND.mean(0), y_N.mean()
    centred = x_ND - centre
    weights = np.linalg.solve(centred.T @ centred + len(centre) / 2 * np.eye(len(centre)), centred.T @ (y_N - level))
    return lambda x: (x - centre) @ weights + level


def folded_rows() -> Iterator[list[str]]:
    """Yield the rows of out-of-fold predictions: the target is the same training on new clips."""
    for n, width, signal in FOLDS:
        weights = np.full(width, signal / math.sqrt(width))
        unseen = np.random.default_rng(10**6).normal(size=(4000, width))
        unseen_y = unseen @ weights + np.random.default_rng(10**6 + 1).normal(size=4000)
        found: dict[int, dict[str, list[Interval]]] = {k: {m: [] for m in METRICS[:3]} for k in (0, 5)}
        true: dict[str, list[float]] = {m: [] for m in METRICS[:3]}
        for seed in track(range(FEWER), f"{n} clips out of folds", transient=True, console=PROGRESS):
            generator = np.random.default_rng(seed)
            x = generator.normal(size=(n, width))
            y, fold = x @ weights + generator.normal(size=n), generator.permutation(np.arange(n) % 5)
            models = [ridge(x[fold != k], y[fold != k]) for k in range(5)]
            p = np.array([models[k](row[None])[0] for k, row in zip(fold, x, strict=True)])
            for metric, of in (
                replicate(models[0](unseen)[:, None], unseen_y[:, None], [""] * 4000, metrics=METRICS[:3]).items()
                if seed < FEWER // 3
                else ()
            ):
                true[metric].append(float(of.estimate[0]))
            for metric, of in replicate(p[:, None], y[:, None], [""] * n, metrics=METRICS[:3]).items():
                for folds, metrics in found.items():
                    metrics[metric].append(interval(of, folds=folds))
        for folds, metrics in found.items():
            cells = [held(intervals, float(np.mean(true[metric]))) for metric, intervals in metrics.items()]
            yield [f"{n} clips, {width} features, signal {signal:g}", "corrected" if folds else "as if fixed", *cells]


def show(title: str, header: Sequence[str], rows: Iterator[list[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, justify="left" if name in ("design", "unit", "interval") else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


def main() -> None:
    """Print the tables: percent of intervals that hold the true value, median width in brackets."""
    show(f"samples of a bivariate normal, {TRIALS} each", ("n", "LCC", *METRICS, "Bonett-Wright"), normal_rows())
    title = f"systems x prompts: variances of system, prompt, clip; {FEWER} samples each"
    show(title, ("design", "unit", *METRICS[:3]), clustered_rows())
    show(f"ridge regression out of 5 folds, {FEWER} samples each", ("design", "interval", *METRICS[:3]), folded_rows())


if __name__ == "__main__":
    main()
