"""Cut a stream of clips into shards, leaving out those that are scored already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Protocol

from lightning_aqa.scoring.inputs import Item

SHARD_CLIPS = 64


class Known(Protocol):
    """What knows the clips that need no scoring."""

    def has(self, item: Item) -> bool:
        """Tell whether a clip is scored."""


class Numbered:
    """The clips to score, each with the number of its shard; a clip that comes twice is scored once.

    The number follows from a clip's place among all inputs, so that a run which goes on cuts as the first one did.

    Args:
        items: All clips.
        known: Knows the clips that are scored already.
        size: Clips in a shard.

    Attributes:
        num_known: Clips that were left out as known, so far.
        num_repeated: Clips that were left out since they came before, so far.
    """

    def __init__(self, items: Iterable[Item], known: Known, size: int = SHARD_CLIPS) -> None:
        self.items, self.known, self.size = items, known, size
        self.num_known = self.num_repeated = 0
        self._seen: dict[int, int] = {}

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        """Yield shard and clip."""
        for place, item in enumerate(self.items):
            name, whole = hash(item.id), hash(item._replace(error=""))
            if name in self._seen and self._seen[name] == whole:
                self.num_repeated += 1
                continue
            if name in self._seen:
                item = item._replace(error="another clip has this id; ids have to be unique")
            self._seen.setdefault(name, whole)
            if self.known.has(item):
                self.num_known += 1
            else:
                yield place // self.size, item


def shards_of(numbered: Iterable[tuple[int, Item]]) -> Iterator[list[tuple[int, Item]]]:
    """Gather the clips of each shard.

    Example:
        >>> [len(shard) for shard in shards_of([(0, Item("a", "a")), (0, Item("b", "b")), (2, Item("c", "c"))])]
        [2, 1]
    """
    return (list(shard) for _, shard in groupby(numbered, key=lambda pair: pair[0]))
