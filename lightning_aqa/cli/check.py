"""``lightning-aqa check``: whether an encoder, a head, an objective or a corpus keeps the promises of its kind."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lightning_aqa.cli.signatures import call
from lightning_aqa.utils.text import did_you_mean


class _Kind(NamedTuple):
    """A kind of part: its base class, what a parser takes, and its checks."""

    base: type
    accepted: Any
    checks: Sequence[Callable[[Any], None]]


def check(part: str, *, options: Sequence[str]) -> int:
    """Check that an encoder, a head, an objective or a corpus keeps the promises that the rest relies on.

    What they are is printed, a line for each. All other options are those of the part: --hop_seconds=0.01. Exit code: 0
    if all are kept, 1 if one is broken, 2 for a mistake in the command.

    Args:
        part: Class, by its name or its dotted path, such as my_package.MyEncoder.
        options: Options of the part.

    Returns:
        The exit code.
    """
    from lightning_aqa.utils.contracts import outcomes

    kinds = _kinds()
    found, path = _find(part, kinds)
    kind = next((kind for kind in kinds.values() if issubclass(found, kind.base)), None)
    if kind is None:
        names = ", ".join(kind.base.__name__ for kind in kinds.values())
        raise ValueError(f"{part} is no part: expected a class below one of {names}.")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(vars(found)["__abstractmethods__"]))
        raise ValueError(f"{part} cannot be built: it lacks {missing}.")
    broken = 0
    for promise, seen in outcomes(kind.checks, _builder(path, kind, options)):
        print(f"broken  {promise}: {seen}" if seen else f"kept    {promise}", flush=True)
        broken += bool(seen)
    print(f"{part}: {broken or 'none'} of {len(kind.checks)} promises broken.")
    return int(broken > 0)


def _kinds() -> dict[str, _Kind]:
    from lightning_aqa.data import contract as data
    from lightning_aqa.data.base import AQADataModule
    from lightning_aqa.encoders import contract as encoders
    from lightning_aqa.encoders.base import Encoder
    from lightning_aqa.heads import contract as heads
    from lightning_aqa.heads.base import Head, HeadCallable
    from lightning_aqa.objectives import contract as objectives
    from lightning_aqa.objectives.base import Objective

    return {
        "encoders": _Kind(Encoder, Encoder, encoders.CHECKS),
        "heads": _Kind(Head, HeadCallable, heads.CHECKS),
        "objectives": _Kind(Objective, Objective, objectives.CHECKS),
        "data": _Kind(AQADataModule, AQADataModule, data.CHECKS),
    }


def _find(part: str, kinds: dict[str, _Kind]) -> tuple[type, str]:
    """Return the class that a name or a dotted path is of, and its path."""
    from lightning_aqa.utils.class_paths import check_path
    from lightning_aqa.utils.components import parts_of

    if "." in part:
        check_path(part)
        module, _, name = part.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError as error:
            raise ValueError(f"{module} cannot be imported: {error}. Is its folder the current one?") from None
        if not inspect.isclass(found):
            raise ValueError(f"{module} has no class {name!r}.{did_you_mean(name, dir(sys.modules[module]))}")
        return found, part
    own = {kind.__name__: kind for package, of in kinds.items() for kind in parts_of(package, of.base)}
    if part not in own:
        hint = did_you_mean(part, own) or " Name a class of your own by its dotted path: my_package.MyEncoder."
        raise ValueError(f"there is no part {part!r}.{hint}")
    return own[part], f"{own[part].__module__}.{part}"


def _builder(path: str, kind: _Kind, options: Sequence[str]) -> Callable[..., Any]:
    """Return what builds the part with its options, anew each time."""
    from lightning_aqa.cli.parser import Parser

    parser = Parser(prog="lightning-aqa check")
    parser.add_argument("--part", type=kind.accepted)
    given = [f"--part.{option.removeprefix('--')}" for option in options]
    settings = parser.parse_args([f"--part={path}", *given])

    def build(*sizes: Any) -> Any:
        part = parser.instantiate(settings).part
        return part(*sizes) if sizes else part

    return build


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments: the part, and options that are its own."""
    if {"-h", "--help"} & set(args):
        return call(check, ["--help"], options=[])
    parts = [arg for arg in args if not arg.startswith("-")]
    return call(check, parts, options=[arg for arg in args if arg.startswith("-")])
