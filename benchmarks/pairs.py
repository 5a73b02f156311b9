"""Pairs by simulated listeners on a known scale: the scale, what pairs and ratings are worth together, the intervals.

    python benchmarks/pairs.py [--part scale|fit|coverage] [--replicates 16] [--trials 100]

The listeners are Thurstone's: each hears a clip's quality with a normal error of its own, prefers the clip that it
hears as better, and calls a tie where both are close. The model that is fitted, Davidson's, is another one.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from lightning_aqa.data.pair_table import PairTable
from lightning_aqa.data.table import Table
from lightning_aqa.metrics.correlation import lcc
from lightning_aqa.metrics.preferences import JudgedPair, evaluate_pairs
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.bradley_terry import BradleyTerry, bradley_terry_loss
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.training.feature_cache import FeatureCache
from lightning_aqa.utils.davidson import fit_link, probabilities

Array = NDArray[np.float64]
FRACTIONS = {"train": 100, "test": 60}
RATED, COMPARED = 80, 150
"""Ratings and pairs to learn from."""
STEPS = 150
BALANCE = RATED / (2 * 1.1) / COMPARED
"""Weight of the squared error beside that of the pairs, as likelihood has it: a term is a mean over its judgments, and
an error of variance 1.1 (the listener's, and rounding) counts half its square over that."""


def listen(random: np.random.Generator, a: Array, b: Array, close: float = 0.0) -> NDArray[np.intp]:
    """Return 0 where the first clip is preferred, 1 where the second one is, 2 for a tie, per pair of qualities."""
    heard = a - b + math.sqrt(2) * random.standard_normal(len(a))
    return np.where(np.abs(heard) < close, 2, np.where(heard > 0, 0, 1))


def unit_of(close: float) -> float:
    """Return the log-odds per unit of quality that many listeners' judgments of known clips are fitted best by."""
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 200_000))
    return fit_link(a - b, listen(random, a, b, close), np.ones(len(a)))[0]


def strengths(pairs: NDArray[np.intp], outcomes: NDArray[np.intp], clips: int) -> tuple[Array, float]:
    """Fit a strength to each clip and the tie parameter by the loss of the objective, with a weak prior."""
    free = torch.zeros(clips + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=300, line_search_fn="strong_wolfe")
    rows, won = torch.from_numpy(pairs), torch.from_numpy(outcomes)
    has_ties = bool((won == 2).any())

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        tie = free[-1].exp() if has_ties else 0.0
        loss = bradley_terry_loss(free[rows[:, 0]] - free[rows[:, 1]], won, tie=tie)
        loss = loss + (free**2).sum() / (18 * len(won))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = free.detach().numpy()
    return found[:-1] - found[:-1].mean(), math.exp(found[-1]) if has_ties else 0.0


def scale(trials: int) -> None:
    """Print how well a known scale is recovered from its pairs alone."""
    print("| clips | judgments | ties | LCC with the scale | unit: found / expected | RMSE of the scale | ties found |")
    print("|---|---|---|---|---|---|---|")
    for clips, count, close in ((6, 60, 0.0), (20, 200, 0.0), (20, 1000, 0.0), (20, 1000, 0.5), (50, 5000, 0.5)):
        rows = []
        for trial in range(max(trials // 5, 10)):
            random = np.random.default_rng(trial)
            quality = random.standard_normal(clips)
            pairs = np.array([random.choice(clips, 2, replace=False) for _ in range(count)])
            outcomes = listen(random, quality[pairs[:, 0]], quality[pairs[:, 1]], close)
            found, tie = strengths(pairs, outcomes, clips)
            centred, unit = quality - quality.mean(), unit_of(close)
            odds = found[pairs[:, 0]] - found[pairs[:, 1]]
            expected = probabilities(odds, tie)[:, 2].mean()
            error = found / unit - centred
            rows.append([lcc(found, quality), found @ centred / (centred @ centred) / unit, (error**2).mean() ** 0.5,
                         (outcomes == 2).mean(), expected])  # fmt: skip
        r, ratio, rmse, ties, expected = np.mean(rows, axis=0)
        spread = np.std([row[1] for row in rows], ddof=1)
        told = f"{expected:.3f}" if close else "-"
        print(f"| {clips} | {count} | {ties:.3f} | {r:.3f} | {ratio:.2f} ± {spread:.2f} | {rmse:.3f} | {told} |")


def write_corpus(folder: Path, seed: int) -> None:
    """Write clips whose quality is heard as noise, ratings of some and pairs of all training clips."""
    random = np.random.default_rng(seed)
    total = sum(FRACTIONS.values())
    quality, time = random.standard_normal(total), np.arange(8000) / 16000
    for i, q in enumerate(quality):
        tone = 0.1 * np.sin(2 * np.pi * random.uniform(150, 900) * time) * random.uniform(0.5, 1.5)
        noise = 0.02 * np.exp(-0.8 * q) * random.standard_normal(8000)
        soundfile.write(folder / f"c{i:03d}.wav", (tone + noise).clip(-1, 1), 16000)
    train = FRACTIONS["train"]
    heard = np.clip(np.round(3 + quality[:RATED] + random.standard_normal(RATED)), 1, 5)  # one rating of each
    rows = [(f"c{i:03d}.wav", score, "train") for i, score in enumerate(heard)]
    rows += [(f"c{i:03d}.wav", round(min(max(3 + quality[i], 0), 6), 4), "test") for i in range(train, total)]
    _write(folder / "ratings.csv", ("file", "overall", "split"), rows)
    pairs = np.array([random.choice(train, 2, replace=False) for _ in range(COMPARED)])
    outcomes = listen(random, quality[pairs[:, 0]], quality[pairs[:, 1]], 0.3)
    told = [(f"c{a:03d}.wav", f"c{b:03d}.wav", ("a", "b", "tie")[won], "train")
            for (a, b), won in zip(pairs.tolist(), outcomes.tolist(), strict=True)]  # fmt: skip
    _write(folder / "pairs.csv", ("clip_a", "clip_b", "winner", "split"), told)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def arms(folder: Path) -> Iterator[tuple[str, Table, list[Objective]]]:
    """Yield the three ways to learn: from what data, by which objectives."""
    ratings, pairs, axes = str(folder / "ratings.csv"), str(folder / "pairs.csv"), {"overall": [0.0, 6.0]}
    loading: dict[str, Any] = {"axes": axes, "batch_size": 20, "cache": str(folder / "cache"), "check": "header"}
    yield "ratings", Table(ratings, **loading), [Regression()]
    yield "pairs", PairTable(pairs, ratings, **loading), [BradleyTerry()]
    yield "both", PairTable(pairs, ratings, **loading), [Regression(weight=BALANCE), BradleyTerry()]


def learn(data: Table, objectives: Sequence[Objective], seed: int) -> AQAModule:
    """Train on the split ``train`` and predict the split ``test``."""
    L.seed_everything(seed, verbose=False)
    module = AQAModule(data.axes, freeze="all")
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False
    )
    trainer = L.Trainer(
        max_epochs=-1, max_steps=STEPS, accelerator="cpu", callbacks=[FeatureCache(), *objectives], **quiet
    )
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    return module


def fit(replicates: int) -> None:
    """Print what ratings, pairs, and both are worth on clips that are new."""
    found: dict[str, list[float]] = {"ratings": [], "pairs": [], "both": []}
    slopes = []
    for seed in range(replicates):
        with tempfile.TemporaryDirectory() as name:
            write_corpus(Path(name), seed)
            for arm, data, objectives in arms(Path(name)):
                module = learn(data, objectives, seed)
                found[arm].append(module.results["test"]["utterance"]["overall"]["SRCC"])
            assert module.pair_link is not None
            slopes.append(module.pair_link.slopes[0])
    print(f"| learned from | SRCC with the true quality, {FRACTIONS['test']} new clips | both less this one |")
    print("|---|---|---|")
    for arm, values in found.items():
        gain = np.subtract(found["both"], values)
        half = float(stdtrit(replicates - 1, 0.975)) * gain.std(ddof=1) / math.sqrt(replicates)
        told = "" if arm == "both" else f"{gain.mean():+.3f} [{gain.mean() - half:+.3f}, {gain.mean() + half:+.3f}]"
        print(f"| {arm} | {np.mean(values):.3f} | {told} |")
    print(
        f"\nSlope of the pairs beside ratings: {np.mean(slopes):.2f} ± {np.std(slopes, ddof=1):.2f} log-odds per point"
    )


def judged(random: np.random.Generator, clips: int, pairs: int, stated: float) -> list[JudgedPair]:
    """Judge pairs of new clips, of which the scores err by clip; disjoint ones where each clip is in one pair."""
    quality = random.standard_normal(clips)
    score = quality + 0.7 * random.standard_normal(clips)
    chosen = (
        np.arange(clips).reshape(-1, 2)
        if 2 * pairs == clips
        else np.array([random.choice(clips, 2, replace=False) for _ in range(pairs)])
    )
    outcomes = listen(random, quality[chosen[:, 0]], quality[chosen[:, 1]])
    odds = probabilities(stated * (score[chosen[:, 0]] - score[chosen[:, 1]]), 0.0)
    return [
        JudgedPair(f"c{a}", f"c{b}", "q", "a" if won == 0 else "b", "", 1.0, score[a], score[b], *p)
        for (a, b), won, p in zip(chosen.tolist(), outcomes.tolist(), odds.tolist(), strict=True)
    ]


def coverage(trials: int) -> None:
    """Print how often the intervals hold the value on all clips of the kind, beside intervals that draw pairs alone."""
    known = judged(np.random.default_rng(0), 4000, 50_000, 1.0)
    gaps, won = np.array([[row.score_a - row.score_b, row.winner == "b"] for row in known]).T
    exact = fit_link(gaps, won.astype(np.intp), np.ones(len(gaps)))[0]
    print("| clips | pairs | probabilities | accuracy | width | were pairs drawn alone | log loss | ECE |")
    print("|---|---|---|---|---|---|---|---|")
    for stated, kind in ((exact, "about right"), (4.0, "too sure")):
        random = np.random.default_rng(1)
        many = [evaluate_pairs(judged(random, 4000, 2000, stated), ["q"], with_intervals=False)["q"] for _ in range(60)]
        true = {metric: float(np.mean([entry[metric] for entry in many])) for metric in ("accuracy", "log_loss", "ECE")}
        for clips, pairs in ((4, 2), (6, 3), (6, 6), (12, 6), (20, 100), (60, 100), (60, 1000), (200, 100)):
            random, inside, widths, plain = np.random.default_rng(clips + pairs), [], [], []
            for _ in range(trials):
                entry = evaluate_pairs(judged(random, clips, pairs, stated), ["q"])["q"]
                inside.append([low <= true[m] <= high for m, (low, high) in entry["ci"].items()])
                widths.append(np.diff(entry["ci"]["accuracy"])[0])
                share = entry["accuracy"]
                half = 1.96 * math.sqrt(share * (1 - share) / pairs)
                plain.append(abs(share - true["accuracy"]) <= half)
            held = np.mean(inside, axis=0)
            print(f"| {clips} | {pairs} | {kind} | {held[0]:.3f} | {np.mean(widths):.2f} | {np.mean(plain):.3f} | "
                  + (f"{held[1]:.3f} | {held[2]:.3f} |" if pairs >= 100 else "- | - |"))  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=("scale", "fit", "coverage"))
    parser.add_argument("--replicates", type=int, default=16)
    parser.add_argument("--trials", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    for name, part, size in (("scale", scale, args.trials), ("fit", fit, args.replicates),
                             ("coverage", coverage, args.trials)):  # fmt: skip
        if args.part in (None, name):
            part(size)
            print()


if __name__ == "__main__":
    main()
