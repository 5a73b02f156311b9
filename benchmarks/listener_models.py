"""Learning from single ratings: the objective Listeners beside means and recovered targets, on panels with biases.

    python benchmarks/listener_models.py [--part lines|fit] [--replicates 16] [--panel NAME]
    python benchmarks/listener_models.py --ratings ratings.csv --audio clips [--axis overall] [--seeds 5]

Simulated listeners have an offset, a scale and a noise each; a panel says how many rate how many clips. With --ratings
five folds of your own clips are predicted by models that were not trained on them, and compared with plain means.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.special import stdtrit

from lightning_aqa.data.table import Table
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.metrics.correlation import srcc
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.listener_lines import fit_lines
from lightning_aqa.objectives.listener_ratings import SingleRatings
from lightning_aqa.objectives.listeners import Listeners
from lightning_aqa.objectives.regression import Regression
from lightning_aqa.training.feature_cache import FeatureCache

Array = NDArray[np.float64]
TEST = 60
EPOCHS = 40


class Panel(NamedTuple):
    """A simulated panel: training clips, listeners, ratings per clip, deviations of offsets and gains, noises."""

    clips: int
    listeners: int
    each: int
    offset: float
    gain: float
    noise: tuple[float, ...]
    blocks: int = 1


PANELS = {
    "equal": Panel(100, 20, 3, 0.0, 0.0, (0.7,)),
    "biased": Panel(100, 20, 3, 0.8, 0.2, (0.7,)),
    "biased, unlike": Panel(100, 20, 3, 0.8, 0.2, (0.3, 1.2)),
    "one rating a clip": Panel(100, 10, 1, 0.8, 0.0, (0.5,)),
    "no shared clips": Panel(100, 10, 2, 0.8, 0.0, (0.5,), blocks=5),
}
"""In the last one each fifth of the listeners rates a fifth of the clips of its own."""

ARMS: dict[str, tuple[str, Callable[[], Objective]]] = {
    "means": ("mean", lambda: Regression(space="standardised")),
    "recovered targets": ("recovered", lambda: Regression(space="standardised")),
    "Listeners, offset": ("mean", lambda: Listeners(gains=False, noises=False, space="standardised")),
    "Listeners, ratings alone": ("mean", lambda: Listeners(refit=False, space="standardised")),
    "Listeners": ("mean", lambda: Listeners(space="standardised")),
}


def draw(random: np.random.Generator, panel: Panel, quality: Array) -> tuple[SingleRatings, Array, Array, Array]:
    """Draw ratings of clips by a panel; return these, offsets, gains and noises."""
    offset, gain = (
        panel.offset * random.standard_normal(panel.listeners),
        panel.gain * random.standard_normal(panel.listeners),
    )
    noise = random.permutation(np.resize(panel.noise, panel.listeners))
    c, i = [], []
    for clip in range(panel.clips):
        block = clip * panel.blocks // panel.clips
        own = np.arange(panel.listeners)[np.arange(panel.listeners) * panel.blocks // panel.listeners == block]
        for who in random.permutation(own)[: panel.each]:
            c.append(clip)
            i.append(int(who))
    clips, who = np.array(c), np.array(i)
    q = quality[clips]
    y = 3 + q + offset[who] + gain[who] * q + noise[who] * random.standard_normal(len(who))
    return SingleRatings(clips, who, np.clip(np.round(y, 1), -2, 8)), offset, gain, noise


def lines(replicates: int) -> None:
    """Print how well offsets, gains and noises are recovered, beside predictions of known error."""
    print("| panel | error of the predictions | RMSE offset / deviation | LCC gain | noise: found / true, quietest |")
    print("|---|---|---|---|---|")
    for name, panel in PANELS.items():
        for error in (0.3, 0.8, math.inf):
            rows = []
            for seed in range(replicates):
                random = np.random.default_rng(seed)
                quality = random.standard_normal(panel.clips)
                ratings, offset, gain, noise = draw(random, panel, quality)
                p = 3 + quality + (0.0 if math.isinf(error) else error) * random.standard_normal(panel.clips)
                found = fit_lines(ratings, np.full(panel.clips, np.nan) if math.isinf(error) else p, panel.listeners)
                if found is None:
                    continue
                true = offset - offset.mean()
                miss = math.sqrt(np.mean((found.offset - found.offset.mean() - true) ** 2))
                r = np.corrcoef(found.gain, gain)[0, 1] if panel.gain and found.gain.any() else math.nan
                quiet = noise == noise.min()
                rows.append([miss, r, math.sqrt(found.noise[quiet].mean()) / noise.min()])
            told = "ratings alone" if math.isinf(error) else f"{error:g}"
            if not rows:
                print(f"| {name} | {told} | not fitted | | |")
                continue
            miss, r, ratio = np.mean(rows, axis=0)
            gained = "-" if math.isnan(r) else f"{r:.2f}"
            print(f"| {name} | {told} | {miss:.2f} / {panel.offset:g} | {gained} | {ratio:.2f} |")


def write_corpus(folder: Path, panel: Panel, seed: int) -> None:
    """Write clips whose quality is heard as noise, and the ratings of a panel; those of the test are the truth."""
    random = np.random.default_rng(seed)
    total = panel.clips + TEST
    quality, time = random.standard_normal(total), np.arange(8000) / 16000
    for n, q in enumerate(quality):
        tone = 0.1 * np.sin(2 * np.pi * random.uniform(150, 900) * time) * random.uniform(0.5, 1.5)
        noise = 0.02 * np.exp(-0.8 * q) * random.standard_normal(8000)
        soundfile.write(folder / f"c{n:03d}.wav", (tone + noise).clip(-1, 1), 16000)
    ratings = draw(random, panel, quality)[0]
    rows = [(f"c{c:03d}.wav", f"L{i}", y, "train") for c, i, y in zip(*ratings, strict=True)]
    rows += [(f"c{n:03d}.wav", "truth", round(3 + quality[n], 4), "test") for n in range(panel.clips, total)]
    with open(folder / "ratings.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "listener", "overall", "split"), *rows])


def learn(data: Table, objective: Objective, seed: int) -> AQAModule:
    """Train on the split ``train`` and predict the split ``test``."""
    L.seed_everything(seed, verbose=False)
    module = AQAModule(data.axes, head=lambda *sizes: MLP(*sizes, hidden=[64], dropout=0.2), freeze="all")
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False
    )
    trainer = L.Trainer(max_epochs=EPOCHS, accelerator="cpu", callbacks=[FeatureCache(), objective], **quiet)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    return module


def compare(found: dict[str, list[float]], title: str) -> None:
    """Print each arm and what it has more than means, with its 95 % interval over the repetitions."""
    for arm, values in found.items():
        gain = np.subtract(values, found["means"])
        half = float(stdtrit(len(gain) - 1, 0.975)) * gain.std(ddof=1) / math.sqrt(len(gain))
        told = "" if arm == "means" else f"{gain.mean():+.3f} [{gain.mean() - half:+.3f}, {gain.mean() + half:+.3f}]"
        print(f"| {title} | {arm} | {np.mean(values):.3f} | {told} |", flush=True)


def fit(replicates: int, panels: Sequence[str]) -> None:
    """Print what each way to learn from a panel is worth on clips that are new."""
    print(f"| panel | learned from | SRCC with the true quality, {TEST} new clips | more than means |")
    print("|---|---|---|---|")
    for name in panels:
        found: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for seed in range(replicates):
            with tempfile.TemporaryDirectory() as folder:
                write_corpus(Path(folder), PANELS[name], seed)
                for arm, (targets, objective) in ARMS.items():
                    data = Table(
                        f"{folder}/ratings.csv", axes={"overall": [-2, 8]}, batch_size=20, cache=f"{folder}/cache",
                        check="header", targets=targets,
                    )  # fmt: skip
                    module = learn(data, objective(), seed)
                    found[arm].append(module.results["test"]["utterance"]["overall"]["SRCC"])
        compare(found, name)


def real(ratings: str, audio: str, axis: str, scale: list[float], seeds: int) -> None:
    """Print the SRCC of predictions out of fold with plain means of all ratings, over seeds."""
    print("| ratings | learned from | SRCC with the mean ratings, out of fold | more than means |")
    print("|---|---|---|---|")
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(seeds):
            for arm, (targets, objective) in ARMS.items():
                out: dict[str, float] = {}
                for fold in range(5):
                    data = Table(
                        ratings, {axis: scale}, audio, folds=5, fold=fold, dev_fraction=0.0, batch_size=32, cache=cache,
                        check="header", targets=targets, seed=seed,
                    )  # fmt: skip
                    table = learn(data, objective(), seed).predictions["test"]
                    out |= dict(zip(table.ids, table.scores[:, 0].tolist(), strict=True))
                means = {
                    clip.id: clip.scores[axis]
                    for clip in Table(ratings, {axis: scale}, audio).manifest
                    if axis in clip.scores
                }
                ids = sorted(out.keys() & means.keys())
                found[arm].append(srcc(np.array([out[id_] for id_ in ids]), np.array([means[id_] for id_ in ids])))
    compare(found, Path(ratings).parent.name)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["lines", "fit"])
    parser.add_argument("--replicates", type=int, default=16)
    parser.add_argument("--panel", choices=list(PANELS), action="append")
    parser.add_argument("--ratings")
    parser.add_argument("--audio", default="clips")
    parser.add_argument("--axis", default="overall")
    parser.add_argument("--scale", type=float, nargs=2, default=[1.0, 5.0])
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if chosen.ratings:
        real(chosen.ratings, chosen.audio, chosen.axis, chosen.scale, chosen.seeds)
        return
    if chosen.part != "fit":
        lines(chosen.replicates)
    if chosen.part != "lines":
        fit(chosen.replicates, chosen.panel or list(PANELS))


if __name__ == "__main__":
    main()
