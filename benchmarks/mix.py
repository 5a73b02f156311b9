"""Pooling corpora of different scales and panels, on simulated clips whose quality is known.

    python benchmarks/mix.py [--trials 20]

A clip has 24 features, its quality is a sum of them on 1 to 5. Corpus a (60 training clips) is rated on 1 to 5,
corpus b (300) on 0 to 100 and, in the second table, by stricter listeners who use 60 % of the scale; the clips of b are
better, and two features tell the corpora apart. Each way trains the same linear head for 300 steps.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_aqa.batch import Axis, Batch, Features
from lightning_aqa.data.mix_axes import AxisMap
from lightning_aqa.heads.base import Head
from lightning_aqa.heads.fitting import fit_scale
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.heads.per_corpus import PerCorpus
from lightning_aqa.metrics.correlation import srcc
from lightning_aqa.objectives.base import Objective
from lightning_aqa.objectives.bias_aware import BiasAware
from lightning_aqa.objectives.regression import Regression

Array = NDArray[np.float64]
WIDTH, STEPS, STEPS_PER_EPOCH = 24, 300, 10
OWN = Axis("q", "Quality", 1, 5)
SCALES = {"a": OWN, "b": Axis("q", "Quality", 0, 100)}
PANELS = {"panels alike": (0.0, 1.0), "panel of b stricter, and narrower": (-0.8, 0.6)}
"""Points that the panel of b gives less on 1 to 5, and the share of the scale that it uses."""


class Clips(NamedTuple):
    """Clips of a corpus: features, true quality on 1 to 5, mean ratings on the corpus's own scale."""

    corpus: str
    x: Array
    quality: Array
    rated: Array


def draw(rng: np.random.Generator, corpus: str, count: int, weights: Array, panel: tuple[float, float]) -> Clips:
    """Draw clips of a corpus; those of b are better by 0.5, and the first two features tell which corpus it is."""
    x = rng.normal(size=(count, WIDTH))
    x[:, :2] = 0.3 * x[:, :2] + (1.0 if corpus == "b" else -1.0 if corpus == "a" else 0.0)
    quality = np.clip(3 + x @ weights + (0.5 if corpus == "b" else 0.0), 1, 5)
    seen = quality + rng.normal(0, 0.35, count)
    if corpus == "b":
        shift, share = panel
        seen = 3 + shift + share * (seen - 3)
    return Clips(corpus, x, quality, np.clip(seen, 1, 5))


def train(clips: list[Clips], way: str) -> Head:
    """Train a head in one of the ways; ratings of b go to 0 to 100 first, as its files have them."""
    targets = []
    for one in clips:
        own = AxisMap.between(OWN, SCALES[one.corpus])
        common = AxisMap(OWN.name) if way == "raw" else AxisMap.between(SCALES[one.corpus], OWN)
        targets += [common(own(float(score))) for score in one.rated]
    names = [one.corpus for one in clips for _ in one.rated]
    features = as_features(np.concatenate([one.x for one in clips]))
    scores = torch.tensor(targets, dtype=torch.float32)[:, None]
    batch = Batch(torch.zeros(len(names), 0), torch.zeros(len(names)).long(), scores, names, names, names, names)
    axis = [OWN._replace(low=0, high=100)] if way == "raw" else [OWN]
    plain: Any = lambda *sizes: MLP(*sizes, hidden=[], dropout=0.0)  # noqa: E731
    head = PerCorpus(WIDTH, 1, axis, head=plain, corpora=["a", "b"]) if way == "per corpus" else plain(WIDTH, 1, axis)
    fit_scale(head, scores)
    head.fit_features([features])
    anchor = "a" if len(clips) > 1 else None
    objective: Objective = BiasAware(anchor=anchor, min_correlation=0.5) if way == "bias-aware" else Regression()
    descend(head.train(), features, batch, objective)
    return head.eval()


def descend(head: Head, features: Features, batch: Batch, objective: Objective) -> None:
    """Train on all clips at each step; ten steps are an epoch."""
    variance = float(head.scale_A.square())
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02, weight_decay=0.05)
    for step in range(STEPS):
        loss = objective.loss(head.forward_rows(features, batch), batch) / variance
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if isinstance(objective, BiasAware):
            if step % STEPS_PER_EPOCH == 0:
                objective.on_train_batch_end()
            if step % STEPS_PER_EPOCH == STEPS_PER_EPOCH - 1:
                objective.update()


def as_features(x: Array) -> Features:
    """Return vectors as features of one layer and one frame."""
    layers = torch.tensor(x, dtype=torch.float32)[:, None, None]
    return Features(layers, torch.ones(len(x), 1, dtype=torch.bool))


def trial(rng: np.random.Generator, panel: tuple[float, float], ways: dict[str, str]) -> list[list[float]]:
    """Return for each way: SRCC on a, on b, on both as one list, on a third corpus; RMSE on a, on its scale."""
    weights = rng.normal(size=WIDTH) * 0.9 / np.sqrt(WIDTH)
    trained = {name: draw(rng, name, count, weights, panel) for name, count in (("a", 60), ("b", 300))}
    tested = {name: draw(rng, name, 300, weights, panel) for name in ("a", "b", "c")}
    rows = []
    for way in ways:
        clips = [trained["a"]] if way == "a alone" else list(trained.values())
        head = train(clips, way)
        with torch.no_grad():
            found = {n: head(as_features(one.x)).scores[:, 0].double().numpy() for n, one in tested.items()}
        both = np.concatenate([found["a"], found["b"]]), np.concatenate([tested["a"].quality, tested["b"].quality])
        ranks = [srcc(found[name], tested[name].quality) for name in ("a", "b")]
        error = float(np.sqrt(np.mean((found["a"] - tested["a"].quality) ** 2)))
        rows.append([*ranks, srcc(*both), srcc(found["c"], tested["c"].quality), error])
    return rows


WAYS = {
    "a alone": "trained on a alone",
    "raw": "pooled, raw scores (`scale_map: none`)",
    "mapped": "scale map (`linear`)",
    "bias-aware": "scale map and `BiasAware`, anchor a",
    "per corpus": "scale map and `PerCorpus`",
}


def main() -> None:
    """Print a table per kind of panel; ± is 1.96 standard errors of the mean over the trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name, panel in PANELS.items():
        rng = np.random.default_rng(0)
        found = np.array([trial(rng, panel, WAYS) for _ in range(chosen.trials)])
        print(f"\n{name}\n")
        print(
            "| way | SRCC on a | SRCC on b | SRCC on both | SRCC on c, unseen | RMSE on a |\n|---|---|---|---|---|---|"
        )
        half = 1.96 * found.std(0, ddof=1) / np.sqrt(chosen.trials)
        for way, mean, wide in zip(WAYS.values(), found.mean(0), half, strict=True):
            print(f"| {way} | {' | '.join(f'{m:.3f} ± {w:.3f}' for m, w in zip(mean, wide, strict=True))} |")


if __name__ == "__main__":
    main()
