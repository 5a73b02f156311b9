"""Cut a stream of clips into shards, those of one part of the input, without those that are scored already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from lightning_aqa.scoring.inputs import Item

SHARD_CLIPS = 64


class Known(Protocol):
    """Record of the clips that need no scoring."""

    def has(self, item: Item) -> bool:
        """Tell whether a clip is scored."""


class Shard(NamedTuple):
    """One of several parts of the input, each scored by a command of its own.

    Args:
        number: Which one, from 1.
        total: How many there are.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``k/n``.

        Raises:
            ValueError: If it is something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        part = cls(*map(int, found.groups())) if found else None
        if part is None or not 1 <= part.number <= part.total:
            raise ValueError(f"--shard must be k/n with k from 1 to n, such as 2/4, got {text}.")
        return part

    def positions(self, num_items: int, size: int) -> range:
        """Return the positions of the part's clips: whole shards that come one after the other.

        So parts in their order are the whole, and are batched as the whole is.

        Example:
            >>> [Shard(k, 3).positions(num_items=9, size=2) for k in (1, 2, 3)]
            [range(0, 2), range(2, 6), range(6, 9)]
        """
        num_shards = -(-num_items // size)
        first, end = (num_shards * number // self.total for number in (self.number - 1, self.number))
        return range(size * first, min(size * end, num_items))

    def file(self, output: str) -> str:
        """Name the table of the part: ``{shard}`` is its number, which otherwise stands before the suffix.

        Example:
            >>> Shard(2, 4).file("scores.csv"), Shard(2, 12).file("{shard}/scores.csv")
            ('scores.2-of-4.csv', '02-of-12/scores.csv')
        """
        width = len(str(self.total))
        return _template(output).replace("{shard}", f"{self.number:0{width}}-of-{self.total}")

    def join_command(self, output: str, *, is_json: bool) -> str:
        """Return the shell command that joins the tables of all parts: a CSV without the headers of all but one."""
        from shlex import quote

        wild = "?" * len(str(self.total)) + f"-of-{self.total}"
        files = wild.join(quote(piece) if piece else "" for piece in _template(output).split("{shard}"))
        join = "cat" if is_json else "awk 'FNR > 1 || NR == 1'"
        return f"{join} {files} > {quote(output.replace('{shard}', 'all'))}"


def _template(output: str) -> str:
    path = Path(output)
    return output if "{shard}" in output else str(path.with_name(f"{path.stem}.{{shard}}{path.suffix}"))


class Numbered:
    """The clips to score, each with the number of its shard; a clip that comes twice is scored once.

    The number follows from a clip's position among all inputs, so that a resumed run cuts as the first one did.

    Args:
        items: All clips.
        known: Knows the clips that are scored already.
        size: Clips in a shard.
        positions: Positions of the clips that are wanted; None wants all.

    Attributes:
        num_known: Clips that were left out as known, so far.
        num_repeated: Clips that were left out since they came before, so far.
    """

    def __init__(
        self, items: Iterable[Item], known: Known, size: int = SHARD_CLIPS, positions: range | None = None
    ) -> None:
        self.items, self.known, self.size, self.positions = items, known, size, positions
        self.num_known = self.num_repeated = 0
        self._seen: dict[int, int] = {}

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        """Yield shard and clip."""
        for position, item in enumerate(self.items):
            is_wanted = self.positions is None or position in self.positions
            name, whole = hash(item.id), hash(item._replace(error=""))
            if name in self._seen and self._seen[name] == whole:
                self.num_repeated += is_wanted
                continue
            if name in self._seen:
                item = item._replace(error="another clip has this id; ids have to be unique")
            self._seen.setdefault(name, whole)
            if not is_wanted:
                continue
            if self.known.has(item):
                self.num_known += 1
            else:
                yield position // self.size, item
