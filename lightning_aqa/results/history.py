"""History of a run, a row per epoch, and the last value of what it logged."""

from __future__ import annotations

import math
from pathlib import Path

from lightning_aqa.results.files import HISTORY, RESULTS
from lightning_aqa.results.side_files import if_whole, read_results
from lightning_aqa.utils.records import read_records, write_records


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Write one row per epoch; a value that an epoch did not log is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_records(path, names, ([row.get(name) for name in names] for row in rows))


def read_history(path: Path) -> list[dict[str, float]]:
    """Read ``history.csv``; a value that was not logged in an epoch is absent from its row.

    Raises:
        ValueError: If it is no whole table of numbers; the message names it.
    """
    records = read_records(path)
    return [{name: record.number(name) for name, text in record.cells.items() if text} for record in records]


def final_value(folder: Path, metric: str) -> float:
    """Return what W&B's summary would hold of a metric: its last value in training, or that of the evaluation.

    Args:
        folder: A run folder.
        metric: Key that the run logs.

    Returns:
        The value; NaN where there is none.
    """
    logged = [row[metric] for row in (if_whole(folder / HISTORY, read_history) or []) if metric in row]
    if logged:
        return logged[-1]
    split, level, name, axis = parts if len(parts := metric.removeprefix("test/").split("/")) == 4 else [""] * 4
    value = (if_whole(folder / RESULTS, read_results) or {}).get(split, {}).get(level, {}).get(axis, {}).get(name)
    return math.nan if value is None else value
