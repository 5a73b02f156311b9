"""Classes that configs and checkpoints name: looked at before they are imported, and again before they are built."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import jsonargparse
from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser

PRIVATE_NAMES = (
    "jsonargparse._util",
    "jsonargparse._util.check_import_path",
    "jsonargparse._util.resolved_import_paths",
)
"""Names by their dotted paths; tests/test_private_api.py looks whether they are still there."""

OWN_PACKAGES = {"lightning_aqa", "lightning", "pytorch_lightning", "torch", "torchmetrics", "transformers"}
"""Packages whose modules are imported without a look at their source: those that this package runs on anyway."""

PLAIN = {"datetime"}
"""Modules of the standard library whose classes are mere values."""

EXPECTED = "expected the dotted path of a class that is a part, such as lightning_aqa.heads.mlp.MLP"


class RefusedPathError(ImportError, ValueError):
    """A dotted path that no config and no checkpoint may name; of both kinds, so that parsers report it."""


def check_path(path: str) -> None:
    """Refuse a dotted path before anything is imported for it.

    Refused is what is of the standard library (``os.system``), and a module that is not imported yet and, by its
    source, does not define such a class: importing it would run it.

    Args:
        path: Dotted path of a class, or of what a class comes from.

    Raises:
        RefusedPathError: If it is refused.
    """
    top = path.split(".")[0]
    if top in sys.stdlib_module_names and top not in PLAIN:
        raise RefusedPathError(f"'{path}' is refused, since it is of Python's standard library; {EXPECTED}.")
    if "__main__" in path.split(".")[1:]:
        raise RefusedPathError(f"'{path}' is refused and not imported, since it is a program; {EXPECTED}.")
    if top not in OWN_PACKAGES and not _defines(path.split(".")):
        raise RefusedPathError(f"'{path}' is refused and not imported, since its file has no such class; {EXPECTED}.")


def _defines(parts: list[str]) -> bool:
    """Tell by its source whether a module has a class; true where it is imported already, and where nothing is found.

    Nothing is imported: a module is looked for in its package's folders, not in the package.
    """
    spec: ModuleSpec | None = None
    folders: Any = None
    for index, part in enumerate(parts):
        name = ".".join(parts[: index + 1])
        if name in sys.modules:
            spec, folders = None, getattr(sys.modules[name], "__path__", None)
            continue
        if index and folders is None:
            found = None
        else:
            found = PathFinder.find_spec(name, folders) if index else importlib.util.find_spec(name)
        if found is None:
            return spec is None or _binds(spec, part)
        spec, folders = found, found.submodule_search_locations
    return True


def _binds(spec: ModuleSpec, name: str) -> bool:
    """Tell whether a file defines a class with a base, or a package hands one on."""
    path = Path(spec.origin or "")
    if path.suffix != ".py" or not path.is_file():
        return True
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise RefusedPathError(f"'{name}' is refused, since {path} is no Python: {error}; {EXPECTED}.") from None
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef) and node.bases}
    if path.name == "__init__.py":
        handed_on = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        classes |= {alias.asname or alias.name for node in handed_on for alias in node.names}
    return not {name, "*"}.isdisjoint(classes)


def check_classes(settings: Any, key: str = "") -> None:
    """Refuse settings in which something stands for a class that is none, such as a function; before it is called.

    Whether a class is of the kind that its place expects is seen when the settings are parsed.

    Args:
        settings: Parsed settings: mappings and lists, in which ``class_path`` names a class.
        key: Where they stand, for the message.

    Raises:
        ValueError: If a ``class_path`` is no class.
    """
    if isinstance(settings, list | tuple):
        for item in settings:
            check_classes(item, key)
    if not isinstance(settings, Mapping | Namespace):
        return
    path = settings.get("class_path")
    if isinstance(path, str) and (found := _imported(path)) is not None and not inspect.isclass(found):
        raise ValueError(f"{key or 'class_path'}: '{path}' is no class; {EXPECTED}.")
    for name, value in (vars(settings) if isinstance(settings, Namespace) else settings).items():
        is_of_subcommand = not key and name == settings.get("subcommand")
        check_classes(value, "" if is_of_subcommand else f"{key}.{name}".removeprefix("."))


def _imported(path: str) -> object | None:
    """Return what a dotted path names, if that is imported."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: object | None = sys.modules.get(".".join(parts[:end]))
        if found is not None:
            for part in parts[end:]:
                found = getattr(found, part, None)
            return found
    return None


class CheckedParser(LightningArgumentParser):
    """LightningArgumentParser that imports and calls nothing that is no part."""

    def instantiate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> Namespace:
        """Build the parts of a parsed config, once each is seen to be a class."""
        check_classes(namespace)
        built: Namespace = super().instantiate(namespace, *args, **kwargs)
        return built


def _check_import_path(path: str) -> None:
    """Look at a path before jsonargparse imports it, and at where it leads to; tell what its module raises."""
    check_path(path)
    _own_check(path)
    module = path.rpartition(".")[0]
    if not module or module in sys.modules or module.split(".")[0] in OWN_PACKAGES:
        return
    try:
        importlib.import_module(module)
    except ImportError:
        return  # jsonargparse looks for a class within a class, and tells what is missing
    except (Exception, SystemExit) as error:
        message = f"'{path}' is refused, since importing it ends in {type(error).__name__}: {error}; {EXPECTED}."
        raise RefusedPathError(message) from error


def name_by_module(kind: type) -> None:
    """Let configs name a class by the module that defines it, as ever, though its package hands it on."""
    _jsonargparse.resolved_import_paths.add(kind, f"{kind.__module__}.{kind.__qualname__}")


_jsonargparse: Any = jsonargparse._util
_own_check = _jsonargparse.check_import_path
_jsonargparse.check_import_path = _check_import_path
set_parsing_settings(
    import_path_denylist=sorted(sys.stdlib_module_names - PLAIN),
    instantiate_subclass_spec_in_any=False,
)
