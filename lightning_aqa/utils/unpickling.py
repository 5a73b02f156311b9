"""Read pickles of any protocol as data: plain values are built, all else stays an inert stand-in, nothing is called."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lightning_aqa.utils.plain_values import (
    PLAIN,
    SCALARS,
    Builders,
    Dtype,
    RefusedNameError,
    StandIn,
    fill_array,
    judge,
    key_of,
)

MOST_STEPS = 10_000_000
"""Most opcodes of a pickle, which take about a minute; checkpoints with an optimiser have some 100 000."""


def unpickle(file: Any, builders: Builders, persistent: Callable[[Any], Any]) -> Any:
    """Read one pickle; of a file, up to where it ends.

    Args:
        file: The pickle as bytes, or a binary file or map of one; reading a file must not give more than it has.
        builders: What is built of names beside plain values: functions that are safe for any arguments.
        persistent: Returns what a persistent id stands for.

    Raises:
        RefusedNameError: If it names something of Python, torch or numpy that is no data.
        ValueError: If it is damaged.
    """
    machine = _Machine({**PLAIN, **builders}, persistent)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > MOST_STEPS:
                raise ValueError(f"more than {MOST_STEPS} steps")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.run(opcode.name, argument)
    except (RefusedNameError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"damaged, or no pickle: {type(error).__name__}: {error}") from error
    raise ValueError("damaged: it has no end")


class _Machine:
    """The stack machine of pickles, on which nothing but data lies."""

    def __init__(self, builders: Builders, persistent: Callable[[Any], Any]) -> None:
        self.builders, self.persistent = builders, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """Run one opcode."""
        own = getattr(self, f"_on_{name.lower()}", None)
        if name in STORES:
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self.stack[-1]
        elif name in RECALLS:
            self.stack.append(self.memo[argument])
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif own is not None:
            own(argument) if name in WITH_ARGUMENT else own()
        elif name not in ("PROTO", "FRAME"):
            self._push_value(name, argument)

    def _push_value(self, name: str, argument: Any) -> None:
        if argument is None or not isinstance(argument, (*SCALARS, bytearray)) or name in UNKNOWN:
            raise ValueError(f"the opcode {name} is not read")
        self.stack.append(argument)

    def _after_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _on_mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _on_pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._after_mark()

    def _on_pop_mark(self) -> None:
        self._after_mark()

    def _on_dup(self) -> None:
        self.stack.append(self.stack[-1])

    def _on_list(self) -> None:
        value = self._after_mark()
        self.stack.append(value)

    def _on_tuple(self) -> None:
        value = tuple(self._after_mark())
        self.stack.append(value)

    def _on_tuple1(self) -> None:
        self._last_as_tuple(1)

    def _on_tuple2(self) -> None:
        self._last_as_tuple(2)

    def _on_tuple3(self) -> None:
        self._last_as_tuple(3)

    def _last_as_tuple(self, size: int) -> None:
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def _on_dict(self) -> None:
        items = self._after_mark()
        self.stack.append({})
        self._set(items)

    def _on_frozenset(self) -> None:
        value = frozenset(map(key_of, self._after_mark()))
        self.stack.append(value)

    def _on_append(self) -> None:
        self._extend([self.stack.pop()])

    def _on_appends(self) -> None:
        self._extend(self._after_mark())

    def _on_additems(self) -> None:
        self._extend(self._after_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(key_of, items))
        elif isinstance(target, list | StandIn):
            (target if isinstance(target, list) else target.items).extend(items)
        else:
            raise TypeError(f"items for a {type(target).__name__}")

    def _on_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _on_setitems(self) -> None:
        self._set(self._after_mark())

    def _set(self, items: list[Any]) -> None:
        target, pairs = self.stack[-1], list(zip(items[::2], items[1::2], strict=True))
        if isinstance(target, StandIn):
            target.items.extend(pairs)
        elif isinstance(target, dict):
            target.update((key_of(key), value) for key, value in pairs)
        else:
            raise TypeError(f"keys for a {type(target).__name__}")

    def _on_global(self, argument: str) -> None:
        self._push_name(*argument.split(" ", 1))

    def _on_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._push_name(module, name)

    def _push_name(self, module: str, name: str) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no text")
        path = judge(module, name, self.builders)
        self.stack.append(_Named(path))

    def _on_inst(self, argument: str) -> None:
        args = self._after_mark()
        self._push_name(*argument.split(" ", 1))
        self._call(self.stack.pop(), args)

    def _on_obj(self) -> None:
        named, *args = self._after_mark()
        self._call(named, args)

    def _on_reduce(self) -> None:
        args, named = self.stack.pop(), self.stack.pop()
        self._call(named, args)

    _on_newobj = _on_reduce

    def _on_newobj_ex(self) -> None:
        keywords, args, named = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(named, [*args, keywords] if keywords else args)

    def _call(self, named: Any, args: Iterable[Any]) -> None:
        if not isinstance(named, StandIn) or not isinstance(args, list | tuple):
            raise TypeError(f"a call of a {type(named).__name__}")
        self.stack.append(self.build(named, args))

    def build(self, named: StandIn, args: Iterable[Any]) -> Any:
        """Build a plain value, or an inert one."""
        is_name = isinstance(named, _Named)
        if is_name and named.name in ("copyreg._reconstructor", "copyreg.__newobj__"):
            kind, *rest = args
            return self.build(kind, () if named.name == "copyreg._reconstructor" else rest)
        if is_name and named.name == "torch._tensor._rebuild_from_type_v2":
            function, _, arguments, _ = args
            return self.build(function, arguments)
        builder = self.builders.get(named.name) if is_name else None
        return StandIn(named.name, args) if builder is None else builder(*args)

    def _on_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Dtype):
            target.set_state(state)
        elif isinstance(target, np.ndarray):
            fill_array(target, state)
        elif isinstance(target, StandIn) and not isinstance(target, _Named):
            target.states.append(state)

    def _on_binpersid(self) -> None:
        self.stack.append(self.persistent(self.stack.pop()))


class _Named(StandIn):
    """A class or function that a pickle names, before it is called."""


STORES = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
RECALLS = {"GET", "BINGET", "LONG_BINGET"}
WITH_ARGUMENT = {"GLOBAL", "INST"}
UNKNOWN = {"PERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
