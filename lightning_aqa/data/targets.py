"""Scores to learn and to test against: mean ratings, or quality recovered from the ratings of single listeners."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Literal

import numpy as np

from lightning_aqa.data.listeners import Recovered, recover
from lightning_aqa.data.manifest import Manifest
from lightning_aqa.data.validation import CorpusError

_log = logging.getLogger(__name__)

Targets = Literal["mean", "recovered"]


def with_targets(manifest: Manifest, targets: Targets, corpus: str) -> Manifest:
    """Return the clips with the scores that ``targets`` names.

    Recovery takes each split and axis by itself, so that no split's scores depend on ratings of another. A clip without
    single ratings keeps its mean; a recovered score is kept inside the scale.

    Args:
        manifest: The clips with their ratings.
        targets: Which scores.
        corpus: Name of the corpus, for messages.

    Raises:
        ValueError: If there are no such targets.
        CorpusError: If scores are to be recovered and no clip has ratings of single listeners.
    """
    if targets not in ("mean", "recovered"):
        raise ValueError(f"targets must be mean or recovered, got {targets!r}.")
    if targets == "mean":
        return manifest
    if not any(clip.ratings for clip in manifest):
        raise CorpusError(
            f"{corpus}: targets=recovered needs ratings of single listeners, and the lists have mean scores alone; "
            "give a table with a row per rating and a column of listeners, or drop it (--data.targets=mean)."
        )
    found: dict[str, dict[str, float]] = {clip.id: dict(clip.scores) for clip in manifest}
    for split in manifest.splits:
        for axis in manifest.axes:
            clips = manifest.split(split)
            recovered = recovered_of(clips, axis.name)
            _tell(recovered, f"{corpus}: {axis.name} of split '{split}'")
            for clip, quality in zip(clips, recovered.quality.tolist(), strict=True):
                if math.isfinite(quality):
                    found[clip.id][axis.name] = round(min(max(quality, axis.low), axis.high), 6)
    changed = (replace(clip, scores=found[clip.id]) for clip in manifest)
    return manifest.with_clips(changed)


def recovered_of(clips: Manifest, axis: str) -> Recovered:
    """Recover the quality of some clips on one axis from their ratings, in their order."""
    rows = [
        (clip.id, listener, float(given[axis]))
        for clip in clips
        for listener, given in clip.ratings.items()
        if axis in given and not math.isnan(given[axis])
    ]
    return recover(rows, [clip.id for clip in clips])


def _tell(found: Recovered, where: str) -> None:
    """Say in the log where recovery cannot differ from the mean, or compares less than it seems to."""
    rated = int(np.isfinite(found.quality).sum())
    if not rated:
        return
    if not any(math.isfinite(listener.bias) for listener in found.listeners):
        _log.warning(
            "%s: the ratings say nothing of single listeners (no id is on two clips, or too few ratings); "
            "recovered scores are the means.",
            where,
        )
    elif found.components > 1:
        _log.warning(
            "%s: no listener links %d groups of its %d clips; scores of different groups compare as their means do.",
            where, found.components, rated,
        )  # fmt: skip
    unknown = len(found.quality) - rated
    if unknown:
        _log.warning("%s: %d of %d clips have no single ratings and keep their mean.", where, unknown, rated + unknown)
