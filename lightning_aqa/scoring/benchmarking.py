"""Predictors on a corpus: their scores, their speed, and test clips that are in their training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.audio import read_audio
from lightning_aqa.data.decoding import AudioError
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.recordings import Fingerprint, Match, fingerprint, matches
from lightning_aqa.metrics.listeners import ListenerRatings, ratings_table
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.results.clips import ClipSource, read_sources
from lightning_aqa.results.judge_scores import read_scores
from lightning_aqa.results.runs import Run, read_run
from lightning_aqa.results.variants import SharedClips, Variant
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.load import load
from lightning_aqa.scoring.published import is_published, read_published
from lightning_aqa.training.speed import peak_bytes

RATE = 16000
TABLES = (".csv", ".tsv", ".jsonl", ".json")
MEGA = 1e6


class Predicted(NamedTuple):
    """Scores of one predictor.

    Args:
        name: What to call it.
        path: Where it, or its table, is.
        scores: Shape ``(N, A)``, NaN where there is none.
        about: Facts for the board.
    """

    name: str
    path: Path
    scores: NDArray[np.float64]
    about: dict[str, Any]


def predict(name: str, source: str, clips: Manifest, split: str) -> Predicted:
    """Score the clips of a corpus by a model, or read their scores from a table.

    Raises:
        ValueError: If it scores none of the axes, or no clip.
    """
    ids, axes = [clip.id for clip in clips], [axis.name for axis in clips.axes]
    path = Path(source)
    if path.suffix.lower() in TABLES:
        return Predicted(name, path, read_scores(path, name, split, ids, axes), {"kind": "table of scores"})
    scorer = load(source)
    own = [axis.name for axis in scorer.axes]
    if not set(own) & set(axes):
        raise ValueError(f"{source}: predicts {', '.join(own)}; the corpus rates {', '.join(axes)}: leave one out.")
    items = ((0, Item(clip.id, clip.path, clip.start, clip.end, clip.prompt, "", clip.domain)) for clip in clips)
    start, seconds = time.perf_counter(), 0.0
    scores = np.full((len(ids), len(axes)), np.nan)
    rows = {id_: n for n, id_ in enumerate(ids)}
    for found in scorer.score_items(items):
        for row in found:
            if row.error:
                raise AudioError(f"{row.item.path}: {row.error}")
            seconds += row.seconds
            for axis, score in zip(own, row.scores, strict=True):
                if axis in axes:
                    scores[rows[row.item.id], axes.index(axis)] = score
    took = time.perf_counter() - start
    speed = {"times_real_time": float(f"{seconds / took:.3g}"), "device": str(scorer.device),
             "peak_megabytes": round(peak_bytes(scorer.device) / MEGA)}  # fmt: skip
    about = {"kind": type(scorer.module.encoder).__name__, "speed": speed}
    return Predicted(name, path, scores, about | _declared(path))


def _declared(path: Path) -> dict[str, str]:
    """Return what a published model says of its licence and its training."""
    if not is_published(path):
        return {}
    record = read_published(path).record
    return {name: str(record[key]) for name, key in (("licence", "licence"), ("declared", "corpus")) if record.get(key)}


def shared(corpus: Manifest, split: str, predicted: Sequence[Predicted]) -> SharedClips:
    """Set predictors side by side on the clips and axes that all of them score.

    Raises:
        ValueError: If they have none in common.
    """
    names = [axis.name for axis in corpus.axes]
    axes = [a for a in range(len(names)) if all(np.isfinite(of.scores[:, a]).any() for of in predicted)]
    if not axes:
        raise ValueError(
            f"{', '.join(of.name for of in predicted)} score no axis in common; benchmark them one by one."
        )
    kept = np.flatnonzero(np.all([np.isfinite(of.scores[:, axes]).all(axis=1) for of in predicted], axis=0))
    if not len(kept):
        names_of = ", ".join(of.name for of in predicted)
        raise ValueError(f"no clip has a score of each of {names_of}; benchmark them one by one.")
    clips = [corpus[int(n)] for n in kept]
    targets = corpus.scores()[kept][:, axes]
    labels = [clip.id for clip in clips], [clip.system for clip in clips], [clip.domain for clip in clips]
    chosen = [names[a] for a in axes]
    variants = [
        Variant(
            of.name,
            [Run(of.path, {split: Predictions(*labels, targets, of.scores[kept][:, axes])}, chosen)],
            of.scores[kept][:, axes][None],
            is_fixed=True,
        )
        for of in predicted
    ]
    left = len(corpus) - len(kept)
    notes = [f"{left} clips lack a score of some predictor and are left out."] if left else []
    return SharedClips(split, chosen, *labels, [clip.prompt for clip in clips], targets, variants, notes)


def ratings_of(corpus: Manifest, on: SharedClips) -> ListenerRatings | None:
    """Return the ratings of single listeners of the clips; None without any."""
    rows = [
        (clip.id, axis, who, float(value))
        for clip in corpus
        for who, given in clip.ratings.items()
        for axis, value in given.items()
        if axis in on.axes and np.isfinite(value)
    ]
    known = set(on.ids)
    rows = [row for row in rows if row[0] in known]
    return ratings_table(list(on.ids), list(on.axes), rows) if rows else None


def trained_clips(source: str) -> dict[str, ClipSource]:
    """Return the clips that a run folder was trained on, of which the files are still there; none of another source."""
    folder = Path(source)
    try:
        run = read_run(folder)
    except (ValueError, OSError):
        return {}
    found = read_sources([run])
    seen = {id_ for split, table in run.splits.items() if split in ("train", "dev") for id_ in table.ids}
    is_refit = not seen  # a cross-validation trains once more on all clips
    return {id_: at for id_, at in found.items() if at.path is not None and (is_refit or id_ in seen)}


def contamination(test: Sequence[Fingerprint], training: dict[str, ClipSource]) -> tuple[list[Match], dict[str, Any]]:
    """Look for the test clips among those of a training.

    Returns:
        The matches, and what the board says of them.
    """
    known = [
        made for id_, at in training.items() if (made := _of_file(id_, str(at.path), at.start, at.end)) is not None
    ]
    found = matches(test, known)
    kinds = [match.kind for match in found]
    short = sum(not len(clip.bits) for clip in test)
    return found, {"training_clips": len(known), "copies": kinds.count("copy"), "versions": kinds.count("version"),
                   "too_short_to_tell": short, "matches": [[of.clip, of.other, of.kind] for of in found]}  # fmt: skip


def fingerprints(clips: Sequence[Clip]) -> list[Fingerprint]:
    """Take the fingerprints of clips; of one that cannot be read none."""
    made = [_of_file(clip.id, clip.path, clip.start, clip.end) for clip in clips]
    return [one for one in made if one is not None]


def _of_file(id_: str, path: str, start: float, end: float | None) -> Fingerprint | None:
    try:
        return fingerprint(id_, read_audio(path, RATE, start, end), RATE)
    except AudioError:
        return None
