"""Promises of every corpus, each as a check of one that is built anew; ``lightning-aqa check`` prints them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip
from lightning_aqa.utils.contracts import require

Build = Callable[[], AQADataModule]
MOST_NAMED = 3


def _named(values: list[str]) -> str:
    more = f" and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else ""
    return ", ".join(map(repr, values[:MOST_NAMED])) + more


def check_clips(build: Build) -> None:
    """There are clips, and each has an id of its own."""
    clips = build().manifest.clips
    require(clips, "read() gives no clip")
    twice = [id_ for id_, count in Counter(clip.id for clip in clips).items() if count > 1]
    require(not twice, f"more than one clip has the id {_named(twice)}")


def check_scores(build: Build) -> None:
    """Every score and rating is of an axis that the corpus names, and lies on its scale or is missing."""
    manifest = build().manifest
    axes = {axis.name: axis for axis in manifest.axes}
    for clip in manifest:
        for name, score in _given(clip):
            require(name in axes, f"clip {clip.id!r} is rated on {name!r}, expected one of {_named(list(axes))}")
            low, high = axes[name].low, axes[name].high
            is_on_scale = math.isnan(score) or low <= score <= high
            require(is_on_scale, f"clip {clip.id!r}: {name} is {score}, expected {low:g} to {high:g}")


def _given(clip: Clip) -> list[tuple[str, float]]:
    return [pair for given in (clip.scores, *clip.ratings.values()) for pair in given.items()]


def check_splits(build: Build) -> None:
    """A split called train has rated clips, or no clip has a split."""
    manifest = build().manifest
    names = sorted({clip.split for clip in manifest})
    is_trained = any(clip.split == "train" and clip.is_rated() for clip in manifest)
    require(is_trained or names == [""], f"the splits are {_named(names)}, and none called 'train' has rated clips")


def check_problems(build: Build) -> None:
    """Nothing is wrong in its lists and its audio."""
    data = build()
    data.check_clips(data.manifest)


def check_repeat(build: Build) -> None:
    """Reading twice gives the same clips in the same order, or a resumed run would see others."""
    one, other = build().manifest.clips, build().manifest.clips
    require(len(one) == len(other), f"{len(one)} clips, then {len(other)}")
    changed = [a.id for a, b in zip(one, other, strict=True) if (a.id, a.path, a.split) != (b.id, b.path, b.split)]
    require(not changed, f"another clip stands in the place of {_named(changed)}")


CHECKS: tuple[Callable[[Build], None], ...] = (check_clips, check_scores, check_splits, check_problems, check_repeat)
