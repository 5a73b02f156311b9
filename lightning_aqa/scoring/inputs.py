"""Inputs to score: files, folders, JSON lines and standard input, read one by one as they are wanted."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.data.decoding import AUDIO
from lightning_aqa.data.folder import audio_below
from lightning_aqa.data.parsing import JSON_LINES
from lightning_aqa.utils.documents import parse_json
from lightning_aqa.utils.text import shortened

STDIN = "-"
TIMES = {"start": "start_time", "end": "end_time"}
"""The fields of a part of a file, and their names in the lists of Audiobox Aesthetics."""


class Item(NamedTuple):
    """One clip to score.

    Args:
        id: Its name in the output; the path with the times unless the user names it.
        path: The audio file; empty where a line of a list names none.
        start: Where the clip starts in its file, in seconds.
        end: Where it ends, in seconds; None is the end of the file.
        prompt: The text it was made from, for encoders with a text side.
        error: Why it cannot be scored, where that is known before its file is opened.
        domain: Its domain, such as ``speech``, for intervals by domain; empty where unknown.
    """

    id: str
    path: str
    start: float = 0.0
    end: float | None = None
    prompt: str = ""
    error: str = ""
    domain: str = ""


def read_items(inputs: Sequence[str]) -> Iterator[Item]:
    """Yield the clips of some inputs, in their order, each when it is asked for.

    Args:
        inputs: Audio files, folders (with their sub-folders, in the order of names), JSON lines, or ``-`` for standard
            input with a path or a JSON object per line.
    """
    for source in inputs:
        yield from _read(source)


def _read(source: str) -> Iterator[Item]:
    path = Path(source)
    if source == STDIN:
        if isinstance(sys.stdin, TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")
        yield from read_lines(sys.stdin, "stdin", Path())
    elif os.path.isdir(path):  # where a name is too long for the system, Path.is_dir raises
        for found, error in audio_below(path):
            name = found.as_posix()
            yield Item(name, name, error=error) if error else item_of({"path": name}, name)
    elif path.suffix.lower() in JSON_LINES:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            yield from read_lines(lines, source, path.parent)
    else:
        yield item_of({"path": source}, source)


def read_lines(lines: Iterable[str], where: str, folder: Path) -> Iterator[Item]:
    """Read a clip from each line that is not empty: a JSON object, or a bare path.

    A line that is no clip is an item with an error, named by its location.

    Args:
        lines: The lines.
        where: Name of their source, for the message.
        folder: Folder that relative paths start from.
    """
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        location = f"{where}:{number}"
        if not text.startswith("{"):
            whole = line.removesuffix("\n")  # a name may begin or end in a space
            name = whole if whole != text and os.path.isfile(folder / whole) else text
            yield item_of({"path": name}, location, folder)
            continue
        try:
            fields = parse_json(text)
        except ValueError as error:
            yield Item(location, "", error=str(error))
        else:
            yield item_of(fields, location, folder)


def item_of(fields: Mapping[str, Any], location: str, folder: Path = Path()) -> Item:
    """Make an item of the fields of a line: ``path``; ``start``, ``end``, ``prompt``, ``domain``, ``id``.

    Args:
        fields: The fields.
        location: Name of the line, for one without a path.
        folder: Folder that relative paths start from.

    Example:
        >>> item_of({"path": "a.wav", "start": 2, "end": 4.5}, "list.jsonl:1").id
        'a.wav#2-4.5'
        >>> item_of({"path": "a.wav", "start": 3, "end": 2}, "list.jsonl:1").error
        'start 3 and end 2 are not seconds in that order'
    """
    name, given = fields.get("path"), _text(fields.get("id"))
    if not isinstance(name, str) or not name.strip():
        found = f"path is {name!r}" if "path" in fields else f"no path in the fields {', '.join(fields) or '{}'}"
        return Item(given or location, "", error=shortened(found, 200))
    path = _text((folder / name).as_posix())
    begin, finish = (fields.get(key, fields.get(other)) for key, other in TIMES.items())
    start, end = _seconds(begin, 0.0), _seconds(finish, math.inf)
    if not 0 <= start < end:
        wrong = f"start {begin} and end {finish} are not seconds in that order"
        return Item(given or f"{path} of {location}", path, error=wrong)
    last = None if end == math.inf else end
    times = "" if start == 0 and last is None else f"#{start:.12g}-{'' if last is None else f'{last:.12g}'}"
    prompt, domain = (_text(fields.get(name)) for name in ("prompt", "domain"))
    return Item(given or path + times, path, start, last, prompt, domain=domain)


def _text(value: object) -> str:
    """Return what a field says, a number too; of what is no text in any encoding, question marks."""
    text = "" if value is None else str(value)
    try:
        text.encode("utf-8", "surrogateescape")  # bytes of a file name that are no UTF-8 stay what they are
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _seconds(value: object, default: float) -> float:
    """Return a time, or NaN, which is in no order."""
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def check_inputs(inputs: Sequence[str]) -> None:
    """Refuse inputs of which nothing can be scored; a file that looks like audio may be missing, which its row says.

    Raises:
        ValueError: If an input is no file, folder or list, or a folder holds no audio.
    """
    for source in inputs:
        path = Path(source)
        if os.path.isdir(path) and not any(islice(audio_below(path), 1)):
            raise ValueError(f"{source}: no audio found ({' '.join(sorted(AUDIO))}).")
        if source != STDIN and not os.path.exists(path) and path.suffix.lower() not in AUDIO:
            raise ValueError(f"{shortened(source, 300)}: no such file or folder.")
        if os.path.isfile(path) and path.suffix.lower() in {".csv", ".tsv", ".txt", ".json"}:
            raise ValueError(
                f"{source}: give a list as JSON lines (.jsonl), an object with a path in each, or its paths by `-` on "
                "standard input."
            )


def count_items(inputs: Sequence[str]) -> int | None:
    """Count the clips, for the time left; None where standard input is among them."""
    return None if STDIN in inputs else sum(1 for _ in read_items(inputs))
