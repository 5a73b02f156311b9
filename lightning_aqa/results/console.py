"""Results of a run as a table on the screen, and the files that it left."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_aqa.batch import PART
from lightning_aqa.metrics.levels import MEAN, METRICS, PAIR_METRICS
from lightning_aqa.results.clip_intervals import coverage_notes
from lightning_aqa.results.files import ENSEMBLE, PREDICTIONS, RESULTS, find_checkpoint
from lightning_aqa.results.files import PAIRS as PAIRS_FILE
from lightning_aqa.results.pairs import PAIRS
from lightning_aqa.results.reference_points import run_notes

LEGEND = {
    "system": "system: means over the rated clips of each system.",
    "system_mos": "system_mos: means over all clips of each system, against the scores that the corpus publishes.",
    "over systems": "over systems: 95 % interval of SRCC for other systems of the kind; SRCC 95 %: for other clips.",
    "highest LCC": "highest LCC: the ceiling, what a predictor of the true quality would reach on ratings as noisy as "
    "these.",
}
"""Words of the table, each said below it where it stands in it."""


def print_results(
    results: dict[str, Any], folder: Path, pictures: list[Path], num_predicted: int, of: str = ""
) -> None:
    """Print one row per split, level and axis, the split test first, then the files of the run.

    Args:
        results: ``{split: {level: {axis: entry}}}`` as in ``results.json``.
        folder: The run folder.
        pictures: Pictures in it.
        num_predicted: Number of clips that were scored.
        of: What weights it is of.
    """
    console = make_console()
    results = {split: results[split] for split in sorted(results, key=lambda split: split != "test")}
    if results:
        console.print(f"results of {of}" if of else "results", highlight=False, markup=False, soft_wrap=True)
        console.print(results_table(results))
        if any(PAIRS in levels for levels in results.values()):
            console.print(pairs_table(results))
        for words in legend_of(results):
            console.print(words, highlight=False, markup=False, soft_wrap=True)
        for reason in reasons_of(results):
            console.print(f"No interval: {reason}.", highlight=False, markup=False, soft_wrap=True)
        for note in [*run_notes(results), *coverage_notes(results)]:
            console.print(note, highlight=False, markup=False, soft_wrap=True)
    files = [PREDICTIONS, RESULTS] if results else [PREDICTIONS]
    files += [PAIRS_FILE] if any(PAIRS in levels for levels in results.values()) else []
    shown = ", ".join([*files, *(path.name for path in pictures)])
    console.print(f"{num_predicted} clips scored; in {folder}: {shown}", highlight=False, markup=False, soft_wrap=True)


def next_command(folder: Path) -> str:
    """Say how the model of a run folder scores other clips; of a cross-validation without a refit, its folds do."""
    options = ""
    try:
        if not (folder / ENSEMBLE).is_file():
            find_checkpoint(folder)
    except ValueError:
        options = " --ensemble"
    return f"to score other clips: python -m lightning_aqa score {shlex.quote(str(folder))} CLIPS{options}"


def results_table(results: dict[str, Any]) -> Table:
    """Lay out {split: {level: {axis: {metric: value}}}} as a table; undefined values are dashes.

    Of the split test, the clips of each of several domains, or corpora, have rows too. Beside the metrics: the interval
    of SRCC, and the LCC that a predictor without error can be expected to reach, where these are known.
    """
    table = Table(box=None, pad_edge=False)
    for name in ("split", "level", "axis"):
        table.add_column(name)
    for name in ("n", *METRICS, "SRCC 95 %", "over systems", "highest LCC"):
        table.add_column(name, justify="right")
    for split, levels in results.items():
        of_domains = levels.get("domains", {}) if split == "test" else {}
        named = {f"utterance, {domain}": of["utterance"] for domain, of in of_domains.items() if PART not in domain}
        whole = {level: axes for level, axes in levels.items() if level not in ("domains", PAIRS)}
        for level, axes in {**whole, **(named if len(named) > 1 else {})}.items():
            shown = {axis: values for axis, values in axes.items() if axis != MEAN or len(axes) > 2}
            if PAIRS in levels and not any(values.get("n") for values in shown.values()):
                continue  # of clips that are compared and not rated
            for axis, values in shown.items():
                numbers = [_number(values.get(metric)) for metric in METRICS]
                ends = [_interval(values.get(key, {}).get("SRCC")) for key in ("ci", "ci_system")]
                evidence = [*ends, _ceiling(values.get("ceiling", {}).get("lcc"))]
                table.add_row(escape(split), escape(level), escape(axis), str(values.get("n", "")), *numbers, *evidence)
    return table


def pairs_table(results: dict[str, Any]) -> Table:
    """Lay out the numbers of the pairs of each split: accuracy and calibration, with their intervals."""
    table = Table(box=None, pad_edge=False)
    for name in ("split", "pairs of"):
        table.add_column(name)
    for name in ("n", "ties", "accuracy", "95 %", "log loss", "95 %", "ECE", "95 %"):
        table.add_column(name, justify="right")
    for split, levels in results.items():
        for axis, values in levels.get(PAIRS, {}).items():
            numbers = [
                text
                for metric in PAIR_METRICS
                for text in (_number(values[metric]), _interval(values.get("ci", {}).get(metric)))
            ]
            if axis != MEAN or len(levels[PAIRS]) > 2:
                table.add_row(escape(split), escape(axis), str(values["n"]), str(values.get("ties", "")), *numbers)
    return table


def legend_of(results: dict[str, Any]) -> list[str]:
    """List what the words of the table mean that it has."""
    entries = [
        (level, entry)
        for levels in results.values()
        for level, axes in levels.items()
        if level not in ("domains", PAIRS)
        for entry in axes.values()
    ]
    shown = {level for level, _ in entries}
    shown |= {"over systems" for _, entry in entries if _interval(entry.get("ci_system", {}).get("SRCC"))}
    shown |= {"highest LCC" for _, entry in entries if _ceiling(entry.get("ceiling", {}).get("lcc"))}
    return [words for name, words in LEGEND.items() if name in shown]


def reasons_of(results: dict[str, Any]) -> list[str]:
    """List why intervals of SRCC that the table has a place for are not there."""
    entries = [
        entry
        for levels in results.values()
        for name, axes in levels.items()
        if name not in ("domains", PAIRS)
        for entry in axes.values()
        if entry.get("n") or PAIRS not in levels
    ]
    return list(dict.fromkeys(e[key]["SRCC"] for e in entries for key in ("ci_why", "ci_system_why") if key in e))


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None or math.isnan(ends[0]) else f"{ends[0]:.2f} to {ends[1]:.2f}"


def _ceiling(value: float | None) -> str:
    """Show a ceiling, which is rounded down so that it never reads as 1."""
    return "" if value is None or math.isnan(value) else f"{math.floor(value * 1000) / 1000:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def make_console() -> Console:
    """Return a console that is wide where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
