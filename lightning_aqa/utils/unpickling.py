"""Read pickles of any protocol as data: plain values are built, all else stays an inert stand-in, nothing is called."""

from __future__ import annotations

import pickletools
import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

import numpy as np

SCALARS = (str, bytes, int, float, complex, type(None))
MOST_STEPS = 10_000_000
"""Most opcodes of a pickle, which take about a minute; checkpoints with an optimiser have some 100 000."""
HARMLESS = re.compile(
    r"(argparse\.Namespace|types\.SimpleNamespace|re\._compile|random\.Random|"
    r"(collections|datetime|decimal|enum|fractions|pathlib|typing|uuid|zoneinfo)\.[\w.]+|"
    r"torch\.(nn|optim|_C\._nn)\.[\w.]+|torch\.(Generator|Tensor|device|_utils\._rebuild_\w+|serialization\._get_layout)|"
    r"numpy\.(random|ma|dtypes)\.[\w.]+|numpy\.(ndarray|generic|number|\w*(int|float|complex|bool|str|bytes)\d*_?)|"
    r"builtins\.(object|type|int|float|bool|str|list|dict|tuple|bytes|range|slice|[A-Z]\w*))"
)
"""Names of Python, torch and numpy that public checkpoints hold and that become stand-ins; others are refused."""


class RefusedNameError(ValueError):
    """A name in a pickle that no file of weights has a need for; the message is the name."""


class StandIn:
    """Hold the place of an object whose class is not built, with what the pickle says of it.

    Args:
        name: Dotted path of the class or function.
        args: What it would have been called with.
    """

    def __init__(self, name: str, args: Iterable[Any] = ()) -> None:
        self.name, self.args = name, tuple(args)
        self.states: list[Any] = []
        self.items: list[Any] = []

    def __repr__(self) -> str:
        """Name what it stands for."""
        return f"<stand-in for {self.name}>"


Builders = Mapping[str, Callable[..., Any]]


def unpickle(file: IO[bytes] | bytes, builders: Builders, persistent: Callable[[Any], Any]) -> Any:
    """Read one pickle; of a file, up to where it ends.

    Args:
        file: The pickle; reading a file must not give more than it has.
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


def judge(module: str, name: str, builders: Builders) -> str:
    """Return the dotted path that a pickle names, by today's name of the module.

    Raises:
        RefusedNameError: If it is something of Python, torch or numpy that is no data.
    """
    home, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    path, top = f"{home}.{name}", home.split(".")[0]
    if path in builders:
        return path
    is_known = top in sys.stdlib_module_names or top in {"torch", "numpy"}
    leads_away = "." in name and name.split(".")[0] in sys.stdlib_module_names
    if leads_away or (is_known and not HARMLESS.fullmatch(path)):
        raise RefusedNameError(path)
    return path


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
        value = frozenset(map(_key, self._after_mark()))
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
            target.update(map(_key, items))
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
            target.update((_key(key), value) for key, value in pairs)
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


def _key(value: Any) -> Any:
    """Return a key of a dict or an item of a set: flat, since hashing a deep one would overflow the stack."""
    parts = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, (*SCALARS, StandIn)) or np.isscalar(part) for part in parts):
        raise TypeError(f"a {type(value).__name__} as a key")
    return value


class Dtype:
    """A dtype of numpy that a pickle describes.

    Args:
        text: Its kind and size, such as ``f8``; the rest is what numpy writes and is not needed.

    Attributes:
        kind: The dtype, or None where it is not of plain numbers or text; arrays of it stay empty.
    """

    def __init__(self, text: Any, *rest: Any) -> None:
        is_plain = isinstance(text, str) and re.fullmatch(r"[<>=|]?([biufcSU?]\d{0,4}|bool|(u?int|float|complex)\d+)", text)
        self.kind: np.dtype[Any] | None = np.dtype(text) if is_plain else None

    def set_state(self, state: Any) -> None:
        """Take the order of its bytes from what numpy writes."""
        if self.kind is not None and isinstance(state, tuple) and state[1:2] in (("<",), (">",)):
            self.kind = self.kind.newbyteorder(state[1])


def _number(dtype: Dtype, raw: Any) -> Any:
    """Return a scalar of numpy."""
    if dtype.kind is None:
        return StandIn("numpy.generic")
    return np.frombuffer(_bytes(raw), dtype.kind, count=1)[0]


def fill_array(array: np.ndarray[Any, Any], state: Any) -> None:
    """Give an empty array what a pickle says that it holds."""
    _, shape, dtype, is_fortran, raw = state
    if dtype.kind is not None:
        array.__setstate__((1, _checked(raw, shape, dtype.kind), dtype.kind, bool(is_fortran), _bytes(raw)))


def _frombuffer(raw: Any, dtype: Dtype, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """Return an array as numpy writes it by protocol 5."""
    if dtype.kind is None:
        return _array()
    flat = np.frombuffer(_bytes(raw), dtype.kind).copy()
    return flat.reshape(_checked(raw, shape, dtype.kind), order="F" if order == "F" else "C")


def _checked(raw: Any, shape: Any, kind: np.dtype[Any]) -> tuple[int, ...]:
    """Return the shape of an array, once it is seen to take just the bytes that are there."""
    sizes = tuple(int(size) for size in shape)
    count = 1
    for size in sizes:
        count *= size
    if min(sizes, default=0) < 0 or len(sizes) > 32 or count * kind.itemsize != len(_bytes(raw)):
        raise ValueError("an array of another size than its bytes")
    return sizes


def _bytes(raw: Any) -> bytes:
    return raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Return bytes as Python writes them by protocol 2."""
    return text.encode("latin1")


def _pairs(*args: Any) -> dict[Any, Any]:
    """Return a dict of the kinds that the standard library has, of pairs, of a mapping, or empty."""
    given = args[-1] if args and isinstance(args[-1], list | dict) else []
    return {_key(key): value for key, value in (given.items() if isinstance(given, dict) else given)}


def _array(*args: Any) -> np.ndarray[Any, Any]:
    return np.empty(0, dtype=np.int8)


PLAIN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": _pairs,
    "collections.Counter": _pairs,
    "builtins.set": lambda items=(): set(map(_key, items)),
    "builtins.frozenset": lambda items=(): frozenset(map(_key, items)),
    "builtins.complex": lambda real, imaginary=0.0: complex(float(real), float(imaginary)),
    "builtins.bytearray": lambda raw=b"", *rest: bytearray(_bytes(raw)),
    "_codecs.encode": _encode,
    "copyreg._reconstructor": StandIn,
    "copyreg.__newobj__": StandIn,
    "numpy.dtype": Dtype,
    **{f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
}
"""What is built of the names of plain values."""
