"""The file that scores go to: a row per clip, complete at any moment, gone on with after a stop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.records import csv_cells, csv_line

BEFORE, AFTER = ("id", "path", "start", "end", "seconds"), ("error",)
DIGITS = 6


class Stamp(NamedTuple):
    """Origin of the scores of a file, kept beside it.

    Args:
        source: The checkpoint or config, as it was named.
        settings: What else changes scores, to show.
        fingerprint: Hash of all of it.
    """

    source: str
    settings: Mapping[str, Any]
    fingerprint: str


class ScoreWriter:
    """Append rows to a CSV or JSON lines; the rows that are there are known.

    Args:
        path: The file. A half-written last row is cut off, the rest is kept.
        axes: Names of the scores.
        stamp: What they come from; ``PATH.stamp.json`` keeps it.
        kind: ``csv`` or ``jsonl``; None goes by the name.
        retries: Whether rows with an error are dropped first, so that their clips are scored again.

    Raises:
        ValueError: If the file's rows come from something else, or it was not written by this class.
    """

    def __init__(
        self, path: str | Path, axes: Sequence[str], stamp: Stamp, kind: str | None = None, *, retries: bool = False
    ) -> None:
        self.path, self.axes = Path(path), list(axes)
        self.is_json = (kind or ("jsonl" if self.path.suffix.lower() in {".jsonl", ".ndjson"} else "csv")) == "jsonl"
        self.columns = [*BEFORE, *self.axes, *AFTER]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._check(stamp)
        self.done: set[int] = set()
        self.num_errors = 0
        if retries and self.path.exists():
            self._drop_errors()
        self._open()

    def _check(self, stamp: Stamp) -> None:
        """Keep the stamp of a new file; compare it with an old one's."""
        stamp = stamp._replace(settings={**stamp.settings, "format": "jsonl" if self.is_json else "csv"})
        beside = self.path.with_name(f"{self.path.name}.stamp.json")
        if not self.path.exists() or self.path.stat().st_size == 0:
            with replacing(beside) as file:
                file.write(json.dumps(stamp._asdict(), indent=1) + "\n")
            return
        old = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else None
        if old is None:
            raise ValueError(f"{self.path}: there is such a file, and it holds no scores to go on with; name another.")
        if (old["fingerprint"], old["settings"]) != (stamp.fingerprint, stamp.settings):
            was = ", ".join(f"{name}={value}" for name, value in old["settings"].items())
            raise ValueError(
                f"{self.path}: its rows come from other weights or settings ({old['source']}; {was}); name another "
                "--output, or move this one away."
            )

    def _open(self) -> None:
        self._file = open(self.path, "a+b")  # noqa: SIM115
        self._file.seek(0)
        size = 0
        for number, (record, end) in enumerate(complete_records(self._file, has_quotes=not self.is_json)):
            size = end
            if number or self.is_json:
                self._know(record)
        self._file.truncate(size)
        if size == 0 and not self.is_json:
            self._append([self.columns])

    def _drop_errors(self) -> None:
        with open(self.path, "rb") as file, replacing(self.path, errors="surrogateescape") as kept:
            for number, (record, _) in enumerate(complete_records(file, has_quotes=not self.is_json)):
                if (number == 0 and not self.is_json) or not self._parse(record)["error"]:
                    kept.write(record)

    def _parse(self, record: str) -> dict[str, Any]:
        if self.is_json:
            return dict(json.loads(record))
        return dict(zip(self.columns, csv_cells(record), strict=True))

    def _know(self, record: str) -> None:
        fields = self._parse(record)
        start, end = fields["start"], fields["end"]
        self.done.add(_key(fields["id"], fields["path"], float(start), None if end in ("", None) else float(end)))
        self.num_errors += bool(fields["error"])

    def has(self, item: Item) -> bool:
        """Tell whether there is a row of this clip."""
        return _key(item.id, item.path, item.start, item.end) in self.done

    def write(self, rows: Sequence[ScoredClip]) -> None:
        """Append rows and hand them to the system, so that they outlive this process."""
        if self.is_json:
            lines = (json.dumps(self._fields(row), ensure_ascii=False) + "\n" for row in rows)
            self._file.write("".join(lines).encode("utf-8", "backslashreplace"))  # JSON's own words for surrogates
        else:
            self._append(list(self._fields(row).values()) for row in rows)
        self._file.flush()
        self.num_errors += sum(bool(row.error) for row in rows)

    def _fields(self, row: ScoredClip) -> dict[str, Any]:
        scores = [round(score, DIGITS) for score in row.scores] if row.scores else [None] * len(self.axes)
        item, seconds = row.item, None if row.error else round(row.seconds, DIGITS)
        values = [item.id, item.path, item.start, item.end, seconds, *scores, row.error]
        return dict(zip(self.columns, values, strict=True))

    def _append(self, rows: Iterable[Sequence[Any]]) -> None:
        self._file.write("".join(csv_line(row, "\n") for row in rows).encode("utf-8"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def complete_records(file: BinaryIO, *, has_quotes: bool) -> Iterator[tuple[str, int]]:
    r"""Yield each complete record of a text file with the position of its end; a half-written last one is left out.

    Args:
        file: The file, from its start.
        has_quotes: Whether a quoted field may hold line ends.

    Example:
        >>> import io
        >>> list(complete_records(io.BytesIO(b'a,1\n"b\n",2\nc,'), has_quotes=True))
        [('a,1\n', 4), ('"b\n",2\n', 11)]
    """
    record = b""
    for line in file:
        record += line
        if line.endswith(b"\n") and not (has_quotes and record.count(b'"') % 2):
            yield record.decode("utf-8", "surrogateescape"), file.tell()
            record = b""


def _key(id_: str, path: str, start: float, end: float | None) -> int:
    """Hash what tells a clip from others; 64 bits of it are kept per row."""
    return hash((id_, path, start, end))
