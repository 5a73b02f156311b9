"""Read YAML that somebody else may have written: in bounded time, whatever its aliases and its depth."""

from __future__ import annotations

from typing import Any

import yaml

MOST_LETTERS = 2_000_000
MOST_VALUES = 100_000
MOST_LEVELS = 100
UNCHECKED = 100
"""Letters of a text that cannot be too deep, and without an anchor cannot be too large."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml(text: str) -> None:
    """Refuse a text that would become far more values than it has letters, or nested too deeply to be walked.

    Raises:
        yaml.YAMLError: If it is too large, too deep, expands to too many values, or is no YAML.
    """
    if len(text) > MOST_LETTERS:
        raise yaml.YAMLError(f"it has {len(text)} letters; at most {MOST_LETTERS} are read")
    if len(text) <= UNCHECKED and "&" not in text:
        return
    sizes: dict[str, int] = {}
    levels: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            levels.append((event.anchor, 1))
        elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            anchor, size = _sized(event, levels, sizes)
            if anchor is not None:
                sizes[anchor] = size
            levels[-1] = (levels[-1][0], levels[-1][1] + size)
        if len(levels) > MOST_LEVELS:
            raise yaml.YAMLError(f"it is nested more than {MOST_LEVELS} levels deep")
        if levels[-1][1] > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases make more than {MOST_VALUES} values of it")


def _sized(event: Any, levels: list[tuple[str | None, int]], sizes: dict[str, int]) -> tuple[str | None, int]:
    """Return the anchor of a value that is complete, and the number of values in it."""
    if isinstance(event, yaml.CollectionEndEvent):
        return levels.pop()
    if isinstance(event, yaml.AliasEvent):
        if any(anchor == event.anchor for anchor, _ in levels):
            raise yaml.YAMLError("it holds itself")
        return None, sizes.get(str(event.anchor), 1)
    return event.anchor, 1


def read_yaml(text: str) -> Any:
    """Read a text as plain values.

    Raises:
        yaml.YAMLError: If it is no YAML, or ``check_yaml`` refuses it.
    """
    check_yaml(text)
    try:
        return yaml.load(text, Loader=LOADER)
    except (ValueError, RecursionError, OverflowError) as error:  # a number or a date that Python has not
        raise yaml.YAMLError(str(error)) from error
