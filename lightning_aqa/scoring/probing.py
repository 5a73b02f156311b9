"""Edits that buy a predictor's score without quality: every clip as it is, edited, and changed along the gradient."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lightning_aqa.data.audio import read_audio
from lightning_aqa.data.decoding import AudioError
from lightning_aqa.scoring.edits import EDITS, Heard, Samples, edited
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.reward import Reward, ascend
from lightning_aqa.scoring.scorer import Scorer

ORIGINAL, ASCENT = "original", "gradient ascent"
FAMILY_ERROR = 0.05
"""Chance that any interval of an axis misses its mean."""


class ProbedClip(NamedTuple):
    """Score of one version of a clip.

    Args:
        clip: Id of the clip.
        edit: Name of what was done to it, or ``original``.
        heard: What a listener would say of it; empty for the original.
        scores: Per axis, in score points.
        note: Why the score means little; empty where there is no reason.
    """

    clip: str
    edit: str
    heard: Heard | str
    scores: tuple[float, ...]
    note: str


class EditEffect(NamedTuple):
    """Change of the scores of one axis by one edit.

    Args:
        edit: Its name.
        heard: What a listener would say.
        axis: The axis.
        n: Clips.
        mean: Mean change, in score points.
        low: Lower end of its interval; NaN of one clip.
        high: Upper end.
        up: Share of clips whose score rose.
        noted: Share of edited clips with a note.
    """

    edit: str
    heard: str
    axis: str
    n: int
    mean: float
    low: float
    high: float
    up: float
    noted: float

    @property
    def buys(self) -> bool:
        """Whether the edit raises the score for sure, which none does by quality."""
        return self.low > 0

    @property
    def is_ascent(self) -> bool:
        """Whether it is the change along the gradient."""
        return self.edit.startswith(ASCENT)


def ascent_name(decibel: float) -> str:
    """Return the name of the ascent in the table."""
    return f"{ASCENT}, {decibel:g} dB"


def has_gradient(scorer: Scorer) -> bool:
    """Tell whether scores have a gradient to the waveform."""
    clip = torch.zeros(round(scorer.sample_rate * max(1.0, scorer.reading.min_seconds)), requires_grad=True)
    try:
        scorer.score_waveforms([clip], scorer.sample_rate)
    except ValueError:
        return False
    return True


def probe_clips(
    scorer: Scorer, items: Iterable[Item], *, seconds: float, decibel: float | None, steps: int
) -> Iterator[ProbedClip]:
    """Score every clip, each edit of it and, where the encoder has a gradient, its ascent.

    What the model hears is edited: mono at its rate. Versions are scored as files are, with notes.

    Args:
        scorer: The predictor.
        items: The clips.
        seconds: Most of each clip, from its start.
        decibel: Level of the ascent's change against the clip; None leaves it out.
        steps: Of the ascent.

    Raises:
        AudioError: If a clip cannot be read or scored; it is named.
    """
    rate = scorer.sample_rate
    for item in items:
        if item.error:
            raise AudioError(f"{item.path or item.id}: {item.error}")
        end = item.start + seconds if item.end is None else min(item.end, item.start + seconds)
        samples = read_audio(item.path, rate, item.start, end, scorer.reading.resampler).astype(np.float64)
        versions: list[tuple[str, str, Samples]] = [(ORIGINAL, "", samples)]
        versions += [(edit.name, edit.heard, edited(samples, rate, edit)) for edit in EDITS]
        if decibel is not None:
            risen = ascend(Reward(scorer, bound="score"), torch.from_numpy(samples), rate, decibel, steps, item.prompt)
            versions.append((ascent_name(decibel), "same", risen.cpu().double().numpy()))
        yield from _score(scorer, item, versions)


def _score(scorer: Scorer, item: Item, versions: Sequence[tuple[str, str, Samples]]) -> Iterator[ProbedClip]:
    import soundfile

    with tempfile.TemporaryDirectory(prefix="lightning-aqa-probe-") as folder:
        paths = [str(Path(folder) / f"{n:02d}.wav") for n in range(len(versions))]
        for path, (_, _, samples) in zip(paths, versions, strict=True):
            soundfile.write(path, samples, scorer.sample_rate, subtype="FLOAT")
        items = ((0, Item(path, path, prompt=item.prompt, domain=item.domain)) for path in paths)
        rows = [row for rows in scorer.score_items(items) for row in rows]
    for (edit, heard, _), row in zip(versions, rows, strict=True):
        if row.error and edit == ORIGINAL:
            raise AudioError(f"{item.path}: {row.error}")
        scores = tuple(row.scores) if not row.error else (math.nan,) * len(scorer.axes)
        yield ProbedClip(item.id, edit, heard, scores, row.error or row.note)


def effects(rows: Sequence[ProbedClip], axes: Sequence[str]) -> list[EditEffect]:
    """Compare the versions of each clip with the original, per axis.

    Intervals are those of Student's t over clips, which hold together for all edits of an axis (Bonferroni).

    Args:
        rows: The scores.
        axes: Names of the axes.

    Returns:
        Effects axis by axis, those that raise scores most first.

    Example:
        >>> rows = [ProbedClip(c, e, "worse", (s,), "") for c, e, s in [("a", "original", 2.0), ("a", "louder", 2.5)]]
        >>> effects(rows, ["MI"])[0][:5]
        ('louder', 'worse', 'MI', 1, 0.5)
    """
    from scipy.special import stdtrit

    original = {row.clip: row.scores for row in rows if row.edit == ORIGINAL}
    by_edit: dict[tuple[str, str], list[ProbedClip]] = {}
    for row in rows:
        if row.edit != ORIGINAL and row.clip in original:
            by_edit.setdefault((row.edit, row.heard), []).append(row)
    found = []
    for a, axis in enumerate(axes):
        for (edit, heard), own in by_edit.items():
            change = np.array([row.scores[a] - original[row.clip][a] for row in own])
            change = change[np.isfinite(change)]
            n = len(change)
            t = float(stdtrit(n - 1, 1 - FAMILY_ERROR / 2 / len(by_edit))) if n > 1 else math.nan
            mean = float(change.mean()) if n else math.nan
            half = t * float(change.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
            shares = float((change > 0).mean()) if n else math.nan, float(np.mean([bool(row.note) for row in own]))
            found.append(EditEffect(edit, heard, axis, n, mean, mean - half, mean + half, *shares))
    order = {axis: a for a, axis in enumerate(axes)}
    return sorted(found, key=lambda effect: (order[effect.axis], -effect.mean if math.isfinite(effect.mean) else 9e9))
