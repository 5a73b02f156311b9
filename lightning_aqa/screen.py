"""What a run prints: the parts it trains, its results as a table, where its files are."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from lightning_aqa.metrics.levels import MEAN, METRICS
from lightning_aqa.module import AQAModule


def print_run(module: AQAModule, folder: Path) -> None:
    """Print the encoder, the head, the active objectives with their settings, and the run folder."""
    table = Table(title="training", title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, part in _parts(module):
        table.add_row(*name, _trained(part))
    for objective in module.objectives:
        names = inspect.signature(type(objective)).parameters
        shown = "  ".join(f"{name}={value}" for name, value in vars(objective).items() if name in names)
        table.add_row(escape(f"objective {objective.name}"), type(objective).__name__, escape(shown))
    table.add_row("run folder", escape(str(folder)), "")
    _console().print(table)


def _parts(module: AQAModule) -> Iterator[tuple[tuple[str, str], Iterable[nn.Parameter]]]:
    """Yield name, class and parameters of encoder and head; of a partly trained encoder also its pieces."""
    encoder = module.encoder
    yield ("encoder", type(encoder).__name__), list(encoder.parameters())
    if len({parameter.requires_grad for parameter in encoder.parameters()}) == 2:
        for child_name, child in encoder.named_children():
            yield (f"  {child_name}", type(child).__name__), list(child.parameters())
        for number, layer in enumerate(encoder.layers_in_order(), start=1):
            yield (f"  layer {number}", type(layer).__name__), list(layer.parameters())
    yield ("head", type(module.head).__name__), list(module.head.parameters())


def _trained(parameters: Iterable[nn.Parameter]) -> str:
    """Say how many of some parameters are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in parameters]
    trained, total = sum(size for size, wanted in sizes if wanted), sum(size for size, _ in sizes)
    return f"{trained:,} of {total:,} parameters trained"


def print_results(results: dict[str, Any], folder: Path, pictures: list[Path], num_predicted: int) -> None:
    """Print one row per split, level and axis, then the files of the run."""
    console = _console()
    if results:
        console.print(results_table(results))
    files = ["predictions.csv", "results.json"] if results else ["predictions.csv"]
    shown = ", ".join([*files, *(path.name for path in pictures)])
    console.print(f"{num_predicted} clips scored; in {folder}: {shown}", highlight=False, markup=False, soft_wrap=True)


def results_table(results: dict[str, Any]) -> Table:
    """Lay out {split: {level: {axis: {metric: value}}}} as a table; undefined values are dashes.

    Beside the metrics: the interval of SRCC, and the highest LCC that the listeners allow, where these are known.
    """
    table = Table(title="results", title_justify="left", box=None, pad_edge=False)
    for name in ("split", "level", "axis"):
        table.add_column(name)
    for name in ("n", *METRICS, "SRCC 95 %", "highest LCC"):
        table.add_column(name, justify="right")
    for split, levels in results.items():
        for level, axes in levels.items():
            if level == "domains":
                continue
            shown = {axis: values for axis, values in axes.items() if axis != MEAN or len(axes) > 2}
            for axis, values in shown.items():
                numbers = [_number(values.get(metric)) for metric in METRICS]
                evidence = [_interval(values.get("ci", {}).get("SRCC")), _ceiling(values.get("ceiling", {}).get("lcc"))]
                table.add_row(escape(split), level, escape(axis), str(values.get("n", "")), *numbers, *evidence)
    return table


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None or math.isnan(ends[0]) else f"{ends[0]:.2f} to {ends[1]:.2f}"


def _ceiling(value: float | None) -> str:
    """Show a ceiling, which is rounded down so that it never reads as 1."""
    return "" if value is None or math.isnan(value) else f"{math.floor(value * 1000) / 1000:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=160)
