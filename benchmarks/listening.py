"""Prediction-powered means of systems: coverage in simulations, and a replay of real ratings with fewer of them.

    python benchmarks/listening.py [--trials 400]
    python benchmarks/listening.py --replay RATINGS.jsonl [--draws 20]

RATINGS.jsonl is ``audiomos2025_track2_human_annotations.jsonl`` of AES-Natural: 36 systems of 85 clips, ten ratings
each, on four axes. A draw keeps a share of the ratings; the target is the mean of the full set, so that ratings and
clips are a finite population. A pair of systems is sure where the full set itself tells it apart (all pairs at once,
5 %); the order is the same where no sure pair is the other way round. Listeners have no names there: each rating is one
of somebody else.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.metrics.correlation import ktau, srcc
from lightning_aqa.metrics.next_rating import next_clips
from lightning_aqa.metrics.prediction_powered import GivenRatings, PoweredMeans, quantiles, system_means
from lightning_aqa.metrics.system_ranks import rank_systems

Array = NDArray[np.float64]
DESIGNS = (
    (2, 20, 2, 6, 3, 0.8), (3, 20, 2, 6, 3, 0.8), (6, 20, 2, 6, 3, 0.8), (2, 20, 6, 6, 3, 0.8), (3, 20, 6, 3, 2, 0.8),
    (6, 20, 3, 2, 2, 0.8), (6, 40, 10, 8, 1, 0.8), (10, 40, 15, 12, 3, 0.8), (10, 40, 15, 12, 3, 0.0),
)  # fmt: skip
"""Systems, clips of each, rated ones, listeners, ratings per rated clip, correlation of predictor and quality."""


def panel(
    rng: np.random.Generator, S: int, N: int, n: int, L: int, per: int, rho: float
) -> tuple[GivenRatings, Array, Array]:
    """Return ratings and predictions, the true means of the systems, and those of their clips.

    Clips vary by .6 (by system, log-normally by .4), listeners by .5, their views of a system by .3, a rating by .7.
    """
    mu, spread = rng.normal(3, 0.5, S), 0.6 * np.exp(rng.normal(0, 0.4, S))
    unit = rng.normal(size=(S, N))
    quality = mu[:, None] + unit * spread[:, None]
    level, view = rng.normal(0, 0.5, L), rng.normal(0, 0.3, (L, S))
    predicted = rho * unit + np.sqrt(1 - rho**2) * rng.normal(size=(S, N))
    rows = [
        (quality[s, c] + level[i] + view[i, s] + rng.normal(0, 0.7), s * N + c, i)
        for s in range(S)
        for c in rng.permutation(N)[:n]
        for i in rng.permutation(L)[:per]
    ]
    values, clips, listeners = (np.array(column) for column in zip(*rows, strict=True))
    given = GivenRatings(values, clips, listeners, np.repeat(np.arange(S), N), predicted.ravel())
    return given, mu, quality.mean(1)


def simulate(trials: int) -> None:
    """Print a line per design; the standard error of a coverage of 95 % is about 1.1 / sqrt(trials * systems)."""
    print("| systems | clips, rated | listeners, per clip | predictor | means cover | ± | without | ± | these clips | "
          "differences | any wrong rank |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for design in DESIGNS:
        rng, found = np.random.default_rng(0), []
        for _ in range(trials):
            given, mu, of_clips = panel(rng, *design)
            one, two = system_means(given), system_means(given, use_predictions=False)
            three = system_means(given, target="clips")
            value, error, freedom = one.difference(0, 1)
            half = float(quantiles(np.array(freedom), 0.95)) * error
            ranks, true = rank_systems(one, num_draws=2000), 1 + (mu[:, None] < mu).sum(1)
            wrong = float(((true < ranks.best) | (true > ranks.worst)).any())
            found.append([*_held(one, mu), *_held(two, mu), _held(three, of_clips)[0],
                          float(abs(value - mu[0] + mu[1]) <= half), wrong])  # fmt: skip
        m = np.mean(found, axis=0)
        w = np.median(found, axis=0)
        S, N, n, L, per, rho = design
        print(f"| {S} | {N}, {n} | {L}, {per} | {rho:.1f} | {100 * m[0]:.1f} % | {w[1]:.2f} | {100 * m[2]:.1f} % | "
              f"{w[3]:.2f} | {100 * m[4]:.1f} % | {100 * m[5]:.1f} % | {100 * m[6]:.1f} % |", flush=True)  # fmt: skip


def _held(found: PoweredMeans, truth: Array) -> tuple[float, float]:
    """Return the share of systems whose interval holds the truth, and the mean half-width."""
    halves = found.half_widths()
    return float(np.mean(np.abs(found.means - truth) <= halves)), float(halves.mean())


class Replay:
    """Real ratings of one axis, of which some are kept.

    Args:
        values: Shape ``(N, K)``.
        systems: System of each clip, shape ``(N,)``.
        others: Mean of the other axes per clip, as a real predictor has it: related, with errors of its own.
    """

    def __init__(self, values: Array, systems: NDArray[np.intp], others: Array) -> None:
        self.values, self.systems, self.others = values, systems, others
        self.truth = np.bincount(systems, values.mean(1)) / np.bincount(systems)
        self.sure = rank_systems(system_means(self.given(np.ones(values.shape, np.bool_), None))).p_adjusted < 0.05

    def given(self, kept: NDArray[np.bool_], predictions: Array | None) -> GivenRatings:
        """Return the ratings that are kept, each of a listener of its own."""
        clips, places = np.nonzero(kept)
        return GivenRatings(self.values[clips, places], clips, np.arange(len(clips)), self.systems, predictions)

    def predictor(self, name: str, rng: np.random.Generator) -> Array | None:
        """Return predictions: none, noise, those of other axes, or simulated ones that correlate .8 within systems."""
        quality = self.values.mean(1)
        within = quality - self.truth[self.systems]
        if name == "noise":
            return rng.normal(size=len(quality))
        if name == "good, simulated":
            return np.asarray(quality + 0.75 * within.std() * rng.normal(size=len(quality)))
        return self.others if name == "other axes" else None

    def random(self, num: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Keep ratings at random."""
        kept = np.zeros(self.values.size, np.bool_)
        kept[rng.permutation(self.values.size)[:num]] = True
        return kept.reshape(self.values.shape)

    def whole_clips(self, num: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Keep all ratings of some clips, as many of each system."""
        kept = np.zeros(self.values.shape, np.bool_)
        each = num // (self.values.shape[1] * len(self.truth))
        for s in range(len(self.truth)):
            kept[rng.permutation(np.flatnonzero(self.systems == s))[:each]] = True
        return kept

    def next(self, num: int, rng: np.random.Generator, predictions: Array | None) -> NDArray[np.bool_]:
        """Keep what ``next_clips`` asks for, ten per system at random first; what is asked is any rating left."""
        kept = np.zeros(self.values.shape, np.bool_)
        places = rng.permuted(np.tile(np.arange(self.values.shape[1]), (len(self.values), 1)), axis=1)
        for s in range(len(self.truth)):
            first = rng.permutation(np.flatnonzero(self.systems == s))[:5]
            kept[first[:, None], places[first][:, :2]] = True
        while (missing := num - int(kept.sum())) > 0:
            given = self.given(kept, predictions)
            asked = next_clips(
                given, min(missing, max(300, num // 8)), most=10, once=False, seed=int(rng.integers(2**31))
            )
            for of in asked:
                clip = of.clips[0]
                kept[clip, places[clip, int(kept[clip].sum())]] = True
        return kept


def replay(path: str, draws: int) -> None:
    """Print a line per share, design and predictor, over all axes."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    names, systems = np.unique([row["data_path"].split("-")[2] for row in rows], return_inverse=True)
    axes = [name for name in rows[0] if name != "data_path"]
    table = {axis: np.array([row[axis] for row in rows], np.float64) for axis in axes}
    print(f"{len(rows)} clips, {len(names)} systems, axes {', '.join(axes)}; {draws} draws each")
    print("| ratings kept | which | predictor | full means covered | ± | SRCC | KTAU | sure order kept | sure, wrong |")
    print("|---|---|---|---|---|---|---|---|---|")
    others = {axis: np.mean([table[other].mean(1) for other in axes if other != axis], axis=0) for axis in axes}
    full = [Replay(table[axis], systems.astype(np.intp), others[axis]) for axis in axes]
    for share in (0.1, 0.25, 0.5):
        for design in ("random", "whole clips", "next"):
            for predictor in ("none", "noise", "other axes", "good, simulated"):
                if design == "random" and predictor == "other axes":
                    continue
                _line(full, share, design, predictor, draws)


def _line(full: list[Replay], share: float, design: str, predictor: str, draws: int) -> None:
    found = []
    for of in full:
        rng, num = np.random.default_rng(0), int(share * of.values.size)
        for draw in range(draws):
            f = of.predictor(predictor, np.random.default_rng([1, draw]))  # so that all keep the same ratings
            kept = of.next(num, rng, f) if design == "next" else (
                of.random(num, rng) if design == "random" else of.whole_clips(num, rng)
            )  # fmt: skip
            means = system_means(of.given(kept, f), target="clips", full=of.values.shape[1])
            gap, true_gap = (x[:, None] - x for x in (means.means, of.truth))
            swapped = (gap * true_gap < 0) & of.sure
            wrong = (gap * true_gap < 0) & (rank_systems(means, num_draws=2000).p_adjusted < 0.05)
            found.append([*_held(means, of.truth), srcc(means.means, of.truth), ktau(means.means, of.truth),
                          1 - swapped.sum() / of.sure.sum(), wrong.sum() / 2])  # fmt: skip
    m = np.mean(found, axis=0)
    print(f"| {100 * share:g} % | {design} | {predictor} | {100 * m[0]:.1f} % | {m[1]:.3f} | {m[2]:.3f} | {m[3]:.3f} | "
          f"{100 * m[4]:.2f} % | {m[5]:.2f} |", flush=True)  # fmt: skip


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--replay")
    parser.add_argument("--draws", type=int, default=20)
    chosen = parser.parse_args()
    if chosen.replay:
        replay(chosen.replay, chosen.draws)
    else:
        simulate(chosen.trials)


if __name__ == "__main__":
    main()
