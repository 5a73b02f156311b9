"""Pairs of a split with their scores and probabilities: from a table of predictions, to and from ``pairs.csv``."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import WINNERS, Manifest, Pair
from lightning_aqa.metrics.levels import evaluate
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.preferences import JudgedPair, evaluate_pairs
from lightning_aqa.utils.davidson import PairLink, probabilities
from lightning_aqa.utils.records import Record, read_records, write_records
from lightning_aqa.utils.text import shortened

PAIRS = "pairs"
"""Key of their numbers among the levels of a split."""
PAIR_COLUMNS = ("split", *JudgedPair._fields)


def judged_pairs(
    table: Predictions, pairs: Iterable[Pair], axes: Sequence[str], link: PairLink | None
) -> list[JudgedPair]:
    """Return the pairs whose clips were both scored, with their scores and, where a link is known, probabilities.

    Args:
        table: The scores.
        pairs: The pairs.
        axes: Names of the axes of the scores; pairs of another axis are passed over.
        link: From scores to probabilities; None of a model that was not trained on pairs.
    """
    rows, columns = {id_: n for n, id_ in enumerate(table.ids)}, {axis: a for a, axis in enumerate(axes)}
    found = []
    for pair in pairs:
        if pair.clip_a not in rows or pair.clip_b not in rows or pair.axis not in columns:
            continue
        a = columns[pair.axis]
        scores = float(table.scores[rows[pair.clip_a], a]), float(table.scores[rows[pair.clip_b], a])
        odds = (math.nan,) * 3
        if link is not None:
            odds = tuple(probabilities(np.array([link.slopes[a] * (scores[0] - scores[1])]), link.ties[a])[0].tolist())
        found.append(
            JudgedPair(pair.clip_a, pair.clip_b, pair.axis, pair.winner, pair.listener, pair.weight, *scores, *odds)
        )
    return found


def numbers_of(
    table: Predictions, manifest: Manifest, axes: Sequence[Axis], link: PairLink | None
) -> tuple[dict[str, Any], list[JudgedPair]]:
    """Return the metrics of a split, ``pairs`` among the levels where there are pairs, and these.

    Args:
        table: The predictions of its clips.
        manifest: All clips of the corpus.
        axes: What is predicted.
        link: From scores to probabilities of pairs.
    """
    names = [axis.name for axis in axes]
    results = evaluate(
        table.ids, table.systems, table.domains, table.scores, table.targets, names, manifest.system_scores
    )
    rows = judged_pairs(table, manifest.pairs, names, link)
    return with_pairs(results, rows, names, with_intervals=False), rows


def with_pairs(
    results: dict[str, Any], rows: Sequence[JudgedPair], axes: Sequence[str], *, with_intervals: bool = True
) -> dict[str, Any]:
    """Return the results of a split with the numbers of its pairs; the same without pairs."""
    return {**results, PAIRS: evaluate_pairs(rows, axes, with_intervals=with_intervals)} if rows else results


def write_pairs(path: str | Path, splits: Iterable[tuple[str, Sequence[JudgedPair]]]) -> None:
    """Write a row per pair with its scores and probabilities; no file where there is none."""
    splits = [(split, rows) for split, rows in splits if rows]
    if splits:
        write_records(path, PAIR_COLUMNS, ([split, *map(_cell, row)] for split, rows in splits for row in rows))


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value


def read_judged(path: str | Path) -> dict[str, list[JudgedPair]]:
    """Read what ``write_pairs`` wrote, by split; nothing where there is no such file.

    Raises:
        ValueError: If it is no whole table of pairs; the message names it.
    """
    if not Path(path).exists():
        return {}
    by_split: dict[str, list[JudgedPair]] = defaultdict(list)
    for record in read_records(path, PAIR_COLUMNS):
        by_split[record.text("split")].append(_judged(record))
    return dict(by_split)


def _judged(record: Record) -> JudgedPair:
    one, other, axis, said, listener = (record.text(name) for name in JudgedPair._fields[:5])
    winner = next((known for known in WINNERS if known == said), None)
    if winner is None:
        raise ValueError(f"{record.where}: winner is {shortened(said)!r}, expected {', '.join(WINNERS)}.")
    numbers = [record.number(name, math.nan) for name in JudgedPair._fields[5:]]
    return JudgedPair(one, other, axis, winner, listener, *numbers)
