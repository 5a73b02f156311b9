"""Context of a report: the runs on their clips, every number, and what else the runs left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.metrics.levels import higher_is_better
from lightning_aqa.metrics.listeners import ListenerRatings
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.report.clip_browser import InlinedAudio
from lightning_aqa.results.clips import ClipSource, read_listeners, read_sources, read_system_scores
from lightning_aqa.results.comparison import ComparisonTable, compare_variants
from lightning_aqa.results.facts import axes_of_run
from lightning_aqa.results.judges import JudgeFile, with_judges, without_foreign_errors
from lightning_aqa.results.latex import check_columns
from lightning_aqa.results.runs import Run, choose_split, find_runs
from lightning_aqa.results.tables import headline
from lightning_aqa.results.variants import SharedClips, collect

MIN_SYSTEMS = 10
"""With fewer, a correlation over systems takes few values, and the text speaks of clips instead."""


class Options(NamedTuple):
    """Choices of the user.

    Args:
        split: Split to report; None is test, else dev.
        baseline: Variant that the others are compared with; None is the first.
        detailed: Of how many variants, the baseline and the best, single clips and systems are shown.
        unit: What varies as one piece; None is that of the runs, else clips at utterance and systems at system level.
        num_resamples: Draws of the simultaneous tests.
        equivalence: Largest difference that counts as none; None asks nothing.
        audio_root: Folder to look for audio in that the runs do not know of.
        inlined_audio: How much sound goes into the page.
        title: Title of the page; None takes the names of the folders.
        judges: Tables of scores of other tools, each a row of the comparison.
        columns: Metrics and axes of the LaTeX tables; empty takes what fits the text of an article.
    """

    split: str | None = None
    baseline: str | None = None
    detailed: int = 6
    unit: Unit | None = None
    num_resamples: int = 10_000
    equivalence: float | None = None
    audio_root: Path | None = None
    inlined_audio: InlinedAudio = InlinedAudio()
    title: str | None = None
    judges: Sequence[JudgeFile] = ()
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Material:
    """Content of the page.

    Args:
        evidence: The variants on their clips.
        blocks: Their tables, the one that the text speaks of first.
        sources: Where the audio of each clip is.
        listeners: Ratings of single listeners; None without.
        notes: What the reader has to know.
        options: What the user chose.
    """

    evidence: SharedClips
    blocks: Sequence[ComparisonTable]
    sources: Sequence[ClipSource]
    listeners: ListenerRatings | None
    notes: Sequence[str]
    options: Options

    @property
    def ratings(self) -> NDArray[np.float64] | None:
        """Ratings of single listeners, shape ``(N, A, L)``; None without."""
        return None if self.listeners is None else self.listeners.values

    @cached_property
    def axes(self) -> list[Axis]:
        """The axes with their titles and scales."""
        return axes_of(self.evidence, self.ratings)

    @property
    def titles(self) -> Mapping[str, str]:
        """Title of each axis, with its name where that says something else."""
        return {a.name: a.title if a.title == a.name else f"{a.title} ({a.name})" for a in self.axes}

    @cached_property
    def detailed(self) -> list[int]:
        """The variants that are shown clip by clip."""
        return choose_detailed(self.evidence, self.blocks[0], self.options.detailed)

    @property
    def unit(self) -> Unit | None:
        """Option that says what varies as one piece: that of the report, else of the runs; None for the defaults."""
        return self.options.unit or self.evidence.unit

    @property
    def is_simulated(self) -> bool:
        """Whether the corpus of some run is synthesised, with simulated scores."""
        return any(run.facts.get("is_simulated", False) for variant in self.evidence.variants for run in variant.runs)


def gather(paths: Sequence[Path], options: Options) -> Material:
    """Read the runs and compute every number.

    Raises:
        ValueError: If there is no run, or these runs cannot be set side by side.
    """
    runs, notes = find_runs(paths)
    is_judge = options.baseline in [judge.name for judge in options.judges]
    evidence = collect(runs, choose_split(runs, options.split), None if is_judge else options.baseline)
    if options.judges:
        evidence = with_judges(evidence, options.judges, options.baseline)
    check_columns(options.columns, evidence.axes)
    known = read_sources(runs, options.audio_root)
    sources = [known.get(id_, ClipSource(None)) for id_ in evidence.ids]
    listeners = read_listeners(runs, evidence.split, evidence.ids, evidence.axes)
    ratings = None if listeners is None else listeners.values
    if not any(evidence.prompts):
        evidence = replace(evidence, prompts=[source.prompt for source in sources])
    published = read_system_scores(runs, evidence.systems, evidence.axes)
    blocks = compare_variants(
        evidence,
        listeners,
        published,
        unit=options.unit,
        equivalence=options.equivalence,
        num_resamples=options.num_resamples,
    )
    blocks, foreign = without_foreign_errors(evidence, blocks)
    first = "system" if len(set(evidence.systems) - {""}) >= MIN_SYSTEMS else "utterance"
    blocks.sort(key=lambda block: (block.domain != "", block.level == "system_mos", block.level != first))
    notes += [*evidence.notes, *foreign, *_missing(runs, sources, ratings)]
    return Material(evidence, blocks, sources, listeners, notes, options)


def axes_of(evidence: SharedClips, ratings: NDArray[np.float64] | None) -> list[Axis]:
    """Return the axes with their titles and scales.

    Runs say so themselves; of a run of an earlier version the scale is what its config says, or else what the ratings
    span, and the title is the name.
    """
    run = next(variant for variant in evidence.variants if not variant.is_fixed).runs[0]
    known, config = {axis.name: axis for axis in axes_of_run(run.facts)}, run.config
    axes = []
    for a, name in enumerate(evidence.axes):
        parts = [evidence.targets[:, a], *([] if ratings is None else [ratings[:, a].ravel()])]
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        spanned = [float(values.min()), float(values.max())] if len(values) else [0.0, 0.0]
        low, high = _scale(config.get(f"data.axes.{name}")) or spanned
        axes.append(known.get(name, Axis(name, name, math.floor(low), max(math.ceil(high), math.floor(low) + 1))))
    return axes


def _scale(given: object) -> list[float] | None:
    """Return the lowest and the highest score that a config gives an axis; None where it gives no scale."""
    if not isinstance(given, list) or len(given) != 2 or not all(isinstance(end, int | float) for end in given):
        return None
    return given if -math.inf < given[0] < given[1] < math.inf else None


def _missing(runs: Sequence[Run], sources: Sequence[ClipSource], ratings: NDArray[np.float64] | None) -> list[str]:
    """Say what would show more, where it is not there."""
    message = []
    if ratings is None:
        message.append(
            "No ratings.csv with the ratings of single listeners: there are no ceilings and no strips of ratings."
        )
    without = sum(source.path is None for source in sources)
    if without:
        what = "any clip" if without == len(sources) else f"{without} of {len(sources)} clips"
        message.append(f"No audio of {what} is known, or there; --audio_root names a folder to look in.")
    if not any(run.history for run in runs):
        message.append("No history.csv: there are no learning curves.")
    if not all(run.config_text for run in runs):
        message.append("No config.yaml in some runs: seeds and settings are told from the names of their folders.")
    return message


def choose_detailed(evidence: SharedClips, block: ComparisonTable, count: int) -> list[int]:
    """Return the variants to show in detail: the best, the baseline, then the next best."""
    column = headline(block)
    sign = 1 if higher_is_better(column[1]) else -1
    values = [sign * row[column].value for row in block.rows]
    order = sorted(range(len(values)), key=lambda v: -values[v] if math.isfinite(values[v]) else math.inf)
    return list(dict.fromkeys([order[0], 0, *order]))[: max(count, 1)]
