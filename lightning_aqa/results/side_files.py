"""Files of a run folder that add to its predictions: whole, or left out with one warning that names the file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lightning_aqa.utils.documents import MOST_YAML_BYTES, parse_yaml, read_json
from lightning_aqa.utils.files import read_text

_log = logging.getLogger(__name__)

Content = TypeVar("Content")
Numbers = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""Recorded numbers by split, level, axis and metric."""

_TRIAL_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str, "sweep": str, "number": int, "parameters": dict, "variant": str, "state": str,
    "start": (str, type(None)), "end": (str, type(None)), "seconds": (int, float, type(None)),
    "exit_code": (int, type(None)), "command": (list, str), "attempts": int, "host": str, "pid": (int, type(None)),
}  # fmt: skip
_SWEEP_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str, "file": str, "command": list, "words": list, "metric": (dict, type(None)), "description": str,
}  # fmt: skip


def if_whole(path: Path, read: Callable[[Path], Content]) -> Content | None:
    """Read a file that a run can do without; None where it is missing, or damaged, which is said in a warning.

    Args:
        path: The file.
        read: Its reader, which raises ``ValueError`` with the file's name.
    """
    if not path.exists():
        return None
    try:
        return read(path)
    except ValueError as error:
        _log.warning("%s It is left out.", error)
        return None


def read_results(path: Path) -> Numbers:
    """Read the numbers of ``results.json``; what is no number is undefined, and absent.

    Raises:
        ValueError: If they are not by split, level, axis and metric; the message names the file.
    """
    return {
        split: {
            level: {axis: _numbers(entry) for axis, entry in _mapping(axes, path).items() if isinstance(entry, dict)}
            for level, axes in _mapping(levels, path).items()
        }
        for split, levels in _mapping(read_json(path), path).items()
    }


def _mapping(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not numbers by split, level, axis and metric.")
    return value


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for metric, value in entry.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            found[metric] = float(value)
    return found


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """Read ``config.yaml``: its text, and what it says.

    Raises:
        ValueError: If it is no YAML of settings; the message names the file.
    """
    text = read_text(path, MOST_YAML_BYTES)
    try:
        config = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from None
    if text and not text.endswith("\n"):
        raise ValueError(f"{path}: its last line is cut off; is it half a copy?")
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not a config, which has data, model and so on.")
    return text, config


def read_sweep_record(path: Path, needed: Sequence[str] = ()) -> dict[str, Any]:
    """Read ``sweep.json``, which says what the trials of a folder are of.

    Args:
        path: The file.
        needed: What it must say.

    Raises:
        ValueError: If it is damaged; the message names the file.
    """
    return _record_of("a sweep", path, _SWEEP_TYPES, needed)


def read_trial(path: Path, needed: Sequence[str] = ()) -> dict[str, Any]:
    """Read ``trial.json``, the record of a trial.

    Args:
        path: The file.
        needed: What it must say.

    Raises:
        ValueError: If it is none; the message names the file.
    """
    return _record_of("a trial", path, _TRIAL_TYPES, needed)


def _record_of(
    whole: str, path: Path, types: Mapping[str, type | tuple[type, ...]], needed: Sequence[str]
) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict):
        raise ValueError(f"{path}: not the record of {whole}.")
    for name in needed:
        if name not in record:
            raise ValueError(f"{path}: not the record of {whole} (no {name}).")
    for name, kind in types.items():
        if name in record and not isinstance(record[name], kind):
            raise ValueError(f"{path}: not the record of {whole} ({name} is a {type(record[name]).__name__}).")
    return record
