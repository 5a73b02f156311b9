"""Recovered quality against the mean rating, on simulated panels whose truth is known, and on ratings of your own.

    python benchmarks/listeners.py [--trials 200] [--ratings ratings.csv --axis overall]

With --ratings (columns file, listener and the axis), listeners are split at random into halves: what one half gives is
compared with the plain mean of the other half, which no recovery has touched.
"""

from __future__ import annotations

import argparse
import csv

import numpy as np

from lightning_aqa.data.listeners import recover
from lightning_aqa.metrics.correlation import srcc

SPREAD = (0.3, 0.5, 0.8, 1.2, 1.6)
PANELS = {
    "5 biased, unlike, all clips": (60, 5, 5, 0.5, SPREAD),
    "5 biased, unlike, 3 per clip": (60, 5, 3, 0.5, SPREAD),
    "5 biased, alike, all clips": (60, 5, 5, 0.5, (0.8,)),
    "5 unbiased, alike, all clips": (60, 5, 5, 0.0, (0.8,)),
    "5 unbiased, alike, 3 per clip": (60, 5, 3, 0.0, (0.8,)),
    "60 biased, unlike, 5 per clip": (200, 60, 5, 0.5, (0.4, 1.0)),
    "30 biased, alike, 3 of 30 clips": (30, 30, 3, 0.5, (0.7,)),
    "3 biased, alike, 2 of 12 clips": (12, 3, 2, 0.5, (0.7,)),
}
"""Clips, listeners, ratings per clip, deviation of the biases, inconsistencies that the listeners share out."""


def trial(
    rng: np.random.Generator, clips: int, listeners: int, each: int, bias: float, spread: tuple[float, ...]
) -> list[float]:
    """Return RMSE of mean and recovered, SRCC of both, and coverage; the truth has the panel's mean bias."""
    q, b, v = rng.normal(3, 0.8, clips), rng.normal(0, bias, listeners), rng.permutation(np.resize(spread, listeners))
    rows = [
        (str(c), str(i), q[c] + b[i] + v[i] * rng.normal())
        for c in range(clips)
        for i in rng.permutation(listeners)[:each]
    ]
    n = np.bincount([int(i) for _, i, _ in rows], minlength=listeners)
    truth, found = q + n @ b / n.sum(), recover(rows, [str(c) for c in range(clips)])
    errors = [np.sqrt(np.mean((values - truth) ** 2)) for values in (found.mean, found.quality)]
    ranks = [srcc(values, truth) for values in (found.mean, found.quality)]
    return [*errors, *ranks, float(np.mean(np.abs(found.quality - truth) <= found.half_width))]


def simulate(trials: int) -> None:
    """Print a line per panel; intervals of the differences are 1.96 standard errors over the trials, paired."""
    print("| panel | RMSE mean | recovered | difference | SRCC mean | recovered | difference | 95 % covers |")
    print("|---|---|---|---|---|---|---|---|")
    for name, panel in PANELS.items():
        rng = np.random.default_rng(0)
        found = np.array([trial(rng, *panel) for _ in range(trials)])
        cells = []
        for first in (0, 2):
            difference = found[:, first + 1] - found[:, first]
            half = 1.96 * difference.std(ddof=1) / np.sqrt(trials)
            means = found[:, first : first + 2].mean(0)
            cells += [f"{means[0]:.3f}", f"{means[1]:.3f}", f"{difference.mean():+.4f} ± {half:.4f}"]
        print(f"| {name} | {' | '.join(cells)} | {100 * found[:, 4].mean():.1f} % |")


def halves(rows: list[tuple[str, str, float]], draws: int = 50) -> None:
    """Print how well one half of the listeners, averaged or recovered, agrees with the mean of the other half."""
    rng, names, ids = np.random.default_rng(0), sorted({i for _, i, _ in rows}), sorted({c for c, _, _ in rows})
    found = []
    for _ in range(draws):
        one = set(rng.permutation(names)[: len(names) // 2].tolist())
        ours, other = (recover([row for row in rows if (row[1] in one) == side], ids) for side in (True, False))
        kept = np.isfinite(ours.mean) & np.isfinite(other.mean)
        found.append([srcc(values[kept], other.mean[kept]) for values in (ours.mean, ours.quality)])
    mean, recovered = np.mean(found, axis=0)
    print(
        f"{len(ids)} clips, {len(names)} listeners: SRCC with the mean of the other half {mean:.3f} of the mean, ",
        end="",
    )
    print(f"{recovered:.3f} recovered; better in {100 * np.mean(np.diff(found)[:, 0] > 0):.0f} % of {draws} splits")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--ratings")
    parser.add_argument("--axis", default="overall")
    chosen = parser.parse_args()
    if chosen.ratings is None:
        simulate(chosen.trials)
        return
    with open(chosen.ratings, newline="", encoding="utf-8") as file:
        found = [(row["file"], row["listener"], row[chosen.axis]) for row in csv.DictReader(file)]
    halves([(clip, listener, float(rating)) for clip, listener, rating in found if rating])


if __name__ == "__main__":
    main()
