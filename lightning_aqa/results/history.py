"""Read and write ``history.csv``, a row per epoch."""

from __future__ import annotations

import csv
from pathlib import Path

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
