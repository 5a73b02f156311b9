"""Clips and their ratings, as read from a corpus: the one table that every corpus class fills."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args, overload

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis

SIMULATED_STAMP = "synthetic.json"
"""File at the root of a corpus whose audio is synthesised and whose scores are simulated."""


@dataclass(frozen=True)
class Clip:
    """One rated piece of audio.

    Args:
        id: Name that is unique in its corpus.
        path: The audio file.
        start: Where the clip starts in its file, in seconds.
        end: Where it ends, in seconds; None is the end of the file.
        system: What made it; empty where unknown.
        domain: ``speech``, ``music``, ``sound`` or a name of the user's; empty where unknown.
        prompt: The text it was made from; empty where there is none.
        split: ``train``, ``dev``, ``test`` or a name of the corpus's.
        scores: Mean opinion score per axis name, in score points; an axis that is not rated is absent or NaN.
        ratings: Score per axis name per listener, where the corpus has them.
        source: Corpus the file comes from, to say where to get it.
        is_compared: Whether a pair says how it compares with another clip.
    """

    id: str
    path: str
    start: float = 0.0
    end: float | None = None
    system: str = ""
    domain: str = ""
    prompt: str = ""
    split: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    ratings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: str = ""
    is_compared: bool = False

    def is_rated(self) -> bool:
        """Tell whether at least one axis has a score, or a pair compares the clip."""
        return self.is_compared or any(not math.isnan(score) for score in self.scores.values())


Winner = Literal["a", "b", "tie"]
WINNERS: tuple[Winner, ...] = get_args(Winner)


class Pair(NamedTuple):
    """Comparison of two clips by a listener who heard both.

    Args:
        clip_a: Id of the first clip.
        clip_b: Id of the second clip.
        winner: The better one: ``a``, ``b``, or ``tie``.
        axis: Name of the axis that it is about.
        listener: Name of the listener; empty where unknown.
        weight: How much it counts, above 0.
    """

    clip_a: str
    clip_b: str
    winner: Winner
    axis: str
    listener: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a corpus.

    Args:
        kind: What sort of problem, in the words of the report, such as ``"missing file"``.
        where: File, file and line, or clip id.
        what: What was found and what was expected.
        clip_id: The clip that cannot be used because of it; empty where the corpus as a whole is concerned.
        source: Corpus of the file, for a report that says where to get it.
    """

    kind: str
    where: str
    what: str
    clip_id: str = ""
    source: str = ""


class Manifest(Sequence[Clip]):
    """The clips of a corpus in their order, its axes, and what was wrong while reading it.

    Args:
        clips: The clips.
        axes: What the listeners rated.
        problems: What the reader found wrong.
        system_scores: Published score per axis name per system, where the corpus ships such a file.
        pairs: Comparisons of two of these clips each.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        axes: Sequence[Axis],
        problems: Iterable[Problem] = (),
        system_scores: Mapping[str, Mapping[str, float]] | None = None,
        pairs: Iterable[Pair] = (),
    ) -> None:
        self.clips = tuple(clips)
        self.axes = tuple(axes)
        self.problems = tuple(problems)
        self.system_scores = dict(system_scores or {})
        self.pairs = tuple(pairs)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Clip]: ...
    def __getitem__(self, index: int | slice) -> Clip | Sequence[Clip]:
        """Return one clip, or a tuple of clips."""
        return self.clips[index]

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        """Iterate over the clips."""
        return iter(self.clips)

    def where(self, keep: Callable[[Clip], bool]) -> Manifest:
        """Return the clips that ``keep`` accepts, in their order, and the pairs of which both clips are kept."""
        clips = tuple(filter(keep, self.clips))
        ids = {clip.id for clip in clips} if self.pairs else set[str]()
        pairs = (pair for pair in self.pairs if pair.clip_a in ids and pair.clip_b in ids)
        return Manifest(clips, self.axes, self.problems, self.system_scores, pairs)

    def with_clips(self, clips: Iterable[Clip]) -> Manifest:
        """Return the same corpus with other details of its clips."""
        return Manifest(clips, self.axes, self.problems, self.system_scores, self.pairs)

    def split(self, name: str) -> Manifest:
        """Return the clips of one split."""
        return self.where(lambda clip: clip.split == name)

    @property
    def splits(self) -> list[str]:
        """Names of the splits, in the order of their first clip."""
        return list(dict.fromkeys(clip.split for clip in self.clips))

    def has_ratings(self, split: str) -> bool:
        """Tell whether a clip of a split has a score, or there is no pair to tell that the split has any clip."""
        return not self.pairs or any(replace(clip, is_compared=False).is_rated() for clip in self.split(split))

    def scores(self) -> NDArray[np.float64]:
        """Return the mean opinion scores, shape ``(clips, A)``, NaN where an axis is not rated."""
        rows = [[clip.scores.get(axis.name, math.nan) for axis in self.axes] for clip in self.clips]
        return np.array(rows, dtype=np.float64).reshape(len(self.clips), len(self.axes))

    def write_jsonl(self, path: str | Path) -> None:
        """Write one JSON object per clip, with the fields of ``Clip``."""
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:  # which JSON has for surrogates too
            for clip in self.clips:
                file.write(json.dumps(asdict(clip), ensure_ascii=False) + "\n")
