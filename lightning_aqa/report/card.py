"""The card of a published model: what a stranger has to know of it before using it."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lightning_aqa.batch import Axis
from lightning_aqa.metrics.calibration import calibration
from lightning_aqa.metrics.levels import MEAN, PAIR_METRICS
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.report.templating import environment
from lightning_aqa.results.clip_intervals import coverage_notes
from lightning_aqa.results.console import reasons_of
from lightning_aqa.results.evidence import TRAINING
from lightning_aqa.results.facts import axes_of_run
from lightning_aqa.results.files import RATINGS, RESULTS
from lightning_aqa.results.ratings import read_ratings
from lightning_aqa.results.reference_points import run_notes
from lightning_aqa.results.runs import Run, choose_split, read_run
from lightning_aqa.results.tables import LEVELS, many, markdown
from lightning_aqa.utils.documents import read_json

SPDX = re.compile(r"(mit|apache-2\.0|bsd-[23]-clause|isc|mpl-2\.0|gpl-[23]\.0|cc0-1\.0|cc-by(-nc)?(-sa)?-[234]\.0)")
"""Licences that the hub knows by their names; others are told as another one."""
SHOWN = ("SRCC", "LCC", "MSE")
QUARTERS = 4
MOST_SYSTEMS = 5
FEWEST = 3
"""Clips under which a range or a system is not called the worst."""


def write_card(folder: Path, record: Mapping[str, Any]) -> str:
    """Write the card of a model, in Markdown with the header that the hub reads.

    Args:
        folder: Run folder with its results and predictions.
        record: What is known of the model, as its ``config.json`` has it.
    """
    run = read_run(folder)
    axes = [Axis(*row) for row in record["models"][0]["settings"]["axes"] or ()] or axes_of_run(run.facts)
    try:
        split = choose_split([run], None)
    except ValueError:
        split = ""
    results: dict[str, Any] = read_json(folder / RESULTS)
    found = {split: results[split]} if split in results else {}
    made = environment().overlay(autoescape=False)
    made.filters |= {"md": _escaped, "sh": shlex.quote, "json": partial(json.dumps, ensure_ascii=False)}
    return (
        made.get_template("card.md.j2").render(
            record=record,
            version=record["made_with"]["versions"].get("lightning_aqa", "of an unknown version"),
            corpus=_corpus(record),
            axes=axes,
            header=_header(record),
            encoders=_encoders(record),
            preprocessing=_distinct(of["preprocessing"] for of in record["models"]),
            sizes=_sizes(run, record),
            how=_how_measured(run, record, split),
            rows=list(_rows(found.get(split, {}))),
            notes=[*run_notes(found), *_of_intervals(found), *(f"No interval: {why}." for why in reasons_of(found))],
            pairs=list(_pair_rows(found.get(split, {}))),
            failures=[
                _failures(run, split, axis, found.get(split, {})) for axis in axes if axis.name in run.axes and split
            ],
        )
        + "\n"
    )


def _escaped(text: object) -> str:
    """Write any text in one line, so that it is shown as it is."""
    return markdown(" ".join(str(text).split())).replace("`", "\\`").replace("&", "&amp;").replace("~", "\\~")


def _distinct(values: Iterator[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found += [value] if value not in found else []
    return found


def _header(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return what the hub reads of a card, as names and values of YAML."""
    licence = str(record["licence"] or "")
    is_known = bool(SPDX.fullmatch(licence.lower()))
    told = [("license", licence.lower())] if is_known else [("license", "other"), ("license_name", licence)]
    bases = [use["name"] for use in _encoders(record) if use["url"].startswith("https://huggingface.co/")]
    return [
        ("library_name", "lightning_aqa"),
        *(told if licence else []),
        ("tags", ["audio", "audio-quality-assessment", "mean-opinion-score"]),
        *([("base_model", bases)] if bases else []),
    ]


def _encoders(record: Mapping[str, Any]) -> list[Any]:
    return _distinct(use for of in record["models"] for use in of["encoders"])


def _corpus(record: Mapping[str, Any]) -> str:
    """Name the corpus: as its author does, else by its class, if that says anything."""
    kind = record["trained_on"]["corpus"] or ""
    return str(record["corpus"] or ("" if kind in ("Table", "PairTable", "Mix") else kind))


def _sizes(run: Run, record: Mapping[str, Any]) -> str:
    """Say how many clips, systems and listeners a model was trained on, as far as its run says."""
    on = record["trained_on"]
    known = read_ratings(run.folder / RATINGS)
    names = {row[2] for name, rows in known.items() if name == TRAINING or on.get("folds") for row in rows} - {""}
    counts = {"": (on.get("clips"), "clip"), "of": (on.get("systems"), "system"), "rated by": (len(names), "listener")}
    return " ".join(f"{before} {many(count, word)}".strip() for before, (count, word) in counts.items() if count)


def _how_measured(run: Run, record: Mapping[str, Any], split: str) -> str:
    """Say which clips the numbers are of, and what the model had to do with these."""
    if not split:
        return "It was not measured: no clip of its run is rated."
    if folds := run.folds_of(split):
        which = {
            "one": "The published model was trained once more, on all of them, and was itself not measured.",
            "folds": "The published model is the mean of the models of the folds.",
            "weighted": "The published model is a weighted mean of the models of several such runs.",
        }
        return (
            f"Out of fold: in {folds} folds, every clip was scored by a model that was not trained on it. "
            + which[record["combined"]]
        )
    count = len(run.splits[split].ids)
    if split == TRAINING:
        return f"On the {count} clips that it was trained on, so that the numbers say nothing of other clips."
    chosen = run.facts.get("evaluated") if isinstance(run.facts.get("evaluated"), dict) else {}
    told = f"On the {count} clips of the split {split}, which it was not trained on."
    is_chosen = split == "dev" and bool((chosen or {}).get("chosen_by"))
    return told + " Its epoch was chosen by them, so that the numbers are rather too good." * is_chosen


def _rows(levels: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of the table of results."""
    for level, title in LEVELS.items():
        entries = levels.get(level, {})
        for axis, entry in entries.items():
            if entry.get("n") and (axis != MEAN or len(entries) > 2):
                ceiling = entry.get("ceiling", {}).get("lcc")
                numbers = [_with_ends(entry, metric) for metric in SHOWN]
                yield [title, axis, str(entry["n"]), *numbers, _number(ceiling, 3) if ceiling else ""]


def _of_intervals(results: Mapping[str, Any]) -> list[str]:
    said = coverage_notes(results)
    holds = "A score's interval, low to high, is to hold the ratings of nine in ten clips of the kind. What it held:"
    return [" ".join([holds, *said])] if any(" holds " in line for line in said) else said


def _pair_rows(levels: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of the table of pairs."""
    for axis, entry in levels.get("pairs", {}).items():
        if axis != MEAN or len(levels["pairs"]) > 2:
            yield [axis, str(entry["n"]), *(_with_ends(entry, metric) for metric in PAIR_METRICS[:2])]


def _with_ends(entry: Mapping[str, Any], metric: str) -> str:
    ends = entry.get("ci", {}).get(metric)
    told = f" ({_number(ends[0], 2)} to {_number(ends[1], 2)})" if ends and all(map(_is_number, ends)) else ""
    return _number(entry.get(metric), 3) + told


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if _is_number(value) else "-"


def _failures(run: Run, split: str, axis: Axis, levels: Mapping[str, Any]) -> dict[str, Any]:
    """Gather where a model is far off on one axis: by rating, by system, by domain."""
    table, a = run.splits[split], list(run.axes).index(axis.name)
    digits = 1 if axis.high - axis.low >= 20 else 2
    edges = np.linspace(axis.low, axis.high, QUARTERS + 1).tolist()
    ranges = [of for of in calibration(table.scores[:, a], table.targets[:, a], edges=edges).ranges if of.n]
    worst = max((of for of in ranges if of.n >= FEWEST), key=lambda of: abs(of.bias), default=None)
    return {
        "axis": axis,
        "ranges": [[_span(of), str(of.n), f"{of.bias:+.{digits}f}", f"{of.mae:.{digits}f}"] for of in ranges],
        "worst": worst and f"{_off(worst.bias, digits)}, where clips are rated {_span(worst)} (n = {worst.n})",
        "systems": _systems(table, a, digits),
        "domains": _domains(levels, axis.name),
    }


def _span(of: Any) -> str:
    return f"{of.low:g} to {of.high:g}"


def _off(bias: float, digits: int) -> str:
    return f"{abs(bias):.{digits}f} too {'high' if bias > 0 else 'low'}"


def _systems(table: Predictions, a: int, digits: int) -> list[list[str]]:
    """Return the systems whose means are farthest off, if there are several."""
    found: list[tuple[float, list[str]]] = []
    rated = np.isfinite(table.targets[:, a])
    systems = np.array(table.systems, dtype=str)
    for name in sorted(set(table.systems) - {""}):
        rows = rated & (systems == name)
        if rows.sum() >= FEWEST:
            rating, score = float(table.targets[rows, a].mean()), float(table.scores[rows, a].mean())
            numbers = [f"{value:.{digits}f}" for value in (rating, score)]
            found.append((abs(score - rating), [name, str(rows.sum()), *numbers, f"{score - rating:+.{digits}f}"]))
    found.sort(key=lambda row: -row[0])
    return [row for _, row in found[:MOST_SYSTEMS]] if len(found) > 1 else []


def _domains(levels: Mapping[str, Any], axis: str) -> list[list[str]]:
    """Return the domains, the one with the lowest SRCC first, if there are several."""
    entries = {name: of["utterance"][axis] for name, of in levels.get("domains", {}).items() if axis in of["utterance"]}
    known = [(name, of) for name, of in entries.items() if of.get("n")]
    known.sort(key=lambda row: row[1]["SRCC"] if _is_number(row[1].get("SRCC")) else math.inf)
    rows: Sequence[list[str]] = [
        [name, str(of["n"]), *(_with_ends(of, metric) for metric in SHOWN)] for name, of in known
    ]
    return list(rows) if len(rows) > 1 else []
