"""Count how often the interval of a clip holds its rating: ``python benchmarks/clip_intervals.py``.

A ridge regression of ratings on features stands for a model; its deviation is that of a regression of its errors. Five
folds calibrate, the refit on all clips scores new ones, as ``fit`` and ``score`` do. The tables: numbers of clips and
features; heavy tails and errors that differ; domains; new systems; shifts, with what "unlike training" says of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lightning_aqa.metrics.conformal import ConformalCalibration, interval_coverage
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.trained_features import TrainedFeatures

Array = NDArray[np.float64]
TRIALS, FOLDS, NEW = 200, 5, 500
SCALE = [(-1e9, 1e9)]


class World(NamedTuple):
    """Clips to draw.

    Args:
        width: Features.
        noise: Deviation of the error that no model can know.
        is_uneven: Whether it grows with the first feature, from a half to twice.
        tails: Degrees of freedom of its Student t; 0 is normal.
        domains: Factor of the noise in each domain.
        systems: How many systems; 0 is none.
        of_system: Deviation of what is common to a system's clips.
    """

    width: int = 10
    noise: float = 0.5
    is_uneven: bool = False
    tails: int = 0
    domains: tuple[float, ...] = (1.0,)
    systems: int = 0
    of_system: float = 0.0


class Clips(NamedTuple):
    """Drawn clips."""

    x: Array
    y: Array
    domains: list[str]
    systems: list[str]


def draw(
    world: World, n: int, rng: np.random.Generator, weights: Array, shift: float = 0.0, bias: float = 0.0
) -> Clips:
    """Draw clips; a shift moves all features by so many deviations, a bias all ratings."""
    x = rng.normal(size=(n, world.width)) + shift
    noise = rng.standard_t(world.tails, n) if world.tails else rng.normal(size=n)
    domain = rng.integers(len(world.domains), size=n)
    size = world.noise * np.array(world.domains)[domain]
    if world.is_uneven:
        size = size * 2.0 ** np.clip(x[:, 0], -1, 1)
    system = np.arange(n) % max(world.systems, 1)
    common = rng.normal(size=max(world.systems, 1)) * world.of_system
    y = x @ weights + np.tanh(x[:, 0] * x[:, 1]) * 0.3 + size * noise + common[system] + bias
    names = [f"S{s}" for s in system.tolist()] if world.systems else [""] * n
    return Clips(x, y, [f"D{d}" for d in domain.tolist()], names)


def fitted(x: Array, y: Array, new: Array) -> tuple[Array, Array]:
    """Return scores and deviations of new clips by ridge regressions of ratings and of log errors."""

    def ridge(targets: Array, strength: float) -> Array:
        centred, mean = x - x.mean(0), targets.mean()
        kernel = centred @ centred.T + strength * np.eye(len(x))
        found: Array = (new - x.mean(0)) @ (centred.T @ np.linalg.solve(kernel, targets - mean)) + mean
        return found

    centred = x - x.mean(0)
    hat = centred @ np.linalg.solve(centred.T @ centred + np.eye(x.shape[1]), centred.T)
    left_out = (y - y.mean() - hat @ (y - y.mean())) / (1 - np.diag(hat) - 1 / len(x)).clip(1e-3)
    return ridge(y, 1.0), np.exp(np.clip(ridge(np.log(np.abs(left_out) + 0.05), len(x) / 2), -3, 3))


def table_of(clips: Clips, scores: Array, deviations: Array | None) -> Predictions:
    """Return one table."""
    ids = [f"{i:05d}" for i in range(len(scores))]
    spread = None if deviations is None else deviations[:, None]
    return Predictions(ids, clips.systems, clips.domains, clips.y[:, None], scores[:, None], None, spread)


def calibrated(train: Clips, is_scaled: bool, rng: np.random.Generator, by: str) -> ConformalCalibration:
    """Cross-validate and calibrate, as ``fit`` does; folds keep systems together where these are what is new."""
    units = np.array([int(s[1:]) for s in train.systems]) if by == "system" else np.arange(len(train.y))
    fold = rng.permutation(units.max() + 1)[units] % FOLDS
    scores, deviations = np.zeros(len(train.y)), np.ones(len(train.y))
    for k in range(FOLDS):
        scores[fold == k], deviations[fold == k] = fitted(train.x[fold != k], train.y[fold != k], train.x[fold == k])
    table = table_of(train, scores, deviations if is_scaled else None)
    return ConformalCalibration.of("test", ["y"], table, by_system=by == "system")


def one(
    world: World,
    n: int,
    rng: np.random.Generator,
    is_scaled: bool,
    by: str = "clip",
    shift: float = 0.0,
    bias: float = 0.0,
) -> dict[str, tuple[float, float]]:
    """Return coverage and width of new clips: of all, of each domain, of those that are like training."""
    weights = rng.normal(size=world.width) / np.sqrt(world.width)
    train = draw(world, n, rng, weights)
    of = calibrated(train, is_scaled, rng, by)
    new = draw(world, NEW, rng, weights, shift, bias)
    table = table_of(new, *fitted(train.x, train.y, new.x))
    factors = {name: of.factors(name) for name in {*new.domains, ""}}
    scores, deviations = table.scores, table.deviations
    ends = of.ends(scores, deviations, np.array([factors[d] for d in new.domains]), SCALE)[:, 0]
    everyone = of.ends(scores, deviations, np.array([factors[""]] * NEW), SCALE)[:, 0]
    groups = {"all": np.ones(NEW, bool)} | {d: np.array(new.domains) == d for d in sorted(set(new.domains))}
    found = {name: interval_coverage(ends[rows], new.y[rows])[1:] for name, rows in groups.items()}
    found |= {
        f"{name}, one for all": interval_coverage(everyone[rows], new.y[rows])[1:] for name, rows in groups.items()
    }
    if shift or bias:
        known = TrainedFeatures.of(train.x.astype(np.float32), [str(i) for i in range(n)])
        assert known is not None
        far = np.array([getattr(known.unlike(x), "times", 0.0) > 1 for x in new.x])
        found["unlike"] = (float(far.mean()), 0.0)
        found["like"] = interval_coverage(ends[~far], new.y[~far])[1:] if (~far).any() else (np.nan, np.nan)
    return found


def mean_of(world: World, n: int, is_scaled: bool, **more: object) -> dict[str, tuple[float, float]]:
    """Average over trials."""
    rng = np.random.default_rng(0)
    rows = [one(world, n, rng, is_scaled, **more) for _ in range(TRIALS)]  # type: ignore[arg-type]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: tuple(np.nanmean([row[name] for row in rows if name in row], axis=0)) for name in names}


def shown(found: tuple[float, float]) -> str:
    """Write coverage and width."""
    return f"{100 * found[0]:.1f} ({found[1]:.2f})"


def sizes() -> Iterator[list[str]]:
    for n, width in ((9, 3), (20, 3), (50, 10), (104, 10), (104, 80), (400, 10)):
        found = [mean_of(World(width), n, is_scaled)["all"] for is_scaled in (False, True)]
        yield [str(n), str(width), *map(shown, found)]


def errors() -> Iterator[list[str]]:
    worlds = {"normal, even": World(), "uneven": World(is_uneven=True), "Student t, 3": World(tails=3)}
    for name, world in worlds.items():
        yield [name, *(shown(mean_of(world, 200, is_scaled)["all"]) for is_scaled in (False, True))]


def domains() -> Iterator[list[str]]:
    world = World(domains=(0.5, 1.0, 2.0))
    for n in (30, 104, 400):
        found = mean_of(world, n, False)
        for rule, suffix in (("by domain", ""), ("one for all", ", one for all")):
            yield [str(n), rule, *(shown(found[f"{name}{suffix}"]) for name in ("D0", "D1", "D2"))]


def systems() -> Iterator[list[str]]:
    for count, of_system in ((12, 0.0), (12, 0.5), (36, 0.5)):
        world = World(systems=count, of_system=of_system)
        found = [mean_of(world, 10 * count, False, by=by)["all"] for by in ("clip", "system")]
        yield [str(count), f"{of_system:g}", *map(shown, found)]


def shifts() -> Iterator[list[str]]:
    for name, more in {
        "none": {"shift": 1e-9}, "features by 1": {"shift": 1.0}, "features by 2": {"shift": 2.0},
        "ratings by 0.5": {"bias": 0.5}, "ratings by 1": {"bias": 1.0},
    }.items():  # fmt: skip
        found = mean_of(World(), 200, True, **more)
        yield [name, shown(found["all"]), f"{100 * found['unlike'][0]:.0f} %", shown(found["like"])]


def main() -> None:
    """Print the tables."""
    console = Console(width=120)
    for title, columns, rows in (
        ("new clips of the same kind", ["clips", "features", "plain", "by deviation"], sizes()),
        ("200 clips", ["errors", "plain", "by deviation"], errors()),
        ("errors of .5, 1 and 2", ["clips", "rule", "D0", "D1", "D2"], domains()),
        ("clips of new systems, 10 each", ["systems", "of system", "by clips", "by systems"], systems()),
        ("200 clips, new ones shifted", ["shift", "held", "unlike", "held, of the others"], shifts()),
    ):
        table = Table(*columns, title=f"{title}: % held by 90 % intervals (mean width)", title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
