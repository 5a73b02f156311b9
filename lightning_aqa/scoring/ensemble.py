"""An ensemble's folder as one scorer: models of any encoders, each with its weight on each axis."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_aqa.metrics.conformal import SHARE, ConformalCalibration
from lightning_aqa.module import AQAModule
from lightning_aqa.results.files import ENSEMBLE
from lightning_aqa.results.notes import Expected, note_of
from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.decode import reading_of
from lightning_aqa.scoring.frames import ScoredFrames
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.scorer import Scorer
from lightning_aqa.scoring.trust import Trust
from lightning_aqa.training.ensemble import average, same_weights
from lightning_aqa.utils.documents import read_json


class Source(NamedTuple):
    """A trained module, how its training read audio, and what that left for trust, as far as these are known."""

    module: AQAModule
    reading: dict[str, Any]
    trust: dict[str, Any] = {}


class MemberRecord(NamedTuple):
    """A model of an ensemble, as ``ensemble.json`` has it.

    Args:
        checkpoint: Path of its checkpoint, from the ensemble's folder.
        run: The run folder that it is from.
        weights: Weight per axis.
    """

    checkpoint: str
    run: str
    weights: dict[str, float]


def read_members(folder: Path) -> list[MemberRecord]:
    """Read which models an ensemble is of.

    Raises:
        ValueError: If the record is damaged, or names a file outside of the folder.
    """
    path = folder / ENSEMBLE
    found = read_json(path)
    try:
        rows = [MemberRecord(row["checkpoint"], str(row["run"]), dict(row["weights"])) for row in found["members"]]
        is_whole = bool(rows) and all(_is_member(folder, row) for row in rows)
        is_whole = is_whole and all(row.weights.keys() == rows[0].weights.keys() for row in rows)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path}: not the record of an ensemble, with a checkpoint and weights of each member.")
    return rows


def _is_member(folder: Path, row: MemberRecord) -> bool:
    numbers = list(row.weights.values())
    are_weights = all(isinstance(w, int | float) and 0 <= w <= 1 for w in numbers) and bool(numbers)
    return are_weights and (folder / row.checkpoint).resolve().is_relative_to(folder.resolve())


class EnsembleScorer(Scorer):
    """Score audio by several models, one after the other; scores are their sums.

    Args:
        members: Scorers of the models, of the same axes, whose scores are weighted already.
        trust: Intervals of the ensemble itself.
    """

    def __init__(self, members: Sequence[Scorer], trust: Trust) -> None:
        first = members[0]
        self.members, self.trust = list(members), trust
        self.axes, self.reading, self.dtype, self.device = first.axes, first.reading, first.dtype, first.device
        self.sample_rate, self.batching = first.sample_rate, first.batching
        self.expected, self.module = first.expected, first.module

    @property
    def reads_text(self) -> bool:
        """Whether prompts change the scores of a member."""
        return any(member.reads_text for member in self.members)

    def frame_scores(
        self, path: str | os.PathLike[str], prompt: str = "", seconds: float | None = None
    ) -> ScoredFrames | None:
        """Return None: frames of different encoders have no times in common."""
        return None

    def score_items(self, items: Iterable[tuple[int, Item]]) -> Iterator[list[ScoredClip]]:
        """Score clips of files shard by shard, by each member."""
        for _, shard in groupby(items, key=lambda pair: pair[0]):
            clips = list(shard)
            found = [[row for rows in member.score_items(clips) for row in rows] for member in self.members]
            yield [self._combined(rows) for rows in zip(*found, strict=True)]

    def _combined(self, rows: Sequence[ScoredClip]) -> ScoredClip:
        failed = next((row for row in rows if row.error), None)
        if failed is not None:
            return failed
        ranks = [row.unlike for row in rows if row.unlike is not None]
        deviations = _sums([row.deviations for row in rows]) if all(row.deviations for row in rows) else ()
        clip = rows[0]._replace(
            scores=_sums([row.scores for row in rows]),
            deviations=deviations,
            unlike=math.fsum(ranks) / len(ranks) if ranks else None,
        )
        parts = dict.fromkeys(part for row in rows for part in row.note.split("; ") if part)
        of_audio = [part for part in parts if " is outside of " not in part]  # a member's score is not the ensemble's
        of_scores = note_of(None, clip.scores, Expected(self.axes))
        return self.trust.with_ends(clip._replace(note="; ".join(filter(None, [*of_audio, of_scores]))))

    def score_waveforms(
        self, waveforms: Sequence[Any], sample_rate: float | None, prompts: str | Sequence[str] | None = None
    ) -> Tensor:
        """Score clips in memory; see ``Scorer.score_waveforms``."""
        found = [member.score_waveforms(waveforms, sample_rate, prompts) for member in self.members]
        return torch.stack(found).sum(0)


def _sums(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(map(math.fsum, zip(*values, strict=True)))


def combine(
    sources: Sequence[Source],
    weights: Sequence[Mapping[str, float]],
    calibration: ConformalCalibration | None,
    settings: dict[str, Any],
    folder: Path,
) -> Scorer:
    """Make one scorer of models; those of one encoder and one reading of audio become one, which encodes once.

    Args:
        sources: The models.
        weights: Weight of each on each axis.
        calibration: What the intervals of the ensemble follow from.
        settings: Arguments of ``Scorer`` that count.
        folder: The ensemble's folder, for messages.

    Raises:
        ValueError: If a model rates other axes.
    """
    axes = sources[0].module.axes
    names = [axis.name for axis in axes]
    if any(source.module.axes != axes for source in sources) or set(names) != set(weights[0]):
        raise ValueError(f"{folder}: the models of this ensemble rate other axes than its weights are of.")
    groups: list[list[int]] = []
    for i, source in enumerate(sources):
        alike = next((group for group in groups if _encode_alike(sources[group[0]], source)), None)
        groups.append([i]) if alike is None else alike.append(i)
    weights_MA = [[of[name] for name in names] for of in weights]
    modules = [average([sources[i].module for i in group], [weights_MA[i] for i in group]) for group in groups]
    firsts = [sources[group[0]] for group in groups]
    share = settings.get("interval", SHARE)
    if len(modules) == 1:
        beside = {"calibration": calibration, "trained": firsts[0].trust["trained"]}
        return Scorer(modules[0], **(firsts[0].reading | beside | settings))
    members = [
        Scorer(module, **(first.reading | {"trained": first.trust["trained"]} | settings | {"interval": 0.0}))
        for module, first in zip(modules, firsts, strict=True)
    ]
    trained = next((member.trust.trained for member in members if member.trust.trained is not None), None)
    return EnsembleScorer(members, Trust(axes, calibration, trained, share))


def _encode_alike(one: Source, other: Source) -> bool:
    """Tell whether two models hear the same features."""
    first, second = one.module, other.module
    is_one = type(first.encoder) is type(second.encoder) and first.layers == second.layers
    are_read = [reading_of(source.module.encoder, **source.reading) for source in (one, other)]
    return is_one and are_read[0] == are_read[1] and same_weights(first.encoder, second.encoder)
