"""Picture of the panels of a W&B report: ``python benchmarks/wandb_report.py docs/wandb.png``.

A small sweep, margin x weighting on the demo corpus, logs to the stand-in of the tests for W&B's server, and its report
is saved there. What was received, runs and panels, is then drawn here: not W&B's page, but what that page is given.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SHOWN = ("Bar Chart", "Run History Line Plot", "Scatter Plot", "Parallel Coordinates Plot")
"""Panels that are drawn; the importance of parameters is computed by W&B."""
SWEEP = {
    "name": "margins",
    "description": "QAMRO, margin x weighting",
    "method": "grid",
    "metric": {"name": "val/utterance/SRCC/mean", "goal": "maximize"},
    "parameters": {
        "seed_everything": {"values": [0, 1, 2]},
        "objectives.qamro.margin_scale": {"values": [0.0, 0.2, 0.8]},
        "objectives.qamro.preference_factor": {"values": [1.0, 7.0]},
    },
    "command": ["${interpreter}", "-m", "lightning_aqa", "fit", "--config", "experiments/quickstart.yaml", "${args}"],
}


def receive(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Run the sweep and its report; return the runs and the report that the server then holds."""
    from lightning_aqa.cli.main import main

    server_of: Any = importlib.import_module("tests.wandb_stand_in")
    path = folder / "margins.yaml"
    path.write_text(yaml.safe_dump(SWEEP, sort_keys=False), encoding="utf-8")
    words = [
        "--data.num_clips=160",
        "--trainer.max_epochs=12",
        f"--data.root={folder / 'corpus'}",
        f"--data.cache={folder / 'features'}",
    ]
    with server_of.stand_in() as server, server_of.signed_in(server):
        assert main(["sweep", str(path), f"--root={folder}", "--", *words]) == 0
        assert main(["wandb-report", str(folder / "margins")]) == 0
    return list(server.runs.values()), server.reports[-1]


def value(run: Any, key: str) -> float:
    """Look a key of a panel up in what a run has sent."""
    kind, _, name = key.rpartition(":")
    if kind != "config":
        return float(run.summary[name])
    found: Any = run.config
    for part in name.split("."):
        found = found[part]
    return float(found)


def short(key: str) -> str:
    """Name a key on an axis by what comes after its kind: the end of a setting, all of a metric."""
    return key.rsplit(".", 1)[-1] if key.startswith("config:") else key.removeprefix("summary:")


def draw(axes: Axes, panel: dict[str, Any], runs: Sequence[Any]) -> None:
    """Draw a panel by its kind, fields and keys."""
    config = panel["config"]
    groups: dict[str, list[Any]] = {}
    for run in sorted(runs, key=lambda run: str(run.about["jobType"])):
        groups.setdefault(run.about["jobType"], []).append(run)
    {"Bar Chart": bars, "Run History Line Plot": lines, "Scatter Plot": points}.get(panel["viewType"], parallel)(
        axes, config, groups
    )
    axes.set_title(config["chartTitle"], fontsize=8)
    axes.tick_params(labelsize=6)


def bars(axes: Axes, config: dict[str, Any], groups: dict[str, list[Any]]) -> None:
    """Draw the mean of each variant over its seeds, and their deviation."""
    found = [[value(run, config["metrics"][0]) for run in runs] for runs in groups.values()]
    means, deviations = [np.mean(x) for x in found], [np.std(x, ddof=1) for x in found]
    axes.barh(
        [name.replace(", ", "\n") for name in groups],
        means,
        xerr=deviations,
        color=[f"C{i}" for i in range(len(groups))],
        height=0.6,
    )
    axes.invert_yaxis()


def lines(axes: Axes, config: dict[str, Any], groups: dict[str, list[Any]]) -> None:
    """Draw the mean and the deviation of each variant by what stands on the axis."""
    x, y = config["xAxis"], config["metrics"][0]
    for runs in groups.values():
        curves = np.array([[row[y] for row in run.history if y in row] for run in runs])
        at = [row[x] for row in runs[0].history if y in row]
        (line,) = axes.plot(at, curves.mean(0), linewidth=1)
        spread = curves.std(0, ddof=1)
        axes.fill_between(at, curves.mean(0) - spread, curves.mean(0) + spread, alpha=0.15, color=line.get_color())
    axes.set_xlabel(x, fontsize=7)


def points(axes: Axes, config: dict[str, Any], groups: dict[str, list[Any]]) -> None:
    """Draw a point for each run."""
    for runs in groups.values():
        x, y = ([value(run, config[axis]) for run in runs] for axis in ("xAxis", "yAxis"))
        axes.scatter(x, y, s=12)
    axes.set_xlabel(short(config["xAxis"]), fontsize=7)
    axes.set_ylabel(short(config["yAxis"]), fontsize=6)


def parallel(axes: Axes, config: dict[str, Any], groups: dict[str, list[Any]]) -> None:
    """Draw a line for each run over the columns, each from its lowest to its highest value."""
    keys = [column["accessor"] for column in config["columns"]]
    table = np.array([[value(run, key) for key in keys] for runs in groups.values() for run in runs])
    low, high = table.min(0), table.max(0)
    colours = [f"C{i}" for i, runs in enumerate(groups.values()) for _ in runs]
    for row, colour in zip((table - low) / np.where(high > low, high - low, 1), colours, strict=True):
        axes.plot(row, color=colour, linewidth=0.8, alpha=0.7)
    names = [re.sub("[/_]", "\n", short(key).removeprefix("test/test/").removesuffix("/SRCC/mean")) for key in keys]
    axes.set_xticks(range(len(keys)), [f"{n}\n{a:.2g} to {b:.2g}" for n, a, b in zip(names, low, high, strict=True)])
    axes.set_yticks([])


def main() -> None:
    """Receive, then draw."""
    from lightning_aqa.utils.files import complete

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        runs, report = receive(Path(folder))
    (grid,) = (block["metadata"] for block in report["blocks"] if block["type"] == "panel-grid")
    panels = [panel for panel in grid["panelBankSectionConfig"]["panels"] if panel["viewType"] in SHOWN]
    figure = Figure(figsize=(12, 2.4 * -(-len(panels) // 3)), layout="constrained")
    for number, panel in enumerate(panels, start=1):
        draw(figure.add_subplot(-(-len(panels) // 3), 3, number), panel, runs)
    with complete(Path(sys.argv[1])) as part:
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=90)
        Image.open(drawn).convert("RGB").quantize(48).save(part, "png", optimize=True)
    print(f"{len(runs)} runs, {len(panels)} panels drawn of {len(grid['panelBankSectionConfig']['panels'])}")


if __name__ == "__main__":
    main()
