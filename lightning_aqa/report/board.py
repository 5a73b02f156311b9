"""The page of a scoreboard: a table per corpus, level and axis, and the facts about its predictors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_aqa.metrics.levels import METRICS
from lightning_aqa.report.build import PageSection, write_page
from lightning_aqa.report.templating import render
from lightning_aqa.results.board import Entry


def write_board_page(path: Path, entries: Sequence[Entry], notes: Sequence[str]) -> None:
    """Write the page of some entries.

    Args:
        path: The file.
        entries: The entries, of any corpora.
        notes: What the reader has to know.
    """
    by_corpus: dict[str, list[Entry]] = {}
    for entry in entries:
        by_corpus.setdefault(entry["corpus"]["digest"], []).append(entry)
    corpora = [_corpus(found) for found in by_corpus.values()]
    facts = [f"{len({entry['predictor'] for entry in entries})} predictors, {len(corpora)} corpora"]
    sections = [PageSection("board", "Scoreboard", render("board", corpora=corpora))]
    sections += [PageSection("notes", "Notes", render("notes", items=list(notes)))] if notes else []
    write_page(path, "Scoreboard", facts, sections)


def _corpus(entries: Sequence[Entry]) -> dict[str, Any]:
    asked = entries[0]["corpus"]
    columns = list(
        dict.fromkeys((level, axis) for of in entries for level, axes in of["levels"].items() for axis in axes)
    )
    facts = f"{asked['clips']} clips of {asked['systems']} systems, split {asked['split']}, corpus {asked['digest']}."
    return {
        "name": asked["name"],
        "facts": facts,
        "tables": [_table(entries, level, axis) for level, axis in columns],
        "facts_of": [_facts(entry) for entry in entries],
    }


def _table(entries: Sequence[Entry], level: str, axis: str) -> dict[str, Any]:
    found = [(entry, entry["levels"].get(level, {}).get(axis)) for entry in entries]
    rows = [(entry["predictor"], numbers) for entry, numbers in found if numbers]
    rows.sort(key=lambda row: -((row[1].get("SRCC") or {}).get("value") or -2.0))
    ceilings = entries[0]["corpus"].get("ceilings")
    highest = ceilings.get(f"{level} {axis}") if isinstance(ceilings, dict) else None
    is_known = isinstance(highest, dict) and all(isinstance(value, int | float) for value in highest.values())
    n = rows[0][1]["n"] if rows else 0
    return {
        "title": f"{axis}, {level} level, n = {n}",
        "metrics": METRICS,
        "rows": [{"name": name, "cells": [_cell(numbers.get(metric)) for metric in METRICS]} for name, numbers in rows],
        "ceiling": [_text(highest.get(metric)) for metric in METRICS] if is_known and highest else [],
    }


def _cell(number: Any) -> dict[str, str] | None:
    if not number or number.get("value") is None:
        return None
    mark = f" {number['group']}" if number.get("group") else ""
    ends = number.get("interval")
    return {"text": _text(number["value"]) + mark, "ends": f"[{_text(ends[0])}, {_text(ends[1])}]" if ends else ""}


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""


def _facts(entry: Entry) -> dict[str, str]:
    def part(name: str) -> dict[str, Any]:
        found = entry.get(name)
        return found if isinstance(found, dict) else {}

    speed, seen = part("speed"), part("contamination")
    told = f"not looked up; it declares {entry['declared']}" if isinstance(entry.get("declared"), str) else "not known"
    if seen:
        copies, versions, clips = (seen.get(name, "?") for name in ("copies", "versions", "training_clips"))
        told = f"{copies} copies, {versions} versions among {clips} clips"
    return {
        "name": entry["predictor"],
        "kind": str(entry.get("kind", "")),
        "speed": str(speed.get("times_real_time", "")),
        "memory": str(speed.get("peak_megabytes", "")),
        "device": str(speed.get("device", "")),
        "licence": str(entry.get("licence", "")),
        "seen": told,
    }
