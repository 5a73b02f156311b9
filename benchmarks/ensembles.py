"""Measure what an ensemble gains, and that labels which say nothing give nothing: ``python benchmarks/ensembles.py``.

Members are ridge regressions on the features of one encoder each, out of five folds. Their mean, the ridge over them
(its weights chosen without the clips of a fold), for comparison a ridge whose weights have seen all labels, and one
model on the features of the best member, which learns what the mean of the members of each fold says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lightning_aqa.metrics.correlation import lcc, srcc
from lightning_aqa.metrics.jackknife import replicate
from lightning_aqa.metrics.stacking import combined, equal_weights, held_out_ridge, ridge_weights
from lightning_aqa.metrics.uncertainty import interval

Array = NDArray[np.float64]
TRIALS, FOLDS, WIDTH = 200, 5, 20


class Study(NamedTuple):
    """A study to simulate.

    Args:
        clips: How many.
        quality: How much of the quality each encoder's features hold, against noise of 1.
        shared: Share of the features' noise that encoders have in common.
    """

    clips: int
    quality: Sequence[float]
    shared: float = 0.0


def features(study: Study, y: Array, rng: np.random.Generator) -> list[Array]:
    """Return the features of each encoder, shape ``(N, D)``."""
    common = rng.normal(size=(study.clips, WIDTH))
    own = [rng.normal(size=(study.clips, WIDTH)) for _ in study.quality]
    directions = [rng.normal(size=WIDTH) / np.sqrt(WIDTH) for _ in study.quality]
    noise = [np.sqrt(study.shared) * common + np.sqrt(1 - study.shared) * x for x in own]
    return [x + q * y[:, None] * d for x, q, d in zip(noise, study.quality, directions, strict=True)]


def by_fold(x: Array, targets: Array, folds: NDArray[np.intp]) -> Array:
    """Return the predictions of all clips by a ridge regression without each fold, shape ``(F, N)`` as the targets."""
    found = np.empty(targets.shape)
    for fold, y in enumerate(targets):
        rest = folds != fold
        centre, mean = x[rest].mean(0), y[rest].mean()
        gram = (x[rest] - centre).T @ (x[rest] - centre) + 30 * np.eye(WIDTH)
        found[fold] = (x - centre) @ np.linalg.solve(gram, (x[rest] - centre).T @ (y[rest] - mean)) + mean
    return found


def out_of_fold(predictions: Array, folds: NDArray[np.intp]) -> Array:
    """Return the prediction of each clip by the model without its fold, shape ``(N,)``."""
    found: Array = predictions[folds, np.arange(len(folds))]
    return found


def trial(study: Study, rng: np.random.Generator, *, is_permuted: bool) -> dict[str, Array]:
    """Return the predictions of the members and of the ensembles, and the labels."""
    quality = rng.normal(size=study.clips)
    y, folds = quality + 0.5 * rng.normal(size=study.clips), rng.permutation(study.clips) % FOLDS
    labels = rng.permutation(y) if is_permuted else y
    encoders = features(study, quality, rng)
    said = np.array([by_fold(x, np.tile(labels, (FOLDS, 1)), folds) for x in encoders])
    members = np.array([out_of_fold(of, folds) for of in said])[:, :, None]
    best = encoders[int(np.argmin(((members[:, :, 0] - labels) ** 2).mean(1)))]
    targets, order = labels[:, None], folds.tolist()
    return {
        "labels": labels,
        **{f"member {m + 1}": of[:, 0] for m, of in enumerate(members)},
        "mean": combined(members, equal_weights(len(members), 1))[:, 0],
        "ridge": held_out_ridge(members, targets, order)[:, 0],
        "ridge, all labels seen": combined(members, ridge_weights(members, targets, order))[:, 0],
        "distilled": out_of_fold(by_fold(best, said.mean(0), folds), folds),
    }


def rows(study: Study, *, is_permuted: bool) -> Iterator[list[str]]:
    """Yield a row per predictor: SRCC, and how many 95 % intervals lie above and below 0."""
    rng = np.random.default_rng(0)
    found = [trial(study, rng, is_permuted=is_permuted) for _ in range(TRIALS)]
    for name in list(found[0])[1:]:
        values = [srcc(of[name], of["labels"]) for of in found]
        runs = [replicate(of[name][:, None], of["labels"][:, None], [""] * study.clips, metrics=["SRCC"])["SRCC"]
                for of in found]  # fmt: skip
        ends = np.array([interval(of, folds=FOLDS) for of in runs])
        error = np.std(values) / np.sqrt(TRIALS)
        above, below = (100 * np.mean(ends[:, 0] > 0), 100 * np.mean(ends[:, 1] < 0))
        near = np.mean([lcc(of[name], of["mean"]) for of in found])
        yield [name, f"{np.mean(values):+.3f} ± {error:.3f}", f"{above:.1f} %", f"{below:.1f} %", f"{near:.2f}"]


def main() -> None:
    """Print the tables."""
    console = Console(width=120)
    alike, different = Study(104, (0.9,) * 4, 0.3), Study(104, (1.4, 0.7, 0.3, 0.0))
    for title, study, is_permuted in (
        ("four encoders alike, 104 clips", alike, False),
        ("four encoders, the last knows nothing, 104 clips", different, False),
        ("the same, 30 clips", different._replace(clips=30), False),
        ("labels permuted, 104 clips", different, True),
        ("labels permuted, 30 clips", different._replace(clips=30), True),
    ):
        table = Table(
            "predictor", "SRCC", "interval above 0", "below 0", "LCC with mean", title=title, title_justify="left"
        )
        for row in rows(study, is_permuted=is_permuted):
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
