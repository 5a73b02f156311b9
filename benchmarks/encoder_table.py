"""The table of encoders in the README: ``python benchmarks/encoder_table.py README.md`` brings it up to date."""

from __future__ import annotations

import csv
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from lightning_aqa.encoders.base import Encoder
from lightning_aqa.utils.components import parts_of

START, END = "<!-- encoders: written by make table -->", "<!-- end of encoders -->"
COLUMNS = ("encoder", "default weights", "their licence", "Hz", "width", "layers", "text width", "window")
SPEEDS = Path(__file__).with_name("encoders.csv")
CHECKPOINT = {"checkpoint", "name_or_path"}
"""What a constructor calls weights that it has to load."""


def encoder_table(speeds: Path = SPEEDS) -> str:
    """Write the encoders as a Markdown table, a row each.

    Args:
        speeds: CSV file with the columns ``encoder`` and ``x_real_time``, as ``benchmarks/encoder_speed.py`` writes it;
            without the file there is no such column.
    """
    measured = _read_speeds(speeds)
    columns = (*COLUMNS, "x real time") if measured else COLUMNS
    rows = [(*_row(part), measured.get(part.__name__, "")) for part in parts_of("encoders", Encoder)]
    lines = [columns, ("---",) * len(columns), *(row[: len(columns)] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _read_speeds(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["encoder"]: row["x_real_time"] for row in csv.DictReader(file)}


def _row(part: type[Encoder]) -> tuple[str, ...]:
    link = f"[{part.__name__}]({'/'.join(part.__module__.split('.'))}.py)"
    named = (f"`{part.published[0].checkpoint}`", part.published[0].licence) if part.published else ("none", "")
    sized = _sized(part)
    if sized is None:
        return (link, "", "", *["depends"] * 5)
    window = f"{sized.window_seconds:g} s" if sized.window_seconds else "any length"
    sizes = (str(sized.sample_rate), str(sized.width), str(sized.num_layers))
    audio = (*sizes, str(sized.text_width or ""), window)
    return (link, *named, *(audio if sized.width else ("", "", "", audio[3], "")))


def _sized(part: type[Encoder]) -> Encoder | type[Encoder] | None:
    """Return what has the sizes: the class, or where nothing is loaded, one that is built; None if it takes parts."""
    if part.published:
        return part
    options = inspect.signature(part).parameters.values()
    needs = any(option.default is option.empty or option.name in CHECKPOINT | {"encoders"} for option in options)
    return None if needs else part()


def with_table(page: str, table: str) -> str:
    """Put a table between the two marks of a page.

    Raises:
        ValueError: If the page does not have the marks.

    Example:
        >>> print(with_table(f"{START}{END}", "| table |"))
        <!-- encoders: written by make table -->
        | table |
        <!-- end of encoders -->
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"The page has no place for the table: expected the lines '{START}' and '{END}'.")
    return f"{before}{START}\n{table}\n{END}{after}"


def _update(paths: list[str]) -> Iterator[Path]:
    for path in map(Path, paths):
        path.write_text(with_table(path.read_text(encoding="utf-8"), encoder_table()), encoding="utf-8")
        yield path


if __name__ == "__main__":
    for written in _update(sys.argv[1:]):
        print(f"{written} is up to date")
