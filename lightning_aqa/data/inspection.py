"""All that can be told of a user's table and its audio before a training: columns, axes, splits, files, lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.batch import make_axes
from lightning_aqa.data.columns import TableEntry, choose_columns, read_entries
from lightning_aqa.data.decoding import AUDIO, AudioError, audio_info
from lightning_aqa.data.guesses import GuessedAxis, describe_axis, guess_scales, plausible_axes
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.missing import MissingFile, find_missing
from lightning_aqa.data.parsing import Row
from lightning_aqa.data.signal import QUIET, Signal
from lightning_aqa.data.splits import SplitBy, find_folds
from lightning_aqa.data.table import Layout, is_long, read_table, table_rows
from lightning_aqa.data.validation import CorpusError, check_audio, without

MISSING = "missing file"


class TableColumns(NamedTuple):
    """Rows of a table, and the meaning of its columns.

    Args:
        rows: The rows.
        names: The columns.
        chosen: Column per role and axis.
        scales: Lowest and highest score per axis.
        doubt: The reason why a fit would not guess these axes; empty where it would, or they are given.
        is_guessed: Whether the axes are guessed.
    """

    rows: Sequence[Row]
    names: Sequence[str]
    chosen: Mapping[str, str]
    scales: Mapping[str, Sequence[float]]
    doubt: str = ""
    is_guessed: bool = False


class AudioFacts(NamedTuple):
    """Facts of the files that a table names.

    Args:
        seconds: Length per clip id, of those that can be used.
        rates: Number of clips per rate in Hz.
        channels: Number of clips per number of channels; empty where files were not decoded.
        silent: Clips without any sound.
        completed: Number of names without an extension that are taken as the one file called so.
        missing: Files that are not there.
        problems: What is wrong with clips.
    """

    seconds: Mapping[str, float]
    rates: Mapping[int, int]
    channels: Mapping[int, int]
    silent: Sequence[str]
    completed: int
    missing: Sequence[MissingFile]
    problems: Sequence[Problem]


class Inspection(NamedTuple):
    """All that was found.

    Args:
        columns: Rows and the meaning of columns.
        axes: The axes, as their scores are.
        is_long: Whether a row is a rating.
        clips: The clips.
        audio: Their files.
    """

    columns: TableColumns
    axes: Sequence[GuessedAxis]
    is_long: bool
    clips: Manifest
    audio: AudioFacts

    def rated(self) -> Manifest:
        """Return the clips that a fit would use."""
        return self.clips.where(Clip.is_rated)

    def problems(self) -> list[Problem]:
        """Return what would stop a fit."""
        rated = {clip.id for clip in self.rated()}
        return [*self.clips.problems, *(problem for problem in self.audio.problems if problem.clip_id in rated)]

    def left(self) -> Manifest:
        """Return the clips that a fit would use without those that something is wrong with."""
        return without(self.rated(), self.problems())


def read_columns(
    path: Path, axes: Mapping[str, Sequence[float]] | None, columns: Mapping[str, str], problems: list[Problem]
) -> TableColumns:
    """Read a table and find what its columns mean.

    Raises:
        CorpusError: If the audio file has no column, or a column that is named is not there.
    """
    rows = table_rows(path, problems)
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    if axes is not None:
        return TableColumns(rows, names, choose_columns(path, names, make_axes(axes), columns), axes)
    doubt = ""
    try:
        scales: Mapping[str, Sequence[float]] = guess_scales(path, rows, columns)
    except CorpusError as error:
        scales = {axis.name: axis.ends() for axis in plausible_axes(path, rows, columns)}
        doubt = str(error)
    return TableColumns(rows, names, choose_columns(path, names, make_axes(scales), columns), scales, doubt, True)


def file_columns(rows: Sequence[Row]) -> list[str]:
    """List the columns that may be those of the audio files: the texts in them end as audio does."""
    counts = Counter(
        name
        for row in rows
        for name, cell in row.fields.items()
        if isinstance(cell, str) and Path(cell.strip()).suffix.lower() in AUDIO
    )
    return [name for name, count in counts.most_common() if 2 * count >= len(rows)]


def inspect_table(
    path: Path,
    found: TableColumns,
    *,
    audio_root: str | None = None,
    columns: Mapping[str, str],
    layout: Layout = "auto",
    decode: bool = True,
) -> Inspection:
    """Look at the clips of a table and at all of their audio.

    Args:
        path: The table.
        found: Its columns.
        audio_root: Folder that relative paths start from; None is the table's.
        columns: Column per role or axis, where its name does not tell.
        layout: Whether a row is a clip or a rating.
        decode: Decode the files whole; without it only their headers are read.
    """
    scales = make_axes(found.scales)
    folder = path.parent if audio_root is None else Path(audio_root)
    entries = read_entries(found.rows, found.chosen, scales, folder, [])
    cells: dict[str, list[object]] = {axis.name: [] for axis in scales}
    for entry in entries:
        for name in cells.keys() & entry.cells.keys():
            cells[name].append(entry.cells[name])
    described = [axis for name in cells if (axis := describe_axis(name, cells[name])) is not None]
    clips = read_table(path, found.scales, audio_root=audio_root, columns=columns, layout=layout)
    audio = _look_at_audio(clips, _written(found, entries), folder, path, decode=decode)
    return Inspection(found, described, is_long(layout, entries, found.chosen), clips, audio)


def _written(found: TableColumns, entries: Sequence[TableEntry]) -> dict[str, str]:
    """Return the name of the file per clip id, as the table has it."""
    texts = {row.where: str(row.fields.get(found.chosen["file"])).strip() for row in found.rows}
    return {entry.clip.id: texts[entry.where] for entry in reversed(entries)}


def _look_at_audio(
    clips: Manifest, written: Mapping[str, str], folder: Path, table: Path, *, decode: bool
) -> AudioFacts:
    signals: dict[str, Signal] = {}
    checked = check_audio(clips, 0.0, decode=decode, signals=signals)
    lost = {problem.clip_id for problem in checked.problems if problem.kind == MISSING}
    names = dict.fromkeys(written[clip.id] for clip in clips if clip.id in lost)
    missing = find_missing(names, folder, table)
    usable = [clip for clip in clips if clip.id in checked.seconds]
    completed = sum(Path(clip.path).name != Path(written[clip.id]).name for clip in clips)
    return AudioFacts(
        checked.seconds,
        Counter(rate for clip in usable if (rate := _rate(clip.path))),
        Counter(signal.num_channels for signal in signals.values()),
        [clip.id for clip in usable if clip.id in signals and signals[clip.id].peak < QUIET],
        completed,
        missing,
        checked.problems,
    )


def _rate(path: str) -> int:
    try:
        return audio_info(path).sample_rate
    except AudioError:  # it ended while it was looked at
        return 0


class SplitPlan(NamedTuple):
    """The use that a fit makes of the splits of a table.

    Args:
        counts: Number of rated clips per split; empty where the table has none.
        told: That use, in a sentence.
        problem: The reason why a fit is not possible; empty where it is.
    """

    counts: Mapping[str, int]
    told: str
    problem: str = ""


def plan_splits(clips: Manifest, column: str, folds: int = 5, by: SplitBy = "clip") -> SplitPlan:
    """Tell what ``fit`` does with the splits of rated clips.

    Args:
        clips: Rated clips.
        column: The column of splits; empty where there is none.
        folds: Number of folds that are made of clips without splits.
        by: What the folds keep together.
    """
    counts = Counter(clip.split for clip in clips)
    named = f"column {column!r}: " if any(counts) else "none in the table: "
    try:
        told = named + find_folds(clips, folds, by).told
    except CorpusError as error:
        return SplitPlan(counts if any(counts) else {}, f"{named}no cross-validation", str(error))
    bare = f"{counts['']} rated clips have no split, others have" if any(counts) and counts[""] else ""
    return SplitPlan(counts if any(counts) else {}, told, bare)


def ratings_per_clip(clips: Manifest) -> list[int]:
    """Count the ratings of each rated clip, on the axis with most of them; a score without ratings counts as one."""
    found = []
    for clip in clips:
        counts = Counter(name for scores in clip.ratings.values() for name in scores)
        found.append(max(counts.values(), default=1))
    return found
