"""Swap a part by one flag: the new one starts from its own defaults, not from settings of the old one."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import Logger

from lightning_aqa.cli.experiments import located
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.utils.args import CONFIG_FLAGS, find_options
from lightning_aqa.utils.components import subclasses
from lightning_aqa.utils.yaml_text import read_yaml

SWAPPED: dict[str, type] = {"--model.encoder": Encoder, "--model.head": Head, "--trainer.logger": Logger}
"""Flags that name a part, and its kind. Settings such as ``checkpoint`` mean something else for another class."""


VARIANT = "--variant"
OWN_DATA = "experiments/own_data.yaml"
"""Experiment that trains on a table of the user's."""


def with_table(args: Sequence[str]) -> list[str]:
    """Let ``fit TABLE [AUDIO_ROOT]`` stand for the experiment on own data; a config or a corpus of the user's counts.

    Args:
        args: Arguments of the command line, the subcommand first.

    Raises:
        ValueError: If there are more of them, or a config stands there without its flag.

    Example:
        >>> with_table(["fit", "ratings.csv", "clips"])
        ['fit', '--config=experiments/own_data.yaml', '--data.path=ratings.csv', '--data.audio_root=clips']
        >>> with_table(["fit", "--config", "a.yaml"])
        ['fit', '--config', 'a.yaml']
    """
    if args[:1] != ["fit"]:
        return list(args)
    count = next((i for i, arg in enumerate(args[1:]) if arg.startswith("-")), len(args) - 1)
    named, rest = args[1 : 1 + count], args[1 + count :]
    is_own = any(option.flag == "--data.path" for option in find_options(rest, ["--data.path"]))
    if not named and not is_own:
        return list(args)
    if named and named[0].lower().endswith((".yaml", ".yml")):
        raise ValueError(f"{named[0]} looks like a config, which has a flag: fit --config {named[0]}")
    if len(named) > 2:
        raise ValueError(f"fit takes a table and a folder of audio, got {len(named)}: {' '.join(named)}.")
    chosen = find_options(rest, [*CONFIG_FLAGS, "--data", "--data.class_path"])
    flags = [f"{flag}={value}" for flag, value in zip(("--data.path", "--data.audio_root"), named, strict=False)]
    return ["fit", *([] if chosen else [f"--config={OWN_DATA}"]), *flags, *rest]


def with_variant(args: Sequence[str]) -> list[str]:
    """Read the config files that ``--variant`` names, after the other config files and before all settings.

    A variant is a small config file over a base. It is a flag of its own, since W&B keeps a sweep's parameters by their
    names and ``config`` is where runs keep the whole config; and in any position, since W&B orders parameters as it
    likes.

    Args:
        args: Arguments of the command line.

    Returns:
        The arguments, with a ``--config`` put in for each variant.

    Example:
        >>> with_variant(["fit", "--seed_everything=1", "--variant=b.yaml", "--config", "a.yaml", "--patience=3"])
        ['fit', '--seed_everything=1', '--variant=b.yaml', '--config', 'a.yaml', '--config=b.yaml', '--patience=3']
    """
    files = [option.value for option in find_options(args, [VARIANT])]
    index = max((option.stop for option in find_options(args, CONFIG_FLAGS)), default=1)
    configs = [f"--config={located(name)}" for name in files if name not in ("", "null")]
    return [*args[:index], *configs, *args[index:]]


def with_own_defaults(args: Sequence[str]) -> list[str]:
    """Reset what a swapped part would take over from the config file's part of another class.

    jsonargparse keeps the settings that both classes have, so that ``--model.encoder=BEATs`` would load the config's
    CLAP checkpoint. After such an argument, others are put in that give these settings their defaults; what the user
    sets comes after it and counts.

    Args:
        args: Arguments of the command line.

    Returns:
        The arguments, with those put in.
    """
    result: list[str] = []
    done = 0
    for flag, name, _, stop in find_options(args, SWAPPED):
        result += [*args[done:stop], *_resets(flag, name, _of_config(args, flag.lstrip("-")))]
        done = stop
    return [*result, *args[done:]]


def _resets(flag: str, name: str, old: dict[str, Any]) -> list[str]:
    """Return the arguments that give the settings which two classes share the defaults of the new one."""
    found = [part for part in subclasses(SWAPPED[flag]) if _is(name, part)]
    if not found or old.get("class_path", "").rsplit(".", 1)[-1] == found[0].__name__:
        return []
    parameters = inspect.signature(found[0]).parameters
    shared = [parameters[key] for key in old.get("init_args") or {} if key in parameters]
    return [f"{flag}.{p.name}={_written(p.default)}" for p in shared if p.default is not inspect.Parameter.empty]


def _of_config(args: Sequence[str], part: str) -> dict[str, Any]:
    """Return class and settings of a part, such as ``model.head``, in the last config file that names it."""
    settings: dict[str, Any] = {}
    for path in (Path(option.value) for option in find_options(args, CONFIG_FLAGS) if Path(option.value).is_file()):
        try:
            loaded = read_yaml(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue  # the parser says what is wrong with it
        for key in part.split("."):
            loaded = loaded.get(key) if isinstance(loaded, dict) else None
        settings = loaded if isinstance(loaded, dict) else settings
    return settings


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is(name: str, part: type) -> bool:
    """Tell whether a class goes by a name: its own, or a dotted path to it."""
    module, _, last = name.rpartition(".")
    return name == part.__name__ or getattr(sys.modules.get(module), last, None) is part
