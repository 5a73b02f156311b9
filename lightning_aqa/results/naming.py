"""Seeds and short names: runs that differ in seeds alone are repetitions of one variant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_SEED_SUFFIX = re.compile(r"[-_. ]?(s|seed|fold)?[-_=]?\d+$")


def is_seed(name: str) -> bool:
    """Tell whether a parameter is a seed: runs that differ in it alone are repetitions.

    Example:
        >>> [is_seed(name) for name in ("seed_everything", "data.split_seed", "model.head")]
        [True, True, False]
    """
    last = name.rsplit(".", 1)[-1]
    return last == "seed_everything" or last.endswith("seed")


def without_seeds(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the seeds of settings.

    Example:
        >>> without_seeds({"seed_everything": 1, "lr": 0.1})
        {'lr': 0.1}
    """
    return {name: value for name, value in settings.items() if not is_seed(name)}


def without_seed_suffix(folder: str) -> str:
    """Cut the number of the seed off the name of a run folder.

    Example:
        >>> [without_seed_suffix(name) for name in ("clap-2", "clap_seed3", "clap")]
        ['clap', 'clap', 'clap']
    """
    return _SEED_SUFFIX.sub("", folder)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Shorten dotted keys to the last parts that tell them apart.

    Example:
        >>> short_names(["a.near.weight", "a.far.weight", "lr"])
        {'a.near.weight': 'near.weight', 'a.far.weight': 'far.weight', 'lr': 'lr'}
    """
    short = {}
    for name in names:
        parts = name.split(".")
        for start in reversed(range(len(parts))):
            end = ".".join(parts[start:])
            if sum(f".{other}".endswith(f".{end}") for other in names) == 1:
                break
        short[name] = end
    return short


def tell_apart(names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Add to names that repeat the settings that tell them apart.

    Args:
        names: Names of variants.
        settings: Settings of each, seeds left out.

    Example:
        >>> tell_apart(["base", "base", "new"], [{"epochs": 5}, {"epochs": 50}, {"epochs": 5}])
        ['base (epochs=5)', 'base (epochs=50)', 'new']
    """

    def message(name: str, own: Mapping[str, Any]) -> str:
        others = [other for mate, other in zip(names, settings, strict=True) if mate == name]
        keys = [key for key in own if any(key not in other or other[key] != own[key] for other in others)]
        return name + (f" ({', '.join(f'{key}={own[key]}' for key in keys)})" if keys else "")

    return [message(name, own) for name, own in zip(names, settings, strict=True)]
