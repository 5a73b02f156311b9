"""The rows of a table of scores, for what follows from all of them."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from lightning_aqa.results.notes import NOTE
from lightning_aqa.results.predictions import ENDS
from lightning_aqa.scoring.writer import AFTER, BEFORE, ScoreWriter
from lightning_aqa.utils.records import read_records


class WrittenClip(NamedTuple):
    """A clip that was scored.

    Args:
        id: Its name.
        scores: Per axis, in score points.
        ends: Low and high end of its interval per axis, NaN where there is none.
        note: Why the scores mean little; empty where there is no reason.
    """

    id: str
    scores: tuple[float, ...]
    ends: tuple[tuple[float, float], ...]
    note: str


def read_written(table: ScoreWriter) -> dict[str, WrittenClip]:
    """Read the clips of a table that have scores, by id, in its order."""
    if table.is_json:
        rows: list[dict[str, Any]] = [json.loads(line) for line in table.path.read_text(encoding="utf-8").splitlines()]
    else:
        rows = [
            {
                name: record.text(name) if name in BEFORE + AFTER else record.number(name, math.nan)
                for name in record.cells
            }
            for record in read_records(table.path, ["id", "error", *table.axes])
        ]
    own = dict(zip(table.trust.columns, table.numbers, strict=True))
    ends = [[own.get(f"{axis.name} {end}") for end in ENDS] for axis in table.trust.axes]
    return {
        str(row["id"]): WrittenClip(
            str(row["id"]),
            tuple(_number(row, name) for name in table.axes),
            tuple((_number(row, low), _number(row, high)) for low, high in ends),
            str(row.get(NOTE, "")),
        )
        for row in rows
        if not row["error"]
    }


def _number(row: dict[str, Any], name: str | None) -> float:
    value = row.get(name) if name else None
    return math.nan if value is None else float(value)
