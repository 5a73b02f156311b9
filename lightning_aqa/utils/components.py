"""The swappable parts of the package: import them all, and list those of a kind."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

PACKAGES = ("data", "encoders", "heads", "objectives")


def import_parts() -> None:
    """Import the modules under data, encoders, heads and objectives, so that short names work on the command line.

    Heavy libraries wait for their first use.
    """
    name_by_module = importlib.import_module("lightning_aqa.utils.class_paths").name_by_module
    for package in PACKAGES:
        for module in _modules(package):
            for part in vars(module).values():
                if inspect.isclass(part) and part.__module__ == module.__name__:
                    name_by_module(part)


def parts_of(package: str, base: type[Any]) -> list[Any]:
    """List the public concrete classes of a kind that a package defines, in the order of their names.

    Args:
        package: One of ``PACKAGES``; each of its modules is imported.
        base: The kind.
    """
    found = {part for module in _modules(package) for part in vars(module).values() if inspect.isclass(part)}
    kind = [part for part in found if issubclass(part, base) and not inspect.isabstract(part)]
    own = [part for part in kind if part.__module__.startswith(f"lightning_aqa.{package}.") and part.__name__[0] != "_"]
    return sorted(own, key=lambda part: part.__name__.lower())


def subclasses(base: type) -> Iterator[type]:
    """Yield the classes below one, at any depth."""
    below: list[type] = base.__subclasses__()
    for part in below:
        yield part
        yield from subclasses(part)


def _modules(package: str) -> list[ModuleType]:
    parent = importlib.import_module(f"lightning_aqa.{package}")
    return [importlib.import_module(f"{parent.__name__}.{item.name}") for item in pkgutil.iter_modules(parent.__path__)]
