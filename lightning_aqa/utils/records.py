r"""Tables of the package's own: the one way in which a cell is written and read, so that every text comes back.

A table is UTF-8 with commas, and opens in a spreadsheet without running anything: a text that would begin a formula
there (``=``, ``+``, ``-``, ``@``, a tab, a line end) is written after an apostrophe. Bytes of a file name that are no
UTF-8, NUL and lone surrogates cannot stand in such a file: a text with one begins with ``'\`` and has ``\xe9`` for the
byte E9, ``\x00``, ``\ud800`` and ``\\``. Numbers are no texts: -0.5 stays -0.5.
"""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lightning_aqa.utils.files import read_text, replacing
from lightning_aqa.utils.text import did_you_mean, shortened

LINE_END = "\r\n"
LARGEST = 1e39
"""No score or loss in float32 is larger, and the squares of smaller ones are numbers still."""

_MARKED = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]|'+\\")
_UNMARKED = re.compile(r"'+\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|'+[\t\r\n]|''+\\")
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(?:(\\)|x([0-9a-f]{2})|u(d[89a-f][0-9a-f]{2}))")
_FIRST_BYTE = 0xDC80
"""Surrogate by which Python names the byte 80 of a file name that is no UTF-8."""


def write_cell(value: object) -> object:
    r"""Return what stands in a table for a value; all but text stays as it is.

    Example:
        >>> print(*map(write_cell, ("a.wav", "=1+1", "caf\udce9.wav", -0.5)))
        a.wav '=1+1 '\caf\xe9.wav -0.5
    """
    if not isinstance(value, str):
        return value
    if _UNWRITABLE.search(value):
        return "'\\" + _UNWRITABLE.sub(_escape, value.replace("\\", "\\\\"))
    return f"'{value}" if _MARKED.match(value) else value


def read_cell(cell: str) -> str:
    r"""Return the text that ``write_cell`` wrote as a cell.

    Example:
        >>> [read_cell(cell) for cell in ("a.wav", "'=1+1", "'\\caf\\xe9.wav", "'tis")]
        ['a.wav', '=1+1', 'caf\udce9.wav', "'tis"]
    """
    if cell.startswith("'\\"):
        return _ESCAPED.sub(_character, cell[2:])
    return cell[1:] if _UNMARKED.match(cell) else cell


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    is_byte = _FIRST_BYTE <= code < _FIRST_BYTE + 128
    return f"\\x{code & 0xFF:02x}" if is_byte or code == 0 else f"\\u{code:04x}"


def _character(found: re.Match[str]) -> str:
    if found[1]:
        return "\\"
    code = int(found[2] or found[3], 16)
    return chr(code + 0xDC00) if found[2] and code >= 0x80 else chr(code)


def csv_line(values: Iterable[object], end: str = LINE_END) -> str:
    """Return one row of a table, with its line end; None is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=LINE_END).writerow(map(write_cell, values))  # with another, it leaves CR bare
    return text.getvalue().removesuffix(LINE_END) + end


def csv_cells(line: str) -> list[str]:
    """Return the texts of one row that ``csv_line`` wrote."""
    with any_length():
        return [read_cell(cell) for cell in next(csv.reader(io.StringIO(line, newline="")), [])]


def write_records(path: str | Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table, all at once."""
    with replacing(path) as file:
        file.write(csv_line(columns))
        file.writelines(map(csv_line, rows))


class Record(NamedTuple):
    """A row of a table of the package's own: the location it comes from, and its texts by column."""

    where: str
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """Return a text; an empty one where an older table has no such column."""
        return self.cells.get(column, "")

    def number(self, column: str, empty: float | None = None) -> float:
        """Return a number; ``empty`` for an empty cell.

        Raises:
            ValueError: If it is none.
        """
        text = self.text(column)
        if not text and empty is not None:
            return empty
        try:
            value = float(text)
        except ValueError:
            value = LARGEST
        if LARGEST <= abs(value) < math.inf:
            raise ValueError(f"{self.where}: {column} is {shortened(text)!r}, expected a number.")
        return value

    def finite(self, column: str, empty: float | None = None) -> float:
        """Return a number that is finite, ``empty`` for an empty cell.

        Raises:
            ValueError: If it is none.
        """
        value = self.number(column, empty)
        if self.text(column) and not math.isfinite(value):
            raise ValueError(f"{self.where}: {column} is {value}, expected a finite number.")
        return value


def read_records(path: str | Path, columns: Sequence[str] = ()) -> list[Record]:
    """Read what ``write_records`` wrote.

    Args:
        path: The table.
        columns: Columns that it must have.

    Raises:
        ValueError: If it cannot be read, lacks a column, or was cut off.
    """
    text = read_text(path)
    if not text.endswith("\n"):
        raise ValueError(f"{path}: {'its last line is cut off' if text else 'empty'}; is it half a copy?")
    (_, names), *lines = _lines(text, path) or [("", [])]
    for column in columns:
        if column not in names:
            has = shortened(", ".join(names))
            raise ValueError(f"{path}: no column {column!r}; it has {has}.{did_you_mean(column, names)}")
    return [_record(where, cells, names) for where, cells in lines]


def _lines(text: str, path: str | Path) -> list[tuple[str, list[str]]]:
    """Return the location and the texts of each line that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        with any_length():
            return [(f"{path}:{reader.line_num}", [read_cell(cell) for cell in cells]) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: cannot be read as a table ({error}).") from None


def _record(where: str, cells: Sequence[str], names: Sequence[str]) -> Record:
    if len(cells) != len(names):
        raise ValueError(f"{where}: expected {len(names)} columns, found {len(cells)}; is it half a copy?")
    return Record(where, dict(zip(names, cells, strict=True)))


@contextmanager
def any_length() -> Iterator[None]:
    """Let a cell be as long as it is: a text is in memory already when it is taken apart."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
