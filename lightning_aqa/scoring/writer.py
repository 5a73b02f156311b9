"""The file that scores go to: a row per clip, complete at any moment, gone on with after a stop."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lightning_aqa.results.notes import NOTE
from lightning_aqa.scoring.batching import ScoredClip
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.trust import DIGITS, UNLIKE, Trust
from lightning_aqa.utils.documents import parse_json, read_json
from lightning_aqa.utils.files import FULL, file_size, replacing
from lightning_aqa.utils.lock import NO_LOCKS, try_lock
from lightning_aqa.utils.records import csv_cells, csv_line
from lightning_aqa.utils.text import shortened

BEFORE, AFTER = ("id", "path", "start", "end", "seconds"), (NOTE, "error")


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
        trust: What of a clip is written: scores, and what stands beside them.
        stamp: What they come from; ``PATH.stamp.json`` keeps it.
        kind: ``csv`` or ``jsonl``; None goes by the name.
        retries: Whether rows with an error are dropped first, so that their clips are scored again.

    Raises:
        ValueError: If the file's rows come from something else, it was not written by this class, or another process
            writes it.
        OSError: If it cannot be written.
    """

    def __init__(
        self, path: str | Path, trust: Trust, stamp: Stamp, kind: str | None = None, *, retries: bool = False
    ) -> None:
        self.path, self.trust = Path(path), trust
        taken = Counter([*BEFORE, *AFTER, *trust.columns])
        self.numbers = [f"{name} score" if taken[name] > 1 and name != UNLIKE else name for name in trust.columns]
        self.is_json = (kind or ("jsonl" if self.path.suffix.lower() in {".jsonl", ".ndjson"} else "csv")) == "jsonl"
        self.columns = [*BEFORE, *self.numbers, *AFTER]
        own = dict(zip(trust.columns, self.numbers, strict=True))
        self.axes = [own[axis.name] for axis in trust.axes]
        self.done: set[int] = set()
        self.num_errors = self.num_rows = self._size = 0
        if os.path.exists(self.path):
            file_size(self.path)  # a device has no end to read to
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_alone(self.path)
        try:
            with self._told():
                self._check(stamp)
                if retries:
                    self._drop_errors()
                self._read()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say of an error of the system which file it is about, and what is whole."""
        try:
            yield
        except OSError as error:
            kept = f"; its {self.num_rows} rows are whole, and the same command goes on from there"
            is_started = self._size > 0 or error.errno in FULL
            reason = f"{self.path}: cannot be written ({error.strerror or error})"
            told = OSError(f"{reason}{kept if is_started else ''}.")
            told.errno = error.errno  # its exit code goes by it
            raise told from error

    def _check(self, stamp: Stamp) -> None:
        """Keep the stamp of a new file; compare it with an old one's."""
        stamp = stamp._replace(settings={**stamp.settings, "format": "jsonl" if self.is_json else "csv"})
        beside = self.path.with_name(f"{self.path.name}.stamp.json")
        if self.path.stat().st_size == 0:
            with replacing(beside) as file:
                file.write(json.dumps(stamp._asdict(), indent=1) + "\n")
            return
        if not beside.exists():
            raise ValueError(f"{self.path}: there is such a file, and it holds no scores to go on with; name another.")
        old = _read_stamp(beside)
        if (old.fingerprint, old.settings) != (stamp.fingerprint, stamp.settings):
            was = ", ".join(f"{name}={value}" for name, value in old.settings.items())
            raise ValueError(
                f"{self.path}: its rows come from other weights or settings ({old.source}; {was}); name another "
                "--output, or move this one away."
            )

    def _read(self) -> None:
        """Learn which clips have a row; cut off what is half written."""
        size = 0
        with open(self.path, "rb") as file:
            for number, (record, end) in enumerate(complete_records(file, has_quotes=not self.is_json)):
                size = end
                if number == 0:
                    self._take_columns(record)
                if number or self.is_json:
                    self._know(self._parse(record, number))
        self._file.truncate(size)
        self._size = size
        if size == 0 and not self.is_json:
            self._append(csv_line(self.columns, "\n"))

    def _take_columns(self, record: str) -> None:
        """Go on with the columns of a table from before there were notes."""
        found = list(self._parse(record, 0)) if self.is_json else csv_cells(record)
        if found == [name for name in self.columns if name != NOTE]:
            self.columns = found
        if found != self.columns:
            has = shortened(", ".join(found), 200)
            raise ValueError(f"{self.path}: its columns are {has!r}, not those of scores; name another.")

    def _drop_errors(self) -> None:
        """Leave out rows with an error, in a file that takes the place of this one."""
        with open(self.path, "rb") as file, replacing(self.path, errors="surrogateescape") as kept:
            for number, (record, _) in enumerate(complete_records(file, has_quotes=not self.is_json)):
                if number == 0:
                    self._take_columns(record)
                if (number == 0 and not self.is_json) or not self._parse(record, number)["error"]:
                    kept.write(record)
        old, self._file = self._file, open_alone(self.path)
        old.close()

    def _parse(self, record: str, number: int) -> dict[str, Any]:
        """Read a row; its times are numbers."""
        try:
            fields = dict(parse_json(record) if self.is_json else zip(self.columns, csv_cells(record), strict=True))
            start, end, *_ = (fields[name] for name in ("start", "end", "id", "path", "error"))
            return fields | {"start": float(start), "end": None if end in ("", None) else float(end)}
        except (ValueError, TypeError, KeyError):
            raise ValueError(
                f"{self.path}: row {number + self.is_json} is damaged ({shortened(record.strip())!r}); leave the row "
                "out, or name another --output."
            ) from None

    def _know(self, fields: Mapping[str, Any]) -> None:
        self.done.add(_key(str(fields["id"]), str(fields["path"]), fields["start"], fields["end"]))
        self.num_errors += bool(fields["error"])
        self.num_rows += 1

    def has(self, item: Item) -> bool:
        """Tell whether there is a row of this clip."""
        return _key(item.id, item.path, item.start, item.end) in self.done

    def write(self, rows: Sequence[ScoredClip]) -> None:
        """Append rows and hand them to the system, so that they outlive this process.

        Raises:
            OSError: If they cannot be written; those before are whole.
        """
        if self.is_json:
            lines = [json.dumps(self._fields(row), ensure_ascii=False) + "\n" for row in rows]
        else:
            lines = [csv_line(list(self._fields(row).values()), "\n") for row in rows]  # None is written as nothing
        with self._told():
            self._append("".join(lines))
        self.num_errors += sum(bool(row.error) for row in rows)
        self.num_rows += len(rows)

    def _fields(self, row: ScoredClip) -> dict[str, Any]:
        item, seconds = row.item, None if row.error else round(row.seconds, DIGITS)
        named = dict(zip(self.numbers, self.trust.values(row), strict=True)) | {NOTE: row.note, "error": row.error}
        fields = dict(zip(BEFORE, [item.id, item.path, item.start, item.end, seconds], strict=True)) | named
        return {name: fields[name] for name in self.columns}

    def _append(self, text: str) -> None:
        """Write all of a text, or nothing of it."""
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        done = 0
        try:
            while done < len(data):
                done += self._file.write(data[done:]) or 0
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += done

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_stamp(path: Path) -> Stamp:
    """Read the stamp beside a table.

    Raises:
        ValueError: If it is none.
    """
    found = read_json(path)
    kinds = {"source": str, "settings": dict, "fingerprint": str}
    if not isinstance(found, dict) or any(not isinstance(found.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"{path}: damaged, so that nobody knows what the scores come from; name another --output.")
    return Stamp(**{name: found[name] for name in kinds})


def open_alone(path: Path) -> FileIO:
    """Open a file to append to, which no other process does meanwhile; the system frees it however this one ends.

    Raises:
        ValueError: If another process has it open so.
    """
    while True:
        file = open(path, "a+b", buffering=0)  # noqa: SIM115
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError:
            file.close()
            raise ValueError(f"{path}: another process is writing it; wait for it, or name another --output.") from None
        except FileNotFoundError:
            pass  # it was moved away meanwhile
        file.close()


def _lock(file: FileIO) -> None:
    try:
        try_lock(file.fileno(), "flock")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


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
