"""Values that pickles of weights hold beside tensors: plain ones, built safely, and inert stand-ins for all others."""

from __future__ import annotations

import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

SCALARS = (str, bytes, int, float, complex, type(None))
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


def key_of(value: Any) -> Any:
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
        is_plain = isinstance(text, str) and re.fullmatch(
            r"[<>=|]?([biufcSU?]\d{0,4}|bool|(u?int|float|complex)\d+)", text
        )
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
        fill: Any = array
        fill.__setstate__((1, _checked(raw, shape, dtype.kind), dtype.kind, bool(is_fortran), _bytes(raw)))


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
    return {key_of(key): value for key, value in (given.items() if isinstance(given, dict) else given)}


def _array(*args: Any) -> np.ndarray[Any, Any]:
    return np.empty(0, dtype=np.int8)


PLAIN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": _pairs,
    "collections.Counter": _pairs,
    "builtins.set": lambda items=(): set(map(key_of, items)),
    "builtins.frozenset": lambda items=(): frozenset(map(key_of, items)),
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
