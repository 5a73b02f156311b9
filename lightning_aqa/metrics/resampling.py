"""Resamples as counts of rows: units of clips, systems or prompts drawn with replacement, or left out."""

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
_MOST_LEFT_OUT = 200


class Counts(NamedTuple):
    """Counts of each clip and each system in each of R resamples.

    Args:
        clips: Shape ``(N, R)``.
        systems: Shape ``(S, R)``; ones where systems are not what is drawn.
    """

    clips: Array
    systems: Array


class Units(NamedTuple):
    """Units that are drawn as one piece: one numbering of the clips per way of drawing.

    Args:
        ways: Number of the unit of each clip, 0 to U - 1, one array of shape ``(N,)`` per way; two ways are crossed.
        systems: Number of the system of each clip, -1 for none, shape ``(N,)``.
        drawn_system: Number of the unit of each system, shape ``(S,)``; None where systems are not drawn.
    """

    ways: tuple[Codes, ...]
    systems: Codes
    drawn_system: Codes | None


def units_of(unit: Unit, systems: Sequence[str], prompts: Sequence[str] | None = None) -> Units:
    """Number the units of clips that are sorted by id, so that the order of a file cannot matter.

    A clip whose system or prompt is not known is a unit of its own. ``system+prompt`` draws systems and, independently,
    prompts; a clip counts as often as the product of the two (the pigeonhole bootstrap, a little wide rather than
    narrow).

    Args:
        unit: What is drawn as one piece.
        systems: System of each of N clips; empty where unknown.
        prompts: Prompt of each clip; empty where unknown.

    Raises:
        ValueError: If the unit is unknown, or no clip names what is to be drawn.

    Example:
        >>> units_of("system", ["b", "a", "b"]).ways
        (array([1, 0, 1]),)
    """
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}.")
    names = {"system": list(systems), "prompt": list(prompts or [""] * len(systems))}
    for name in unit.split("+"):
        if name != "clip" and len(systems) and not any(names[name]):
            raise ValueError(f"unit {unit!r} needs the {name} of the clips, and none is named; draw unit 'clip'.")
    ways = tuple(
        np.arange(len(systems)) if name == "clip" else _number_all(_number(names[name])) for name in unit.split("+")
    )
    codes = _number(systems)
    num_systems = int(codes.max(initial=-1)) + 1
    return Units(ways, codes, np.arange(num_systems) if "system" in unit else None)


def _number(names: Sequence[str]) -> Codes:
    """Number names in their order; -1 for the empty one."""
    positions = {name: position for position, name in enumerate(sorted(set(names) - {""}))}
    return np.array([positions.get(name, -1) for name in names], dtype=np.intp)


def _number_all(codes: Codes) -> Codes:
    """Give each row of the code -1 a number of its own, after all others."""
    alone = codes < 0
    return np.where(alone, codes.max(initial=-1) + np.cumsum(alone), codes)


def draw(units: Units, num_resamples: int, seed: int = 0) -> Iterator[Counts]:
    """Draw as many units as there are, with replacement, in chunks of bounded memory; one seed, one result.

    Args:
        units: What is drawn.
        num_resamples: How many resamples.
        seed: Of the generator.
    """
    generator = np.random.default_rng(seed)
    sizes = [int(way.max(initial=-1)) + 1 for way in units.ways]
    for width in chunks(num_resamples, len(units.systems)):
        drawn = [_multinomial(generator, size, width) for size in sizes]
        yield _counts(units, drawn)


def leave_out(units: Units, seed: int = 0, most: int = _MOST_LEFT_OUT) -> Iterator[Counts]:
    """Leave out one unit after the other; more than ``most`` units leave in as many groups, drawn at random.

    With two crossed ways the units of each are left out in turn.
    """
    generator = np.random.default_rng(seed)
    sizes = [int(way.max(initial=-1)) + 1 for way in units.ways]
    for number, size in enumerate(sizes):
        group_U = np.arange(size) if size <= most else generator.permutation(np.arange(size) % most)
        num_groups = min(size, most)
        start = 0
        for width in chunks(num_groups, len(units.systems)):
            left_out = group_U[:, None] == np.arange(start, start + width)
            start += width
            kept = [np.ones((other, width)) for other in sizes]
            kept[number] = (~left_out).astype(np.float64)
            yield _counts(units, kept)


def everything(units: Units) -> Counts:
    """Return one sample that holds every row once."""
    return _counts(units, [np.ones((int(way.max(initial=-1)) + 1, 1)) for way in units.ways])


def _counts(units: Units, drawn: list[Array]) -> Counts:
    clips = drawn[0][units.ways[0]]
    for way, counts in zip(units.ways[1:], drawn[1:], strict=True):
        clips = clips * counts[way]
    num_systems = int(units.systems.max(initial=-1)) + 1
    if units.drawn_system is None:
        return Counts(clips, np.ones((num_systems, clips.shape[1])))
    return Counts(clips, drawn[0][units.drawn_system])


def chunks(total: int, num_rows: int) -> Iterator[int]:
    """Yield numbers of samples that add up to ``total``, as many at a time as bounded memory allows."""
    width = max(1, _ELEMENTS // max(num_rows, 1))
    for start in range(0, total, width):
        yield min(width, total - start)


def _multinomial(generator: np.random.Generator, size: int, width: int) -> Array:
    """Count ``size`` draws from as many units for each of ``width`` samples, shape ``(size, width)``."""
    if not size:
        return np.zeros((0, width))
    picked = generator.integers(0, size, (width, size), dtype=np.int32).astype(np.intp)
    picked += size * np.arange(width)[:, None]
    counts = np.bincount(picked.ravel(), minlength=size * width).reshape(width, size)
    return np.ascontiguousarray(counts.T, dtype=np.float64)
