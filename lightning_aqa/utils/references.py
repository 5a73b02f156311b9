"""References of OmegaConf, ``${name}``, in configs of others: resolved in bounded time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from omegaconf import Container, DictConfig, ListConfig
from omegaconf.errors import InterpolationResolutionError

MOST = 1_000_000
"""What the references of a config may bring, all taken together: letters, and by their time what follows."""
LOOK_UP, VALUE = 200, 20
"""What a reference, and a value in a mapping or list, counts: as many letters as are copied in its time."""

_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)


@contextmanager
def bounded_references() -> Iterator[None]:
    """Refuse a config, while it is resolved, whose references repeat each other until they fill the memory.

    Raises:
        InterpolationResolutionError: From what resolves, if they bring more than ``MOST``.
    """
    token = _left.set([MOST])
    try:
        yield
    finally:
        _left.reset(token)


def _count(size: int) -> None:
    left = _left.get()
    if left is not None:
        left[0] -= size
        if left[0] < 0:
            raise InterpolationResolutionError("its references repeat each other without end")


def _resolve(self: Any, *args: Any, **kwargs: Any) -> Any:
    found = _own_resolve(self, *args, **kwargs)
    _count(LOOK_UP + (len(found) if isinstance(found, str) else 0))
    return found


def _keys(self: Any) -> Any:
    found = _own_keys(self)
    _count(LOOK_UP + VALUE * len(found))
    return found


def _len(self: Any) -> int:
    found = int(_own_len(self))
    _count(LOOK_UP + VALUE * found)
    return found


_classes: Any = Container, DictConfig, ListConfig
_own_resolve, _own_keys, _own_len = _classes[0].resolve_parse_tree, _classes[1].keys, _classes[2].__len__
_classes[0].resolve_parse_tree, _classes[1].keys, _classes[2].__len__ = _resolve, _keys, _len  # all that resolves asks
