"""Which column of a user's table holds what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_aqa.batch import Axis
from lightning_aqa.data.check import CorpusError
from lightning_aqa.data.lists import did_you_mean

ROLES: dict[str, tuple[str, ...]] = {
    "file": ("file", "path", "filename", "file_name", "filepath", "file_path", "wav", "wav_path", "audio", "audio_path",
             "data_path", "clip", "id"),
    "id": ("id", "clip_id", "sample_id", "utterance_id"),
    "system": ("system", "system_id", "model"),
    "listener": ("listener", "listener_id", "rater", "rater_id", "worker", "worker_id", "subject", "annotator"),
    "domain": ("domain",),
    "prompt": ("prompt", "text", "caption"),
    "split": ("split", "set", "subset", "fold"),
    "start": ("start", "start_seconds", "start_time"),
    "end": ("end", "end_seconds", "end_time"),
    "axis": ("axis", "dimension", "aspect"),
    "score": ("score", "rating", "mos", "value"),
}  # fmt: skip
"""Names that the columns of each role go by, the likeliest first; case does not matter."""


def make_axes(scales: Mapping[str, Sequence[float]]) -> tuple[Axis, ...]:
    """Make axes of their names and scales.

    Raises:
        ValueError: If a scale is not a lowest and a highest score.

    Example:
        >>> make_axes({"musical_quality": [1, 5]})
        (Axis(name='musical_quality', title='Musical quality', low=1.0, high=5.0),)
    """
    for name, scale in scales.items():
        if len(scale) != 2 or not scale[0] < scale[1]:
            raise ValueError(f"axes.{name} must be its lowest and highest score, such as [1, 5]; got {list(scale)}.")
    return tuple(Axis(name, _title(name), float(low), float(high)) for name, (low, high) in scales.items())


def _title(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def check_roles(columns: Mapping[str, str], axes: Sequence[Axis]) -> None:
    """Raise ``ValueError`` for a key of ``columns`` that is neither a role nor an axis."""
    known = [*ROLES, *(axis.name for axis in axes)]
    for role in columns:
        if role not in known:
            raise ValueError(f"columns names {role!r}, which is none of {', '.join(known)}.{did_you_mean(role, known)}")


def choose_columns(
    path: Path, names: Sequence[str], axes: Sequence[Axis], columns: Mapping[str, str]
) -> dict[str, str]:
    """Find the column of each role and of each axis.

    Args:
        path: The table, for messages.
        names: Its columns.
        axes: What its listeners rated.
        columns: Column per role or axis, where its name does not tell; an empty name is a role that no column has.

    Returns:
        Column per role and axis that has one. Either every axis has a column, or ``axis`` and ``score`` have.

    Raises:
        CorpusError: If the file or an axis has no column, or ``columns`` names one that is not there.
    """
    for role, column in columns.items():
        if column and column not in names:
            raise CorpusError(f"{path}: no column {column!r} for {role}; {_has(names)}{did_you_mean(column, names)}")
    chosen = {axis.name: axis.name for axis in axes if axis.name in names} | dict(columns)
    lowered = {name.lower(): name for name in names if name not in chosen.values()}
    for role, candidates in ROLES.items():
        found = next((lowered[candidate] for candidate in candidates if candidate in lowered), "")
        if role not in chosen and found:
            chosen[role] = lowered.pop(found.lower())
    chosen = {role: column for role, column in chosen.items() if column}
    if "score" not in chosen and "axis" not in {*columns, *(axis.name for axis in axes)}:
        chosen.pop("axis", None)  # without a score beside it, it is about something else
    if "file" not in chosen:
        raise CorpusError(f"{path}: no column for the audio file ({', '.join(ROLES['file'])}); {_has(names)}")
    missing = [axis.name for axis in axes if axis.name not in chosen]
    if missing and not {"axis", "score"} <= chosen.keys():
        raise CorpusError(f"{path}: no column {missing[0]!r}; {_has(names)}{did_you_mean(missing[0], names)}")
    return chosen


def _has(names: Sequence[str]) -> str:
    return f"it has {', '.join(names)}."
