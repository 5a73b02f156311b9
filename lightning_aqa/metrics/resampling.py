"""Samples as counts of rows: units of clips, systems or prompts, of which one is left out or doubled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.intp]
Unit = Literal["clip", "system", "prompt", "system+prompt"]
UNITS: tuple[Unit, ...] = get_args(Unit)

_ELEMENTS = 2**20  # of one chunk of counts: 8 MB in float64
MOST_GROUPS = 200


class Counts(NamedTuple):
    """Counts of each clip and each system in each of R samples.

    Args:
        clips: Shape ``(N, R)``.
        systems: Shape ``(S, R)``; ones where systems are not what varies.
    """

    clips: Array
    systems: Array


class Units(NamedTuple):
    """Units that vary as one piece: one numbering of the clips per way in which they vary.

    Args:
        ways: Number of the unit of each clip, 0 to U - 1, one array of shape ``(N,)`` per way; two ways are crossed.
        systems: Number of the system of each clip, -1 for none, shape ``(N,)``.
        varied_system: Number of the unit of each system, shape ``(S,)``; None where systems do not vary.
    """

    ways: tuple[Codes, ...]
    systems: Codes
    varied_system: Codes | None


def units_of(unit: Unit, systems: Sequence[str], prompts: Sequence[str] | None = None) -> Units:
    """Number the units of clips that are sorted by id, so that the order of a file cannot matter.

    A clip whose system or prompt is not known is a unit of its own. ``system+prompt`` varies systems and, besides,
    prompts.

    Args:
        unit: What varies as one piece.
        systems: System of each of N clips; empty where unknown.
        prompts: Prompt of each clip; empty where unknown.

    Example:
        >>> units_of("system", ["b", "a", "b"]).ways
        (array([1, 0, 1]),)
    """
    names = {"system": systems, "prompt": prompts or [""] * len(systems)}
    ways = tuple(
        np.arange(len(systems)) if name == "clip" else _number_all(_number(names[name])) for name in unit.split("+")
    )
    codes = _number(systems)
    num_systems = int(codes.max(initial=-1)) + 1
    return Units(ways, codes, np.arange(num_systems) if "system" in unit else None)


def check_unit(unit: Unit, systems: Sequence[str], prompts: Sequence[str] | None = None) -> None:
    """Check that clips name what is to vary.

    Raises:
        ValueError: If the unit is unknown, or no clip names a system or prompt that it needs.
    """
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}.")
    names = {"system": systems, "prompt": prompts or []}
    for name in unit.split("+"):
        if name != "clip" and len(systems) and not any(names[name]):
            raise ValueError(f"unit {unit!r} needs the {name} of the clips, and none is named; take unit 'clip'.")


def _number(names: Sequence[str]) -> Codes:
    """Number names in their order; -1 for the empty one."""
    positions = {name: position for position, name in enumerate(sorted(set(names) - {""}))}
    return np.array([positions.get(name, -1) for name in names], dtype=np.intp)


def _number_all(codes: Codes) -> Codes:
    """Give each row of the code -1 a number of its own, after all others."""
    alone = codes < 0
    return np.where(alone, codes.max(initial=-1) + np.cumsum(alone), codes)


def vary(units: Units, times: int, most: int = MOST_GROUPS) -> Iterator[Counts]:
    """Hold one unit after the other ``times`` times and all others once: 0 leaves it out, 2 doubles it.

    More than ``most`` units go in as many groups, dealt at random from a fixed seed. With two crossed ways the units of
    each are varied in turn.
    """
    sizes = [_size(way) for way in units.ways]
    for number, size in enumerate(sizes):
        group_U = _groups(size, most)
        start = 0
        for width in chunks(min(size, most), len(units.systems)):
            chosen = group_U[:, None] == np.arange(start, start + width)
            start += width
            held = [np.ones((other, width)) for other in sizes]
            held[number] = np.where(chosen, float(times), 1.0)
            yield _counts(units, held)


def count_groups(units: Units, kept: NDArray[np.bool_], most: int = MOST_GROUPS) -> tuple[int, ...]:
    """Count, per way, the groups of ``vary`` that hold one of the kept clips."""
    return tuple(len(np.unique(_groups(_size(way), most)[way[kept]])) for way in units.ways)


def count_units(units: Units, kept: NDArray[np.bool_]) -> tuple[int, ...]:
    """Count, per way, the units that hold one of the kept clips."""
    return tuple(len(np.unique(way[kept])) for way in units.ways)


def _size(way: Codes) -> int:
    return int(way.max(initial=-1)) + 1


def _groups(size: int, most: int) -> Codes:
    every = np.arange(size)
    return every if size <= most else np.random.default_rng(0).permutation(every % most)


def everything(units: Units) -> Counts:
    """Return one sample that holds every row once."""
    return _counts(units, [np.ones((_size(way), 1)) for way in units.ways])


def _counts(units: Units, drawn: list[Array]) -> Counts:
    clips = drawn[0][units.ways[0]]
    for way, counts in zip(units.ways[1:], drawn[1:], strict=True):
        clips = clips * counts[way]
    num_systems = int(units.systems.max(initial=-1)) + 1
    if units.varied_system is None:
        return Counts(clips, np.ones((num_systems, clips.shape[1])))
    return Counts(clips, drawn[0][units.varied_system])


def chunks(total: int, num_rows: int) -> Iterator[int]:
    """Yield numbers of samples that add up to ``total``, as many at a time as bounded memory allows."""
    width = max(1, _ELEMENTS // max(num_rows, 1))
    for start in range(0, total, width):
        yield min(width, total - start)
