"""Faults of an answer: header, columns, names of clips, their order, numbers and their range, each with its line."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.data.separated import is_number
from lightning_aqa.results.challenges.formats import SPACE, AnswerFormat, stem
from lightning_aqa.utils.records import any_length
from lightning_aqa.utils.text import nearest, shortened

MARK = "\ufeff"
MOST_GUESSES = 5
"""Faults after which nobody looks for the clip that a name is like, which takes long for long lists."""
_COMMA = re.compile(r"[+-]?\d+,\d+")


class Fault(NamedTuple):
    """One thing that is wrong with an answer.

    Args:
        kind: What sort of fault; such as ``"missing clip"``.
        line: Line that it is in, from 1; 0 where it is in none.
        what: What was found, and what to do.
    """

    kind: str
    line: int
    what: str


def check_answer(data: bytes, form: AnswerFormat, names: Sequence[str]) -> list[Fault]:
    r"""List all that is wrong with an answer, in the order of its lines.

    Args:
        data: The file as it is.
        form: The form that the organisers ask for.
        names: What the clips are called, in the order of the list.

    Example:
        >>> form = AnswerFormat("answer.txt", (Axis("mos", "", 1, 5),))
        >>> [fault[:2] for fault in check_answer(b"a,3\na,6\n", form, ["a", "b"])]
        [('clip comes twice', 2), ('out of range', 2), ('missing clip', 0)]
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [Fault("not UTF-8", line, f"byte {error.start} is no UTF-8; save the file as UTF-8")]
    faults = []
    if text.startswith(MARK):
        faults.append(Fault("byte order mark", 1, "begins with a byte order mark; save it as UTF-8 without one"))
    if "\r" in text:
        line = text.count("\n", 0, text.index("\r")) + 1
        faults.append(Fault("line end", line, "ends in a carriage return; save it with \\n alone, as Unix does"))
    checking = _Checking(form, names, faults)
    checking.read(re.sub(r"\r\n?", "\n", text.removeprefix(MARK)))
    return sorted(faults, key=lambda fault: (fault.line == 0, fault.line))


class _Checking:
    """One reading of an answer."""

    def __init__(self, form: AnswerFormat, names: Sequence[str], faults: list[Fault]) -> None:
        self.form, self.names, self.faults = form, names, faults
        self.known = set(names)
        self.alike = {stem(name).casefold(): name for name in reversed(names)}
        self.seen: dict[str, int] = {}

    def note(self, kind: str, line: int, what: str) -> None:
        self.faults.append(Fault(kind, line, what))

    def read(self, text: str) -> None:
        """Look at each line, then at all of them together."""
        is_first = True
        for line, cells in self._rows(text):
            if not any(map(str.strip, cells)):
                self.note("empty line", line, "is empty; delete it")
            elif not (is_first and self._is_header(line, cells)):
                self._look_at(line, cells)
            is_first = is_first and not any(map(str.strip, cells))
        if is_first:
            self.note("empty file", 0, f"holds no line; expected {len(self.names)} of {self.form.line()}")
            return
        for name in self.names:
            if name not in self.seen:
                self.note("missing clip", 0, f"no line for {shortened(name)}; score it too")
        self._check_order()

    def _rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        if self.form.delimiter == SPACE:
            lines = text.removesuffix("\n").split("\n") if text else []
            yield from ((number, line.split(SPACE) if line else []) for number, line in enumerate(lines, start=1))
            return
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.form.delimiter, strict=True)
        with any_length():
            while True:
                line = reader.line_num + 1
                try:
                    yield line, next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    self.note("open quote", line, f"cannot be read ({error}); close the quote where its cell ends")
                    return

    def _is_header(self, line: int, cells: Sequence[str]) -> bool:
        """Tell whether the first line is one of names; note where it is not the one that is asked for."""
        if self.form.header and tuple(cells) == self.form.header:
            return True
        is_data = cells[0] in self.known or any(is_number(cell) for cell in cells[1:])
        if self.form.header:
            what = "there is no header" if is_data else f"the header is {shortened(self.form.delimiter.join(cells))!r}"
            self.note("header", line, f"{what}; write {self.form.line()}")
        elif not is_data:
            self.note("header", line, "there is a header; this challenge asks for none, so delete the line")
        return not is_data

    def _look_at(self, line: int, cells: Sequence[str]) -> None:
        expected = 1 + len(self.form.axes)
        name = self._known_name(line, cells[0])
        if name and name in self.seen:
            self.note("clip comes twice", line, f"{shortened(name)} is in line {self.seen[name]} too; keep one")
        elif name:
            self.seen[name] = line
        if len(cells) != expected:
            hint = "; write decimals with a point" if len(cells) > expected else ""
            what = f"{len(cells)} columns, expected {expected} ({self.form.line()}){hint}"
            self.note("columns", line, what)
            return
        for axis, cell in zip(self.form.axes, cells[1:], strict=True):
            self._check_score(line, axis, cell)

    def _known_name(self, line: int, cell: str) -> str:
        """Return the clip of a line, noting how else it is written; empty where it is none of the list."""
        if cell in self.known:
            return cell
        alike = self.alike.get(stem(cell).casefold(), "")
        if not alike:
            near = nearest(cell, self.names) if len(self.faults) < MOST_GUESSES else ""
            guess = f", which has {shortened(near)!r}" if near else ""
            self.note("unknown clip", line, f"{shortened(cell)!r} is not in the list{guess}; delete or rename the line")
        else:
            kind = "space" if cell.strip() == alike else "name of a clip"
            self.note(kind, line, f"{shortened(cell)!r} is called {shortened(alike)!r} in this challenge; write that")
        return alike

    def _check_score(self, line: int, axis: Axis, cell: str) -> None:
        scale = f"expected a number from {axis.low:g} to {axis.high:g}"
        if cell != cell.strip():
            self.note("space", line, f"{axis.name} has a space beside it; delete it")
            cell = cell.strip()
        if not (is_number(cell) and cell.isascii() and "_" not in cell):
            hint = "; write its decimals after a point" if _COMMA.fullmatch(cell) else ""
            self.note("no number", line, f"{axis.name} is {shortened(cell)!r}, {scale}{hint}")
        elif not math.isfinite(float(cell)):
            self.note("not finite", line, f"{axis.name} is {shortened(cell)}, {scale}; score the clip anew")
        elif not axis.low <= float(cell) <= axis.high:
            self.note("out of range", line, f"{axis.name} is {shortened(cell)}, {scale}; or clip it to that end")

    def _check_order(self) -> None:
        wanted = [name for name in self.names if name in self.seen]
        for name, found in zip(wanted, self.seen, strict=True):
            if name != found:
                what = f"{shortened(found)} is where the list has {shortened(name)}; keep the order of the list"
                self.note("order", self.seen[found], what)
                return


def by_kind(faults: Sequence[Fault], most: int = 3) -> list[str]:
    """Say in one line per kind how many faults there are, and the first of them.

    Example:
        >>> by_kind([Fault("missing clip", 0, "no line for a"), Fault("missing clip", 0, "no line for b")], most=1)
        ['missing clip, 2 times: no line for a; and 1 more']
    """
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(f"line {fault.line}: {fault.what}" if fault.line else fault.what)
    lines = []
    for kind, said in kinds.items():
        count = "once" if len(said) == 1 else f"{len(said)} times"
        more = [f"and {len(said) - most} more"] if len(said) > most else []
        lines.append(f"{kind}, {count}: {'; '.join([*said[:most], *more])}")
    return lines
