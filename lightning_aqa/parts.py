"""Import every part of the package, so that its short name works on the command line."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from lightning_aqa import data, encoders, heads, objectives


def import_parts() -> None:
    """Import the modules under data, encoders, heads and objectives; heavy libraries wait for their first use."""
    for package in (data, encoders, heads, objectives):
        for name in _module_names(package):
            importlib.import_module(name)


def _module_names(package: ModuleType) -> list[str]:
    return [f"{package.__name__}.{item.name}" for item in pkgutil.iter_modules(package.__path__)]
