"""History of a run, a row per epoch, and the last value of what it logged."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_aqa.results.files import HISTORY, RESULTS
from lightning_aqa.utils.files import replacing


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Write one row per epoch; a value that an epoch did not log is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: Path) -> list[dict[str, float]]:
    """Read ``history.csv``; a value that was not logged in an epoch is absent from its row."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def final_value(folder: Path, metric: str) -> float:
    """Return what W&B's summary would hold of a metric: its last value in training, or that of the evaluation.

    Args:
        folder: A run folder.
        metric: Key that the run logs.

    Returns:
        The value; NaN where there is none.
    """
    history, path = folder / HISTORY, folder / RESULTS
    logged = [row[metric] for row in read_history(history) if metric in row] if history.exists() else []
    if logged:
        return logged[-1]
    parts = metric.removeprefix("test/").split("/")
    results: Any = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in (parts[0], parts[1], parts[3], parts[2]) if len(parts) == 4 else ():
        results = results.get(part) if isinstance(results, Mapping) else None
    return float(results) if isinstance(results, float | int) else math.nan
