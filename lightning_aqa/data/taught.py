"""Scores of a teacher in place of ratings: what one model learns that is to stand for an ensemble."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_aqa.data.manifest import Manifest
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.records import read_records, write_records

COLUMNS = ("fold", "id", "axis", "score")
LEARNED_FROM = ("train", "dev")
"""Splits whose ratings a teacher has seen, and which its scores replace; all others are tested by their ratings."""


def write_teacher(path: str | Path, rows: Iterable[tuple[str, str, str, float]]) -> None:
    """Write what a teacher says: fold that it has not seen, or ``all``, or nothing; clip; axis; score."""
    write_records(path, COLUMNS, rows)


def taught(manifest: Manifest, data: Any) -> Manifest:
    """Put the scores of the teacher of some data in, but where all folds are looked at before the first.

    Args:
        manifest: The clips in their splits.
        data: The datamodule, with ``teacher``, and ``folds`` and ``fold`` where it is cross-validated.
    """
    folds, fold = getattr(data, "folds", None), getattr(data, "fold", None)
    if data.teacher is None or (folds is not None and fold is None):
        return manifest
    return with_teacher(manifest, data.teacher, "" if folds is None else str(fold))


def with_teacher(manifest: Manifest, path: str | Path, fold: str) -> Manifest:
    """Return the corpus with the scores of a teacher for the clips to learn from; without its ratings of these.

    Args:
        manifest: The clips in their splits.
        path: The table, as ``write_teacher`` writes it.
        fold: The fold that is held out, ``all`` for none of a cross-validation's; empty without one.

    Raises:
        CorpusError: If it has no scores for the training clips of this fold, or a number is not finite.
    """
    found: dict[str, dict[str, float]] = defaultdict(dict)
    axes = {axis.name for axis in manifest.axes}
    for record in read_records(path, COLUMNS):
        if record.text("fold") == fold and record.text("axis") in axes:
            found[record.text("id")][record.text("axis")] = record.finite("score")
    if not any(clip.id in found for clip in manifest.split("train")):
        where = f" of fold {fold}" if fold else ""
        raise CorpusError(
            f"{path}: no score of a training clip{where}; give the table that `ensemble --distill` wrote for this "
            "corpus and these folds, or drop teacher."
        )
    return manifest.with_clips(
        replace(clip, scores=_whole(found.get(clip.id, {})), ratings={}) if clip.split in LEARNED_FROM else clip
        for clip in manifest
    )


def _whole(scores: Mapping[str, float]) -> dict[str, float]:
    return {axis: round(score, 6) for axis, score in scores.items() if not math.isnan(score)}
