"""Text and cells of lists that people made: any encoding with a mark, any separator, the true line of each row."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.files import file_size
from lightning_aqa.utils.records import any_length
from lightning_aqa.utils.text import did_you_mean

Line = tuple[int, list[str]]
"""Number of the line in which a row begins, from 1, and the cells of the row."""

SEPARATORS = ",\t;|"

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
"""Encoding by the mark that a file begins with; UTF-32's begins as UTF-16's does, so it stands first."""

_OTHERS = {
    b"PK\x03\x04": "a zip file, as a workbook (xlsx, ods) is", b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet file", b"\x1f\x8b": "compressed by gzip", b"BZh": "compressed by bzip2", b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database", b"RIFF": "audio", b"fLaC": "audio", b"OggS": "audio", b"ID3": "audio",
}  # fmt: skip
"""Kinds of file that are taken for a table now and then, by their first bytes."""

_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"(?!")')
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


def read_text(path: Path) -> str:
    """Read a text file: UTF-8, or UTF-16 and UTF-32 with their mark; line ends stay as they are.

    Raises:
        CorpusError: If there is no such file, or it is no text.
    """
    if not path.exists():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise CorpusError(f"{path}: no such file.{did_you_mean(path.name, siblings)}")
    try:
        file_size(path)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise CorpusError(str(error)) from None
    for start, kind in _OTHERS.items():
        if data.startswith(start):
            raise CorpusError(f"{path}: {kind}, not a table of text; save the table as CSV (UTF-8).")
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}:{line}: not {encoding.removesuffix('-sig').upper()} text (byte {error.start}); save it as UTF-8, "
            "e.g. with iconv."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CorpusError(f"{path}:{line}: holds a NUL byte, so it is no text in UTF-8; save the table as CSV (UTF-8).")
    return text


def split_lines(text: str) -> list[str]:
    """Split at line ends of any system, and nowhere else: a JSON string may hold a bare U+2028."""
    return re.split(r"\r\n|\n|\r", text)


def read_lines(path: Path, *, is_list: bool = False) -> tuple[list[Line], str]:
    """Split a file of separated values into rows; empty ones, and a first line such as ``sep=;``, are passed over.

    Args:
        path: The file.
        is_list: Whether the file is a list without a header, of which no line is a comment.

    Returns:
        The rows, the header first, and what separates their cells: what the first line is told to be separated by, or
        holds most of.

    Raises:
        CorpusError: If it cannot be read, or a quote in it never ends; the line where it opens is named.
    """
    text = read_text(path)
    told = _SEPARATOR_LINE.match(text)
    start, skipped = (told.end(), 1) if told else (0, 0)
    comments = []
    while not is_list and text.startswith("#", start) and (end := text.find("\n", start)) >= 0:
        comments.append(text[start:end].lstrip("# ").rstrip("\r"))
        start, skipped = end + 1, skipped + 1
    separator = told[1] if told else _separator(path, text[start:].partition("\n")[0])
    lines = list(_rows(path, text[start:], separator, skipped))
    if comments and lines and _is_header(next(csv.reader(comments[-1:], delimiter=separator), []), lines[0][1]):
        lines.insert(0, (skipped, next(csv.reader(comments[-1:], delimiter=separator))))
    return lines, separator


def _separator(path: Path, first: str) -> str:
    bare = _QUOTED.sub("", first)
    if path.suffix.lower() == ".tsv" and "\t" in bare:
        return "\t"
    return max(SEPARATORS, key=bare.count)


def _is_header(comment: Sequence[str], first: Sequence[str]) -> bool:
    """Tell whether a comment is the header of the row below it: as many names, over a number."""
    return 1 < len(comment) == len(first) and any(map(is_number, first)) and not any(map(is_number, comment))


def is_number(text: str) -> bool:
    """Tell whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _rows(path: Path, text: str, separator: str, skipped: int) -> Iterator[Line]:
    """Yield each row that is not empty with the line it begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number, width = 0, 0
    with any_length():
        while True:
            number = reader.line_num
            try:
                cells = next(reader, None)
            except csv.Error:
                row = "".join(islice(io.StringIO(text, newline=""), number, None))
                raise _unreadable(path, row, number + 1 + skipped, separator) from None
            if cells is None:
                return
            width = width or len(cells)
            if reader.line_num - number > 1 and _holds_rows(cells, separator, width):
                raise CorpusError(
                    f"{path}:{number + 1 + skipped}: a quote that opens in this row ends in line "
                    f"{reader.line_num + skipped}, over lines that are rows themselves; close it where its cell ends."
                )
            if any(map(str.strip, cells)):
                yield number + 1 + skipped, cells


def _holds_rows(cells: Sequence[str], separator: str, width: int) -> bool:
    """Tell whether a cell runs over what looks like rows of the table: as many cells, and a number among them."""
    for position, cell in enumerate(cells):
        first, *inner = [line.split(separator) for line in split_lines(cell)[:-1]] or [[]]
        missing = width - position
        if len(first) == missing > 1 and any(map(is_number, first[1:])):
            return True
        if any(len(parts) == width > 1 and any(map(is_number, parts)) for parts in inner):
            return True
    return False


def _unreadable(path: Path, row: str, first: int, separator: str) -> CorpusError:
    """Say in which line the quote opens that makes a row unreadable."""
    opening = re.compile(rf'(?<![^{re.escape(separator)}\r\n])"')
    found = opening.search(row)
    while found and (quoted := _QUOTED.match(row, found.start())):
        if row[quoted.end() : quoted.end() + 1] not in ("", "\r", "\n", separator):
            break
        found = opening.search(row, quoted.end())
    line = first + (len(split_lines(row[: found.start()])) - 1 if found else 0)
    ends = "ends before its cell does" if found and _QUOTED.match(row, found.start()) else "never ends"
    return CorpusError(
        f"{path}:{line}: a quote opens in this line and {ends}; close it where the cell ends, or double it in a text."
    )
