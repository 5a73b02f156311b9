"""Plan simulated clips of which listeners named the better of two, as a table of pairs beside a folder of audio."""

from __future__ import annotations

import math
from itertools import combinations

from lightning_aqa.data.synthesis.musiceval_plan import SPLITS, answer
from lightning_aqa.data.synthesis.recordings import CorpusPlan, Recording, Settings, draw_systems, rng_for

FOLDER, TABLE = "clips", "pairs.csv"
COLUMNS = ("clip_a", "clip_b", "winner", "listener", "split", "prompt", "system_a", "system_b")
NUM_LISTENERS = 14
JUDGED = 3
"""Pairs that each clip is in, on average."""
NOISE, CLOSE = 0.4, 0.15
"""Deviation of what a listener hears of a clip, and what they hear as no difference, in points of 1-5."""


def plan_pairs(settings: Settings) -> CorpusPlan:
    """Plan music of text-to-music systems, and listeners who heard two answers to one prompt, in random order.

    They hear the true ``MI`` of each clip with a normal error, and so err often where two are close.
    """
    systems = draw_systems(settings.num_systems, rng_for(settings.seed, "systems"))
    by_prompt: dict[int, list[Recording]] = {}
    for index in range(settings.num_clips):
        prompt, number = divmod(index, settings.num_systems)
        path = f"{FOLDER}/S{number + 1:03d}_P{prompt + 1:03d}.wav"
        rng = rng_for(settings.seed, "clip", path)
        named = f"P{prompt + 1:03d}", f"S{number + 1:03d}", SPLITS[prompt % len(SPLITS)]
        by_prompt.setdefault(prompt, []).append(answer(settings, systems[number], path, *named, rng))
    rows = [row for prompt, clips in by_prompt.items() for row in _judged(settings, prompt, clips)]
    table = "".join(",".join(row) + "\n" for row in [COLUMNS, *rows])
    return CorpusPlan([clip for clips in by_prompt.values() for clip in clips], {TABLE: table})


def _judged(settings: Settings, prompt: int, clips: list[Recording]) -> list[tuple[str, ...]]:
    """Return rows of the table for answers to one prompt."""
    rng = rng_for(settings.seed, "pairs", str(prompt))
    both = list(combinations(clips, 2))
    rows = []
    for k in rng.permutation(len(both))[: len(clips) * JUDGED // 2].tolist():
        a, b = both[k] if rng.random() < 0.5 else both[k][::-1]
        listener = int(rng.integers(NUM_LISTENERS))
        heard = a.truth()["MI"] - b.truth()["MI"] + math.sqrt(2) * NOISE * float(rng.standard_normal())
        winner = "tie" if abs(heard) < CLOSE else "a" if heard > 0 else "b"
        names = [clip.path.removeprefix(f"{FOLDER}/") for clip in (a, b)]
        rows.append((*names, winner, f"L{listener + 1:02d}", a.split, f"P{prompt + 1:03d}", a.system, b.system))
    return rows
