"""A table of the user's own: any CSV, TSV, JSON lines or JSON array, with a row per clip or per rating."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning_aqa.batch import Axis, make_axes
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.columns import (
    TableEntry,
    check_roles,
    check_root,
    choose_columns,
    long_clips,
    look_closer,
    read_entries,
    wide_clips,
)
from lightning_aqa.data.guesses import axes_option, guess_scales, usual_scale
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.parsing import Row, read_rows
from lightning_aqa.data.separated import is_number
from lightning_aqa.data.splits import (
    DEFAULT_FRACTIONS,
    Folds,
    SplitBy,
    check_folds,
    check_fractions,
    find_folds,
    hold_out,
    kept_together,
    leakage,
    learn_all,
    split_by_fractions,
)
from lightning_aqa.data.validation import NUM_SHOWN, CorpusError
from lightning_aqa.utils.text import did_you_mean, shortened

_log = logging.getLogger(__name__)

Layout = Literal["auto", "long", "wide"]
_told: set[str] = set()
"""What was said of guessed axes; each fold reads the table again."""


def read_table(
    path: str | Path,
    axes: Mapping[str, Sequence[float]] | None = None,
    *,
    audio_root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    layout: Layout = "auto",
) -> Manifest:
    r"""Read a table of clips or of ratings.

    In a *wide* table a row is a clip, in a *long* one a row is a rating, and a clip's score is the mean of its ratings.
    A long table has one column per axis, or a column that names the axis and one with the score. An empty cell is not
    rated. In JSON lines the score of an axis may be a list of ratings.

    Args:
        path: The table.
        axes: Lowest and highest score per axis name; None guesses the one axis that the table has.
        audio_root: Folder that relative paths start from; None is the table's.
        columns: Column per role (file, id, system, listener, domain, prompt, split, start, end, axis, score) or per
            axis, where its name does not tell; an empty name is a role that no column has.
        layout: ``auto`` takes a table as long where a column names the listener or the axis, or where at least half of
            the rows repeat a clip.

    Returns:
        Clips with the splits of the table, empty where it has none.

    Raises:
        CorpusError: If the file or a column is missing.
        ValueError: If a scale or a role is not one.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ratings.csv"
        >>> _ = path.write_text("file,listener,overall\na.wav,L1,3\na.wav,L2,4\n")
        >>> read_table(path, {"overall": [1, 5]})[0].scores
        {'overall': 3.5}
    """
    path, problems = Path(path), list[Problem]()
    rows = table_rows(path, problems)
    scales = make_axes(_guessed(path, rows, columns or {}) if axes is None else axes)
    check_roles(columns or {}, scales)
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    chosen = choose_columns(path, names, scales, columns or {})
    folder = path.parent if audio_root is None else Path(audio_root)
    entries = read_entries(rows, chosen, scales, folder, problems)
    if "axis" in chosen:
        _check_axis_names(path, entries, scales)
    clips = (
        long_clips(entries, scales, problems)
        if is_long(layout, entries, chosen)
        else wide_clips(entries, scales, problems)
    )
    return Manifest(clips, scales, [*_wrong_scales(path, entries, scales), *problems])


def table_rows(path: Path, problems: list[Problem]) -> list[Row]:
    """Read the rows of a table.

    Raises:
        CorpusError: If there are none, with the first causes.
    """
    rows = read_rows(path, problems)
    if rows:
        return rows
    if not problems:
        raise CorpusError(f"{path}: no rows in it; expected a line with the names of the columns, then a row per line.")
    causes = "".join(f"\n    {problem.where}: {problem.what}" for problem in problems[1:NUM_SHOWN])
    raise CorpusError(f"{problems[0].where}: {problems[0].what}.{causes}")


def _guessed(path: Path, rows: Sequence[Row], columns: Mapping[str, str]) -> dict[str, list[float]]:
    """Guess the axes, and say so once."""
    scales = guess_scales(path, rows, columns)
    line = f"{path}: no axes are given; guessed from its columns: {axes_option(scales)}"
    if line not in _told:
        _told.add(line)
        _log.warning("%s", line)
    return scales


def _wrong_scales(path: Path, entries: Sequence[TableEntry], axes: Sequence[Axis]) -> Iterator[Problem]:
    """Tell of an axis whose scale most of its scores do not lie in."""
    for axis in axes:
        cells = [str(cell) for entry in entries if (cell := entry.cells.get(axis.name)) is not None]
        found = [score for cell in cells if is_number(cell) and math.isfinite(score := float(cell))]
        outside = sum(not axis.low <= score <= axis.high for score in found)
        if 2 * outside > len(found):
            spread = f"its scores run from {min(found):g} to {max(found):g}"
            usual = usual_scale(found)
            likely = f", such as {list(usual)}" if usual else ""
            what = f"{axis.name}: {spread}, its scale is {axis.low:g} to {axis.high:g}; give axes their scale{likely}"
            yield Problem("wrong scale", str(path), what)


def _check_axis_names(path: Path, entries: Sequence[TableEntry], axes: Sequence[Axis]) -> None:
    found = sorted({name for entry in entries for name in entry.cells})
    for axis in axes:
        if axis.name not in found:
            near = did_you_mean(axis.name, found)
            raise CorpusError(
                f"{path}: no row rates the axis {axis.name!r}; they rate {shortened(', '.join(found), 200)}.{near}"
            )


def is_long(layout: Layout, entries: Sequence[TableEntry], chosen: Mapping[str, str]) -> bool:
    """Tell whether a row is a rating.

    Args:
        layout: How the table is laid out, or ``auto``.
        entries: Its rows.
        chosen: Its column per role and axis.
    """
    num_clips = len({entry.clip.id for entry in entries})
    looks_long = "listener" in chosen or "axis" in chosen or 2 * num_clips <= len(entries)
    return layout == "long" or (layout == "auto" and looks_long)


class Table(AQADataModule):
    """Serve a table of your own ratings: any CSV, TSV, JSON lines or JSON array, with a row per clip or per rating.

    The splits are those of the table's column, unless ``fractions`` is set; a table without such a column is split by
    ``fractions``. With ``folds`` they stay: only ``train`` and ``dev`` are divided into folds. The same seed gives the
    same splits whatever the order of the rows.

    Args:
        path: The table.
        axes: Lowest and highest score per axis name, such as ``{overall: [1, 5]}``; null guesses the one axis that the
            table has.
        audio_root: Folder that relative paths start from; null is the table's.
        columns: Column per role (file, id, system, listener, domain, prompt, split, start, end, axis, score) or per
            axis, where its name does not tell; an empty name is a role that no column has.
        layout: Whether a row is a clip (``wide``) or a rating (``long``); ``auto`` looks.
        split_by: What the made splits keep together: a file's parts (``clip``), a system's clips, a prompt's clips.
        fractions: Share of the clips per split; null is ``{train: 0.8, dev: 0.1, test: 0.1}``.
        split_seed: Seed of the made splits.
        folds: Number of folds for cross-validation, unless the table names its own; null makes none.
        fold: Which fold is ``test``, from 0; null trains on each in turn by ``fit``, then, as ``all`` does, on all of
            them. Without ``folds``, which name of the table's own column of folds.
        dev_fraction: Share of the clips outside the test fold that become ``dev``; null takes the next fold.

    Attributes:
        found_folds: Its clips in folds, once it is read; None without ``folds``.
    """

    def __init__(
        self,
        path: str,
        axes: dict[str, list[float]] | None = None,
        audio_root: str | None = None,
        columns: dict[str, str] | None = None,
        layout: Layout = "auto",
        split_by: SplitBy = "clip",
        fractions: dict[str, float] | None = None,
        split_seed: int = 0,
        folds: int | None = None,
        fold: int | Literal["all"] | None = None,
        dev_fraction: float | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if axes is not None:
            check_roles(columns or {}, make_axes(axes))
        if axes is not None and not axes:
            raise ValueError("axes is empty: name each column of scores and its scale, such as {overall: [1, 5]}.")
        if fractions is not None:
            check_fractions(fractions)
        if folds is not None:
            check_folds(folds, 0, dev_fraction)  # the table may name more folds
        elif fold == "all":
            raise ValueError("fold=all is about the folds of a cross-validation; give their number by folds.")
        self.path, self.scales, self.audio_root, self.columns, self.layout = path, axes, audio_root, columns, layout
        self.split_by, self.fractions, self.split_seed = split_by, fractions, split_seed
        self.folds, self.fold, self.dev_fraction = folds, fold, dev_fraction
        self.found_folds: Folds | None = None

    def group_of(self, clip: Clip) -> str:
        """Return what of a clip the splits keep together: its file, system or prompt."""
        return kept_together(clip, self.split_by)

    def look_closer(self) -> str:
        """Return the sentence with the command that looks at the table."""
        return look_closer(self.path, self.audio_root)

    def read_lists(self) -> Manifest:
        """Read the table."""
        return read_table(self.path, self.scales, audio_root=self.audio_root, columns=self.columns, layout=self.layout)

    def read(self) -> Manifest:
        """Read the table, split it, and warn of what its splits share."""
        check_root(self.audio_root, self.path)
        manifest = self.read_lists()
        if manifest.problems and not any(clip.is_rated() for clip in manifest):
            return manifest  # what is wrong is said before what follows from it
        manifest = self._with_splits(manifest)
        for sentence in leakage(manifest):
            _log.warning("%s: %s", self.path, sentence)
        return manifest

    def _with_splits(self, manifest: Manifest) -> Manifest:
        has_column = any(clip.split for clip in manifest)
        if self.folds is None and self.fold is not None:
            if not has_column:
                raise CorpusError(f"{self.path}: fold={self.fold} needs folds, or a column of folds in the table.")
            assert isinstance(self.fold, int)
            return hold_out(manifest, self.fold, self.split_by, self.split_seed, self.dev_fraction)
        if self.folds is None and (self.fractions is not None or not has_column):
            return split_by_fractions(manifest, self.fractions or DEFAULT_FRACTIONS, self.split_by, self.split_seed)
        bare = [clip.id for clip in manifest if has_column and not clip.split]
        notes = [Problem("no split", self.path, f"{clip_id} has no split, others have", clip_id) for clip_id in bare]
        manifest = Manifest(manifest.clips, manifest.axes, (*manifest.problems, *notes), pairs=manifest.pairs)
        return manifest if self.folds is None else self._of_folds(manifest, self.folds)

    def _of_folds(self, manifest: Manifest, num_folds: int) -> Manifest:
        """Return the clips that training sees with one fold held out, or with none."""
        try:
            folds = find_folds(manifest, num_folds, self.split_by, self.split_seed)
        except CorpusError as error:
            raise CorpusError(f"{self.path}: {error}") from None
        self.found_folds = folds
        if isinstance(self.fold, int):
            return hold_out(folds.inside, self.fold, self.split_by, self.split_seed, self.dev_fraction)
        return learn_all(folds, self.dev_fraction, self.split_by, self.split_seed)
