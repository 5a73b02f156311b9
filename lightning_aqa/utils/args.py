"""The arguments of a command line as they stand: options with their values and positions, and what is left."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

CONFIG = ("--config", "-c")


class Option(NamedTuple):
    """An option of a command line.

    Args:
        flag: Its name, dashes included.
        value: Its value, joined by ``=`` or the next argument; empty where there is none.
        start: Index of the flag.
        stop: Index after the value.
    """

    flag: str
    value: str
    start: int
    stop: int


def find_options(args: Sequence[str], valued: Collection[str], plain: Collection[str] = ()) -> list[Option]:
    """Find some options, up to ``--``.

    Args:
        args: The arguments.
        valued: Flags that take a value.
        plain: Flags that take none.

    Example:
        >>> find_options(["fit", "--config=a.yaml", "-c", "b.yaml"], CONFIG)
        [Option(flag='--config', value='a.yaml', start=1, stop=2), Option(flag='-c', value='b.yaml', start=2, stop=4)]
    """
    found: list[Option] = []
    own, _ = split_extra(args)
    for index, arg in enumerate(own):
        flag, is_joined, value = arg.partition("=")
        if (found and index < found[-1].stop) or flag not in (*valued, *plain):
            continue
        stop = index + 1 if is_joined or flag in plain else min(index + 2, len(own))
        found.append(Option(flag, value if is_joined else "".join(own[index + 1 : stop]), index, stop))
    return found


def split_options(
    args: Sequence[str], valued: Collection[str], plain: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Take some options out of the arguments.

    Returns:
        Those options with their values, and all other arguments, each in their order.

    Example:
        >>> split_options(["a.yaml", "--engine", "ray", "--retry", "--", "--engine"], ["--engine"])
        (['--engine', 'ray'], ['a.yaml', '--retry', '--', '--engine'])
    """
    taken = {index for option in find_options(args, valued, plain) for index in range(option.start, option.stop)}
    own = [arg for index, arg in enumerate(args) if index in taken]
    return own, [arg for index, arg in enumerate(args) if index not in taken]


def split_extra(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide the arguments at the first ``--``.

    Example:
        >>> split_extra(["a.yaml", "--", "--x=1"])
        (['a.yaml'], ['--x=1'])
    """
    index = list(args).index("--") if "--" in args else len(args)
    return list(args[:index]), list(args[index + 1 :])
