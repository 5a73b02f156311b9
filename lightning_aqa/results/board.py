"""A scoreboard: what predictors are worth on corpora, as data that others can add to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_aqa.metrics.levels import higher_is_better
from lightning_aqa.metrics.listeners import ListenerRatings
from lightning_aqa.metrics.significance import differs
from lightning_aqa.results.comparison import CEILING, Column, ComparisonTable, compare_variants
from lightning_aqa.results.variants import SharedClips
from lightning_aqa.utils.documents import read_json
from lightning_aqa.utils.files import replacing

VERSION = 1
MOST_ENTRIES = 100_000
Entry = dict[str, Any]


def corpus_digest(ids: Sequence[str], axes: Sequence[str], targets: Any) -> str:
    """Hash what a corpus asks: its clips, axes and ratings; the same for the same, wherever its files are.

    Args:
        ids: Clip ids.
        axes: Names of the axes.
        targets: Mean ratings, shape ``(N, A)``.
    """
    order = np.argsort(np.array(ids, dtype=str), kind="stable")
    rows = [[ids[n], *(None if math.isnan(v) else round(float(v), 4) for v in targets[n])] for n in order.tolist()]
    return hashlib.sha256(json.dumps([list(axes), rows]).encode()).hexdigest()[:16]


def entries_of(
    corpus: str, evidence: SharedClips, ratings: ListenerRatings | None, about: Mapping[str, Mapping[str, Any]]
) -> list[Entry]:
    """Compare predictors on one corpus; return an entry of each.

    ``group`` has the letters of the groups that cannot be told apart, at 5 % over all of a column, of those that were
    compared together: two numbers share one exactly where they cannot.

    Args:
        corpus: Name of the corpus.
        evidence: Scores of the predictors on its clips.
        ratings: Ratings of single listeners, for the ceilings.
        about: What else is known of each predictor, by name.
    """
    tables = compare_variants(evidence, ratings, most_clips_for_ktau=5000)
    digest = corpus_digest(evidence.ids, evidence.axes, evidence.targets)
    together = [variant.name for variant in evidence.variants]
    asked = {"name": corpus, "digest": digest, "clips": len(evidence.ids), "split": evidence.split,
             "systems": len(set(evidence.systems) - {""}), "ceilings": _ceilings(tables)}  # fmt: skip
    return [
        {
            "predictor": variant.name,
            "corpus": asked,
            "compared_with": [name for name in together if name != variant.name],
            "levels": {f"{t.level} {t.domain}".strip(): _numbers(t, v) for t in tables},
            **about.get(variant.name, {}),
        }
        for v, variant in enumerate(evidence.variants)
    ]


def _numbers(table: ComparisonTable, v: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for (axis, metric), cell in table.rows[v].items():
        ends = [_plain(cell.interval.low), _plain(cell.interval.high)]
        number: dict[str, Any] = {"value": _plain(cell.value), "interval": None if None in ends else ends}
        if len(table.rows) > 1:
            number["group"] = _groups(table, (axis, metric))[v]
        of_axis = found.setdefault(axis, {"n": int(table.n.get(axis, max(table.n.values(), default=0)))})
        of_axis[metric] = number
    return found


def _groups(table: ComparisonTable, column: Column) -> list[str]:
    """Name the groups of a column that cannot be told apart, that of the best first."""
    same = [[of is None or not differs(of.p_adjusted) for of in row] for row in table.pairs[column]]
    return letters([row[column].value for row in table.rows], same, is_error=not higher_is_better(column[1]))


def letters(values: Sequence[float], same: Sequence[Sequence[bool]], *, is_error: bool = False) -> list[str]:
    """Name groups that cannot be told apart by letters: two entries share one exactly where they cannot.

    Args:
        values: A metric per entry; one without is in no group.
        same: Of each two entries, whether they cannot be told apart.
        is_error: Whether less is better.

    Example:
        >>> letters([0.9, 0.8, 0.5], [[True, True, False], [True, True, True], [False, True, True]])
        ['a', 'ab', 'b']
    """
    order = sorted(
        (v for v, x in enumerate(values) if math.isfinite(x)), key=lambda v: values[v] * (1, -1)[not is_error]
    )
    groups: list[set[int]] = [set(order)] if order else []
    for n, i in enumerate(order):
        for j in order[:n]:
            if not same[i][j]:  # insert and absorb: split what holds both, keep what is in no other
                split = [part for of in groups for part in ((of - {i}, of - {j}) if {i, j} <= of else (of,))]
                unique = [of for k, of in enumerate(split) if of not in split[:k]]
                groups = [of for of in unique if not any(of < other for other in unique)]
    rank = {v: n for n, v in enumerate(order)}
    groups.sort(key=lambda of: sorted(rank[v] for v in of))
    return ["".join(_letter(g) for g, of in enumerate(groups) if v in of) for v in range(len(values))]


def _letter(number: int) -> str:
    """Return a, b, ... z, then a1, b1 and so on."""
    return chr(97 + number % 26) + (str(number // 26) if number >= 26 else "")


def _ceilings(tables: Sequence[ComparisonTable]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for table in tables:
        for row in table.beside:
            if row[0] == CEILING and not table.domain:
                for (axis, metric), value in row[2].items():
                    if math.isfinite(value):
                        found.setdefault(f"{table.level} {axis}", {})[metric] = round(float(value), 6)
    return found


def _plain(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def write_board(path: Path, entries: Sequence[Entry]) -> None:
    """Write a scoreboard as JSON."""
    with replacing(path, errors="backslashreplace") as file:
        json.dump({"version": VERSION, "entries": list(entries)}, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_board(path: Path) -> list[Entry]:
    """Read a scoreboard that somebody wrote.

    Raises:
        ValueError: If it is none, or of a later version.
    """
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("entries"), list):
        raise ValueError(f"{path}: not a scoreboard, which has a list of entries; give a board.json of `benchmark`.")
    if found.get("version") != VERSION:
        raise ValueError(f"{path}: a scoreboard of version {found.get('version')!r}, expected {VERSION}.")
    entries: list[Entry] = found["entries"]
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"{path}: {len(entries)} entries, expected at most {MOST_ENTRIES}.")
    for n, entry in enumerate(entries, start=1):
        if not _is_entry(entry):
            raise ValueError(f"{path}: entry {n} lacks a predictor, a corpus with its digest, or levels with numbers.")
    return entries


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("predictor"), str) or not entry["predictor"].strip():
        return False
    corpus, levels = entry.get("corpus"), entry.get("levels")
    if not isinstance(corpus, dict) or not isinstance(levels, dict):
        return False
    kinds = {"name": str, "digest": str, "split": str, "clips": int, "systems": int}
    is_corpus = all(isinstance(corpus.get(key), kind) for key, kind in kinds.items())
    return is_corpus and all(_are_numbers(axes) for axes in levels.values())


def _are_numbers(axes: object) -> bool:
    return isinstance(axes, dict) and all(
        isinstance(numbers, dict)
        and all(name == "n" or _is_number(number) for name, number in numbers.items())
        and isinstance(numbers.get("n"), int)
        for numbers in axes.values()
    )


def _is_number(number: object) -> bool:
    def plain(value: object) -> bool:
        return value is None or (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )

    if not isinstance(number, dict) or not plain(number.get("value")) or not isinstance(number.get("group", ""), str):
        return False
    ends = number.get("interval")
    return ends is None or (isinstance(ends, list) and len(ends) == 2 and all(plain(end) for end in ends))


def joined(boards: Iterable[tuple[str, Sequence[Entry]]]) -> tuple[list[Entry], list[str]]:
    """Join scoreboards: of a predictor that two have on one corpus the first one's entry counts.

    Args:
        boards: Name and entries of each.

    Returns:
        The entries, and a line on each that another board has with other numbers.
    """
    found: dict[tuple[str, str], Entry] = {}
    notes = []
    for name, entries in boards:
        for entry in entries:
            key = str(entry["corpus"]["digest"]), str(entry["predictor"])
            before = found.setdefault(key, entry)
            if before["levels"] != entry["levels"]:
                notes.append(f"{name}: {key[1]} on {entry['corpus']['name']} has other numbers than before, left out.")
    return list(found.values()), notes
