"""Old names of modules and of arguments of parts, which configs and checkpoints of earlier versions hold."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

RENAMED = {
    "lightning_aqa.encoders.freezing": "lightning_aqa.encoders.finetuning",
    "lightning_aqa.encoders.hub": "lightning_aqa.encoders.huggingface",
    "lightning_aqa.heads.linear": "lightning_aqa.heads.musiceval_baseline",
    "lightning_aqa.weights": "lightning_aqa.utils.weights",
}
"""Today's module for each old name."""

RENAMED_ARGUMENTS = {
    "AQADataModule": {"level": "normalise"},
    "QAMRO": {"memory": "memory_size"},
    "Scorer": {"level": "normalise"},
}
"""Today's argument for each old name, by the class."""

Value = TypeVar("Value")

REMOVAL = "0.3"
"""The version in which old names go."""


class OldNames(MetaPathFinder, Loader):
    """Import today's module under an old name, with one warning."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how to import an old name; None for all others."""
        return ModuleSpec(name, self) if name in RENAMED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return today's module."""
        new = RENAMED[spec.name]
        warnings.warn(f"{spec.name} is now {new}; the old name will go in {REMOVAL}.", FutureWarning, stacklevel=2)
        module = importlib.import_module(new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own specification back, which the import under the old name has replaced."""
        module.__spec__ = self._spec


def install() -> None:
    """Let old names be imported; once in a process."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())


def renamed_argument(owner: object, old: str, given: Value | None, value: Value) -> Value:
    """Return the value of an argument: of its old name where that was given, with a warning, else of today's.

    The class keeps the old name in its signature, last and with None as its default, so that the command line, configs
    and Python all take it.

    Args:
        owner: The part; its class stands in ``RENAMED_ARGUMENTS``.
        old: The old name.
        given: What came by the old name; None is nothing.
        value: What came by today's name.

    Raises:
        ValueError: If both were given, and say different things.
    """
    if given is None:
        return value
    name = type(owner).__name__
    homes = [base for base in type(owner).__mro__ if base.__name__ in RENAMED_ARGUMENTS]
    new = RENAMED_ARGUMENTS[homes[0].__name__][old]
    default = inspect.signature(homes[0]).parameters[new].default
    if value not in (default, given):
        raise ValueError(f"{name}: {old}={given!r} and {new}={value!r} are one setting; give {new} alone.")
    message = f"{name}: the argument {old} is now {new}; the old name will go in {REMOVAL}."
    warnings.warn(message, FutureWarning, stacklevel=3)
    return given


def with_new_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a config under dotted names, with today's name for each old one.

    Args:
        settings: Such as ``{"objectives.qamro": "QAMRO", "objectives.qamro.memory": 8}``: parts by their classes.

    Example:
        >>> with_new_names({"objectives.q": "QAMRO", "objectives.q.memory": 8, "objectives.q.memory_size": 0})
        {'objectives.q': 'QAMRO', 'objectives.q.memory_size': 8}
    """
    found = dict(settings)
    for name in settings:
        part, _, old = name.rpartition(".")
        owner = "AQADataModule" if part == "data" else str(settings.get(part))
        new = RENAMED_ARGUMENTS.get(owner, {}).get(old)
        if new is not None and (value := found.pop(name)) is not None:
            found[f"{part}.{new}"] = value
    return found
