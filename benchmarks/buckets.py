"""Padding saved by buckets of like length, and its cost in what is learnt: ``python benchmarks/buckets.py``.

The lengths are those of 104 pieces of about 30 s and 1500 clips of 1 to 10 s. The clips to learn from are 1500 of 1 to
10 s whose simulated scores go with their length (correlation 0.7), the worst case for comparing clips of like length: a
linear head reads noisy features of the score, and what counts is its SRCC on 1000 new clips, mean over three seeds.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_aqa.data.loader import BATCH_SIZE
from lightning_aqa.data.samplers import MAX_PADDING, TrainingBatches
from lightning_aqa.metrics.correlation import srcc
from lightning_aqa.objectives.qamro import qamro_loss

NUM_SHORT, NUM_NEW, NUM_FEATURES, NUM_EPOCHS, SEEDS = 1500, 1000, 16, 8, range(3)


def padding(batches: TrainingBatches) -> float:
    """Return padded seconds over real seconds of an epoch."""
    read = list(batches)
    padded = sum(len(batch) * max(window.seconds for window in batch) for batch in read)
    return padded / sum(window.seconds for batch in read for window in batch)


def print_padding() -> None:
    """Print what padding costs, with any clips in a batch and as is the default."""
    random = np.random.default_rng(0)
    lengths = np.concatenate([random.uniform(29.0, 30.1, 104), random.uniform(1, 10, NUM_SHORT)])
    build = partial(TrainingBatches, lengths.tolist(), window_seconds=None, seed=0)
    print("Padded seconds over real seconds, 104 pieces of about 30 s and 1500 clips of 1 to 10 s.")
    print(f"{'':22}{'shuffled':>10}{'default':>10}{'batches':>10}{'width':>8}")
    for size in (16, 32, 64):
        ours = build(batch_size=size)
        free = padding(build(batch_size=size, max_padding=None))
        print(f"{f'batch_size={size}':22}{free:>10.2f}{padding(ours):>10.2f}{len(ours):>10}{ours.width:>8g}")
    for seconds in (120.0, 400.0):
        ours = build(batch_size=None, batch_seconds=seconds)
        print(f"{f'batch_seconds={seconds:g}':22}{'':>10}{padding(ours):>10.2f}{len(ours):>10}{ours.width:>8g}")


def make_clips(seed: int) -> tuple[NDArray[np.float64], Tensor, Tensor]:
    """Return lengths in seconds, features and scores of clips whose scores go with their length."""
    random = np.random.default_rng(seed)
    num_clips = NUM_SHORT + NUM_NEW
    seconds_N = random.uniform(1, 10, num_clips)
    quality_N = 0.7 * (seconds_N - 5.5) / 2.6 + 0.51**0.5 * random.standard_normal(num_clips)
    directions_D = random.standard_normal(NUM_FEATURES)
    features_ND = quality_N[:, None] * directions_D + 4 * random.standard_normal((num_clips, NUM_FEATURES))
    return seconds_N, torch.from_numpy(features_ND).float(), torch.from_numpy(5.5 + 1.5 * quality_N).float()


def learn(max_padding: float | None, huber: float, seed: int) -> float:
    """Train a linear head, and return its SRCC on new clips."""
    seconds_N, features_ND, scores_N = make_clips(seed)
    lengths = seconds_N[:NUM_SHORT].tolist()
    batches = TrainingBatches(lengths, BATCH_SIZE, None, seed, max_padding=max_padding)
    torch.manual_seed(seed)
    head = torch.nn.Linear(NUM_FEATURES, 1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for epoch in range(NUM_EPOCHS):
        batches.set_epoch(epoch)
        for windows in batches:
            rows = torch.tensor([window.clip for window in windows])
            predicted_B = 5.5 + head(features_ND[rows])[:, 0]
            loss = qamro_loss(predicted_B, scores_N[rows])
            loss = loss + huber * torch.nn.functional.huber_loss(predicted_B, scores_N[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        predicted_N = head(features_ND[NUM_SHORT:])[:, 0]
    return float(srcc(predicted_N.double().numpy(), scores_N[NUM_SHORT:].double().numpy()))


def print_learning() -> None:
    """Print the SRCC that batches of any clips and of like clips lead to."""
    print(f"\nSRCC on new clips after {NUM_EPOCHS} epochs, scores going with length, mean over {len(SEEDS)} seeds.")
    print(f"{'':22}{'shuffled':>10}{'default':>10}")
    for objectives, huber in (("QAMRO", 0.0), ("Huber + QAMRO", 1.0)):
        found = [[learn(allowed, huber, seed) for seed in SEEDS] for allowed in (None, MAX_PADDING)]
        print(f"{objectives:22}" + "".join(f"{np.mean(values):>10.3f}" for values in found))


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    print_padding()
    print_learning()


if __name__ == "__main__":
    main()
