"""Axes of a table that nobody has named: the columns that hold scores, and the usual scales that these lie in."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.data.columns import ROLES, choose_columns, is_empty
from lightning_aqa.data.parsing import Row
from lightning_aqa.data.separated import is_number
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import shortened

USUAL_SCALES = ((0, 1), (1, 5), (0, 5), (1, 7), (-3, 3), (1, 10), (0, 10), (0, 100))
MOST_SHOWN = 10
MOST_AXES = 20
"""More names than this in a column of axes are something else."""
FEW = 0.05
"""Share of scores that may be slips: a scale that only they lie outside of is asked for, not guessed."""

_SCORES = frozenset({
    "mos", "overall", "quality", "score", "scores", "rating", "ratings", "mushra", "opinion", "ovrl", "sig",
    "bak", "grade", "naturalness", "similarity", "intelligibility", "preference", "liking", "enjoyment",
    "usefulness", "complexity", "pleasantness", "impression", "alignment"
})  # fmt: skip
_NEVER = frozenset({
    "id", "ids", "idx", "index", "num", "number", "count", "counts", "n", "no", "nr", "std", "sd", "stdev",
    "stddev", "var", "variance", "ci", "sem", "se", "err", "error", "lower", "upper", "min", "max", "year",
    "date", "timestamp", "duration", "votes", "seed", "unnamed"
})  # fmt: skip
_SELDOM = frozenset({
    "listener", "rater", "subject", "worker", "annotator", "evaluator", "judge", "participant", "assessor",
    "respondent", "panelist", "expert", "user", "person", "student", "observer", "tester", "age", "sex", "gender",
    "dur", "length", "len", "seconds", "secs", "sec", "s", "ms", "time", "start", "end", "onset", "offset",
    "month", "day", "hour", "rate", "sr", "fs", "hz", "khz", "kbps", "bitrate", "bits", "bit", "channels",
    "channel", "size", "bytes", "frames", "samples", "sample", "fold", "split", "set", "trial", "session",
    "block", "order", "position", "rank", "page", "row", "line", "step", "steps", "epoch", "version", "batch",
    "group", "take", "cluster", "weight", "loudness", "lufs", "rms", "db", "dbfs", "snr", "sdr", "gain", "volume",
    "pitch", "f", "tempo", "bpm", "energy", "pesq", "stoi", "fad", "clap", "wer", "cer", "label", "class",
    "column"
})  # fmt: skip


class GuessedAxis(NamedTuple):
    """Something that may be an axis.

    Args:
        name: Its name: that of its column, or what a column of axes calls it.
        low: Lowest score that was found.
        high: Highest one.
        scale: Usual scale that holds all scores; None where there is none.
        is_named: Whether its name says that it is one.
        likely: Smaller usual scale that holds all but a few, which may be slips; None where there is none.
    """

    name: str
    low: float
    high: float
    scale: tuple[int, int] | None
    is_named: bool
    likely: tuple[int, int] | None = None

    def ends(self) -> list[float]:
        """Return the scale to propose: the likely one, the usual one, or the range that was found."""
        return list(self.likely or self.scale or (self.low, max(self.high, self.low + 1)))


def usual_scale(scores: Sequence[float]) -> tuple[int, int] | None:
    """Return the first usual scale that holds all scores; None where none does.

    Example:
        >>> usual_scale([2, 3.5, 4]), usual_scale([1, 97]), usual_scale([-1, 2]), usual_scale([200])
        ((1, 5), (0, 100), (-3, 3), None)
    """
    low, high = min(scores), max(scores)
    holding = (ends for ends in USUAL_SCALES if ends[0] <= low and high <= ends[1])
    return next((ends for ends in holding if ends != (0, 1) or low < 1), None)


def axes_option(scales: Mapping[str, Sequence[float]]) -> str:
    """Write the option that names axes and their scales, quoted for a shell.

    Example:
        >>> print(axes_option({"overall": [1, 5], "how good?": [0, 100]}))
        --data.axes='{overall: [1, 5], "how good?": [0, 100]}'
    """
    parts = [f"{written_name(name)}: [{low:g}, {high:g}]" for name, (low, high) in scales.items()]
    return "--data.axes=" + shlex.quote("{" + ", ".join(parts) + "}")


def written_name(name: str) -> str:
    """Write a name for YAML: in quotes unless it is a plain word that means nothing else."""
    is_plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
    is_value = name.lower() in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
    return name if is_plain and not is_value else json.dumps(name, ensure_ascii=False)


def guess_scales(path: Path, rows: Sequence[Row], columns: Mapping[str, str]) -> dict[str, list[float]]:
    """Return the one axis that a table has and its scale, or the axes that ``columns`` names.

    Args:
        path: The table, for messages.
        rows: Its rows.
        columns: Column per role or axis, where its name does not tell.

    Raises:
        CorpusError: If several columns may be meant or none, or a scale is in doubt; with the lines to choose from.
    """
    found = plausible_axes(path, rows, columns)
    if len(found) == 1 or (found and set(columns) - ROLES.keys()):
        for axis in found:
            _check_scale(path, axis)
        return {axis.name: axis.ends() for axis in found}
    if not found:
        has = shortened(", ".join(_names(rows)), 200)
        line = axes_option({"overall": [1, 5]})
        raise CorpusError(f"{path}: no column that looks like scores; it has {has}. Name one and its scale: {line}")
    listed = shortened(", ".join(f"{axis.name} ({axis.low:g} to {axis.high:g})" for axis in found), 200)
    lines = [axes_option({axis.name: axis.ends() for axis in found})]
    lines += [axes_option({axis.name: axis.ends()}) for axis in found[:MOST_SHOWN]]
    told = "".join(f"\n    {line}" for line in lines)
    raise CorpusError(f"{path}: several axes may be meant, {listed}; choose all of them or one by its line:{told}")


def _check_scale(path: Path, axis: GuessedAxis) -> None:
    """Refuse to guess a scale from scores that lie in none, or all but a few in a smaller one."""
    spread = f"{path}: the scores of {axis.name} run from {axis.low:g} to {axis.high:g}"
    line = axes_option({axis.name: axis.ends()})
    if axis.scale is None:
        raise CorpusError(f"{spread}, which is no usual scale; give its lowest and highest score, such as {line}")
    if axis.likely is not None:
        other = axes_option({axis.name: axis.scale})
        raise CorpusError(f"{spread}, nearly all in {list(axis.likely)}; give its scale: {line} or {other}")


def plausible_axes(path: Path, rows: Sequence[Row], columns: Mapping[str, str]) -> list[GuessedAxis]:
    """Find what may be an axis: the one column that is called so, or all that look like scores on one scale.

    Args:
        path: The table, for messages.
        rows: Its rows.
        columns: Column per role or axis, where its name does not tell.

    Raises:
        CorpusError: If the audio file has no column.
    """
    own = {name: column for name, column in columns.items() if name not in ROLES}
    if own:
        read = (describe_axis(name, (row.fields.get(column) for row in rows)) for name, column in own.items())
        return [axis for axis in read if axis is not None]
    chosen = choose_columns(path, _names(rows), (), columns)
    if {"axis", "score"} <= chosen.keys() and (groups := _groups(rows, chosen, is_sure="axis" in columns)):
        return [axis for name, cells in groups.items() if (axis := describe_axis(name, cells)) is not None]
    taken = {column for role, column in chosen.items() if role not in ("score", "axis")}
    free = [name for name in _names(rows) if name not in taken]
    found = [axis for name in free if (axis := _of_column(name, [row.fields.get(name) for row in rows]))]
    named = [axis for axis in found if axis.is_named]
    if len(named) == 1:  # others beside it are told of where they are on its scale
        return [axis for axis in found if axis.is_named or axis.scale == named[0].scale]
    return named or found


def describe_axis(name: str, cells: Iterable[object], *, is_named: bool = True) -> GuessedAxis | None:
    """Describe the scores in some cells; None where these are not numbers.

    Args:
        name: Name of the axis.
        cells: Its cells; empty ones do not count, and one may be a list of ratings.
        is_named: Whether its name says that it is an axis.
    """
    numbers = _numbers(cells)
    return _described(name, numbers, is_named=is_named) if numbers else None


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.fields))


def _groups(rows: Sequence[Row], chosen: Mapping[str, str], *, is_sure: bool) -> dict[str, list[object]]:
    """Return the scores per name in a column of axes; none where it tells a clip's kind and not what is rated."""
    groups: dict[str, list[object]] = {}
    files: dict[str, set[str]] = {}
    for row in rows:
        name = str(row.fields.get(chosen["axis"]) or "").strip()
        groups.setdefault(name, []).append(row.fields.get(chosen["score"]))
        files.setdefault(str(row.fields.get(chosen["file"])), set()).add(name)
    groups.pop("", None)
    is_axis = len(groups) == 1 or any(len(names) > 1 for names in files.values())
    return groups if is_sure or (is_axis and len(groups) <= MOST_AXES) else {}


def _numbers(cells: Iterable[object]) -> list[float]:
    """Return the finite numbers of a column; none unless nearly all of its cells that are not empty are numbers."""
    flat = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell]) if not is_empty(item)]
    texts = [re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", str(item).strip()) for item in flat]
    numbers = [float(text) for text in texts if is_number(text) and abs(float(text)) < float("inf")]
    return numbers if numbers and 5 * len(numbers) >= 4 * len(texts) else []


def _described(name: str, numbers: Sequence[float], *, is_named: bool) -> GuessedAxis:
    scale = usual_scale(numbers)
    return GuessedAxis(name, min(numbers), max(numbers), scale, is_named, _likely(numbers, scale))


def _likely(numbers: Sequence[float], scale: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the much smaller usual scale that all but a few scores lie in."""
    span = float("inf") if scale is None else scale[1] - scale[0]
    for low, high in USUAL_SCALES[1:]:
        outside = sum(not low <= number <= high for number in numbers)
        if 2 * (high - low) <= span and 0 < outside <= FEW * len(numbers):
            return low, high
    return None


def _of_column(name: str, cells: Sequence[object]) -> GuessedAxis | None:
    """Describe a column that may hold scores; None for one that does not."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+", name)]
    is_scored = [word in _SCORES or word.endswith(("mos", "score")) for word in words] or [False]
    if _NEVER & set(words) or (_SELDOM & set(words) and not is_scored[-1]):
        return None
    numbers = _numbers(cells)
    if not numbers or not (any(is_scored) or _looks_rated(numbers)):
        return None
    return _described(name, numbers, is_named=any(is_scored))


def _looks_rated(numbers: Sequence[float]) -> bool:
    """Tell whether numbers under a name that says nothing may be scores, not flags, measures, or numbers of rows."""
    distinct = set(numbers)
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    is_numbering = steps <= {0.0, 1.0} or (len(distinct) == len(numbers) > 10 and all(n % 1 == 0 for n in distinct))
    return len(distinct) > 1 and usual_scale(numbers) not in (None, (0, 1)) and not is_numbering
