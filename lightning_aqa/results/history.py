"""History of a run, a row per epoch, and the last value of what it logged."""

from __future__ import annotations

import math
from pathlib import Path

from lightning_aqa.metrics.levels import METRICS, higher_is_better
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


def is_better_if_higher(name: str) -> bool:
    """Tell whether a logged metric is the better the higher it is: correlations are, losses and errors are not.

    Example:
        >>> [is_better_if_higher(name) for name in ("val/system/SRCC/PQ", "val/utterance/MSE/mean", "val/loss")]
        [True, False, False]
    """
    if name.startswith("val/pairs/"):
        return "/accuracy/" in name
    level = name.removeprefix("val/").startswith(("utterance", "system"))
    metric = next((metric for metric in METRICS if level and f"/{metric}/" in name), "MSE")  # names may hold slashes
    return higher_is_better(metric)


def kept_epoch(rows: list[dict[str, float]], monitor: str | None) -> float | None:
    """Return the epoch whose weights a run kept, from 0: the first best one by its monitor, or the last without one.

    Args:
        rows: The history.
        monitor: Key of the metric.

    Returns:
        None where the history does not have it.
    """
    if monitor is None:
        return rows[-1].get("epoch") if rows else None
    sign = 1 if is_better_if_higher(monitor) else -1
    found = [row for row in rows if "epoch" in row and math.isfinite(row.get(monitor, math.nan))]
    return max(found, key=lambda row: sign * row[monitor])["epoch"] if found else None


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
