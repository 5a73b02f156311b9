"""Parts that were built in Python, as the settings by which a config names them and a checkpoint builds them again."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

HALF = ("16-true", "bf16-true")


def check_precision(precision: str) -> None:
    """Refuse a precision of the trainer that would round the scores.

    Raises:
        ValueError: If weights and scores would be kept in half precision.
    """
    if precision in HALF:
        raise ValueError(
            f"--trainer.precision={precision} keeps weights and scores themselves to 2 or 3 digits; use "
            f"{precision.removesuffix('true')}mixed, which keeps these in float32."
        )


def with_scheduler(optimizer: Any, make: Callable[[Any], Any] | None) -> Any:
    """Return an optimiser with its scheduler, if there is one, as Lightning takes both."""
    from lightning.pytorch.cli import ReduceLROnPlateau

    if make is None:
        return optimizer
    scheduler = make(optimizer)
    if isinstance(scheduler, ReduceLROnPlateau):
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": scheduler.monitor}}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


class NoSettingsError(ValueError):
    """A part or an argument that no config could name."""


class Remembering:
    """Keep the arguments that a part is built with."""

    built_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Build the part, and keep its arguments outside of what a module registers."""
        part = super().__new__(cls)
        vars(part)["built_with"] = (args, kwargs)
        return part


def settings_of(part: object) -> Any:
    """Return a part as ``{"class_path": ..., "init_args": ...}``, and plain values as they are.

    Args:
        part: A part that remembers its arguments, a class, a ``functools.partial`` of one, or a plain value.

    Raises:
        NoSettingsError: If it cannot be imported by its name, or has an argument that is no plain value.

    Example:
        >>> from lightning_aqa.heads.mlp import MLP
        >>> settings_of(functools.partial(MLP, hidden=(8,)))
        {'class_path': 'lightning_aqa.heads.mlp.MLP', 'init_args': {'hidden': [8]}}
    """
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Path):
        return str(part)
    if isinstance(part, list | tuple):
        return [settings_of(item) for item in part]
    if isinstance(part, Mapping):
        return {str(name): settings_of(value) for name, value in part.items()}
    if inspect.isclass(part):
        return {"class_path": _path(part)}
    if isinstance(part, functools.partial) and inspect.isclass(part.func) and not part.args:
        return {"class_path": _path(part.func), "init_args": settings_of(part.keywords)}
    if isinstance(part, Remembering):
        return {"class_path": _path(type(part)), "init_args": settings_of(_arguments(part))}
    raise NoSettingsError(f"{type(part).__name__} is no part that a config could name.")


def _path(kind: type) -> str:
    try:
        is_found = getattr(importlib.import_module(kind.__module__), kind.__qualname__, None) is kind
    except ImportError:
        is_found = False
    if not is_found or kind.__module__ == "__main__":
        raise NoSettingsError(f"{kind.__qualname__} cannot be imported by its name.")
    return f"{kind.__module__}.{kind.__qualname__}"


def _arguments(part: Remembering) -> dict[str, Any]:
    args, kwargs = part.built_with
    signature = inspect.signature(type(part))
    found = dict(signature.bind(*args, **kwargs).arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL and found.get(name):
            raise NoSettingsError(f"{type(part).__name__} has arguments without a name.")
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= found.pop(name, {})
    return found


def keep_plain(hparams: MutableMapping[str, Any], instantiator: str) -> None:
    """Make the arguments of a module what a config has, in place; arguments that no config could have are dropped.

    Args:
        hparams: The arguments: parts as objects, or those of a config already, which have the mark and stay.
        instantiator: Mark of arguments that are complete, by which a checkpoint builds the module again.
    """
    if "_instantiator" in hparams:
        return
    whole = True
    for name, value in list(hparams.items()):
        try:
            hparams[name] = settings_of(value)
        except NoSettingsError:
            del hparams[name]
            whole = whole and name in ("optimizer", "scheduler")  # which a checkpoint is evaluated without
    if whole:
        hparams["_instantiator"] = instantiator
