"""Swap a part by one word: the new one starts from its own defaults, not from settings of the old one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.utils.components import subclasses

SWAPPED: dict[str, type] = {"--model.encoder": Encoder, "--model.head": Head}
"""Flags that name a part, and its kind. Settings such as ``checkpoint`` mean something else for another class."""


VARIANT = "--variant"


def with_variant(words: Sequence[str]) -> list[str]:
    """Read the config files that ``--variant`` names, after the other config files and before all settings.

    A variant is a small config file over a base. It is a flag of its own, since W&B keeps a sweep's parameters by their
    names and ``config`` is where runs keep the whole config; and in any place, since W&B orders parameters as it likes.

    Args:
        words: Words of the command line.

    Returns:
        The words, with a ``--config`` put in for each variant.

    Example:
        >>> with_variant(["fit", "--seed_everything=1", "--variant=b.yaml", "--config", "a.yaml", "--patience=3"])
        ['fit', '--seed_everything=1', '--variant=b.yaml', '--config', 'a.yaml', '--config=b.yaml', '--patience=3']
    """
    words = list(words)
    following = [*words[1:], ""]
    files = [word.partition("=")[2] for word in words if word.startswith(f"{VARIANT}=")]
    files += [name for word, name in zip(words, following, strict=True) if word == VARIANT]
    ends = [n + 1 for n, word in enumerate(words) if word.startswith("--config=")]
    ends += [n + 2 for n, word in enumerate(words) if word in ("--config", "-c")]
    place = max(ends, default=1)
    return [*words[:place], *(f"--config={name}" for name in files if name not in ("", "null")), *words[place:]]


def with_own_defaults(words: Sequence[str]) -> list[str]:
    """Reset what a swapped part would take over from the config file's part of another class.

    jsonargparse keeps the settings that both classes have, so that ``--model.encoder=BEATs`` would load the config's
    CLAP checkpoint. After such a word, words are put in that give these settings their defaults; what the user sets
    comes after it and counts.

    Args:
        words: Words of the command line.

    Returns:
        The words, with those put in.
    """
    result: list[str] = []
    for number, word in enumerate(words):
        result.append(word)
        flag, _, name = word.partition("=")
        if flag in SWAPPED and not name and number + 1 < len(words):
            continue  # the name is the next word
        if number and words[number - 1] in SWAPPED:
            flag, name = words[number - 1], word
        if flag in SWAPPED and name:
            result += _resets(flag, name, _of_config(words, flag.removeprefix("--model.")))
    return result


def _resets(flag: str, name: str, old: dict[str, Any]) -> list[str]:
    """Return the words that give the settings which two classes share the defaults of the new one."""
    found = [part for part in subclasses(SWAPPED[flag]) if name in (part.__name__, _path(part))]
    if not found or old.get("class_path", "").rsplit(".", 1)[-1] == found[0].__name__:
        return []
    parameters = inspect.signature(found[0]).parameters
    shared = [parameters[key] for key in old.get("init_args") or {} if key in parameters]
    return [f"{flag}.{p.name}={_written(p.default)}" for p in shared if p.default is not inspect.Parameter.empty]


def _of_config(words: Sequence[str], part: str) -> dict[str, Any]:
    """Return what the config files say of a part: its class and settings, those of the last file that names it."""
    following = [*words[1:], ""]
    paths = [next_word for word, next_word in zip(words, following, strict=True) if word in ("--config", "-c")]
    paths += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    said: dict[str, Any] = {}
    for path in (Path(path) for path in paths if Path(path).is_file()):
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError:
            continue  # the parser says what is wrong with it
        model = loaded.get("model") if isinstance(loaded, dict) else None
        given = model.get(part) if isinstance(model, dict) else None
        said = given if isinstance(given, dict) else said
    return said


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _path(part: type) -> str:
    return f"{part.__module__}.{part.__qualname__}"
