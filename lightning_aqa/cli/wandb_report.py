"""``lightning-aqa wandb-report SWEEP``: write a sweep's report on W&B, or say what it would hold."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lightning_aqa.cli.signatures import call
from lightning_aqa.results.files import SWEEP
from lightning_aqa.results.run_folder import DEFAULT_ROOT
from lightning_aqa.results.side_files import if_whole, read_config, read_sweep_record
from lightning_aqa.sweep.trial import read_trials
from lightning_aqa.sweep.wandb_agent import sweep_address
from lightning_aqa.utils.wandb import has_wandb_key

if TYPE_CHECKING:
    from lightning_aqa.results.summary import SummaryRow

FACTORS = {
    "margin": ("margin_scale", "margin"),
    "weighting": ("preference_factor", "quality"),
}
"""Settings of objectives that make the panels of margin and of weighting."""
VARIANT = "JobType"
"""What W&B keeps the variant as, in the words of its reports; grouping by it leaves the seeds, which are averaged."""
Panel = dict[str, Any]


def wandb_report(sweep: str, *, project: str | None = None, entity: str | None = None) -> int:
    """Write a sweep's W&B report, or say what it would hold.

    Args:
        sweep: A sweep folder, such as runs/qamro, or its name.
        project: Project of the runs; null takes that of a sweep which W&B has run, else lightning_aqa.
        entity: User or team of the project; null takes that of such a sweep, else yours.

    Returns:
        Exit code 0.
    """
    folder = Path(sweep) if Path(sweep).is_dir() else Path(DEFAULT_ROOT) / sweep
    report = describe(folder)
    known = sweep_address(folder)
    project, entity = project or known.project, entity or known.entity
    if not has_wandb_key() or os.environ.get("WANDB_MODE") == "offline":
        print(yaml.safe_dump(report, sort_keys=False, width=120), end="")
        print(
            "# No API key here, or WANDB_MODE is offline: this is what the report would hold. wandb login takes a key."
        )
        return 0
    print(f"report: {write(report, project, entity)}")
    return 0


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(wandb_report, args)


def describe(folder: Path) -> dict[str, Any]:
    """Say what the report of a sweep holds, as plain values.

    Args:
        folder: The sweep folder.

    Returns:
        title, description, the group of its runs, and the panels: each a kind and its fields by their names on W&B.

    Raises:
        ValueError: If it is no sweep folder, or no trial has finished.
    """
    from lightning_aqa.results.runs import finished_runs
    from lightning_aqa.results.summary import summarise

    if not (folder / SWEEP).exists():
        raise ValueError(f"{folder} is no sweep folder (it has no {SWEEP}); give one that `sweep FILE` made.")
    sweep = read_sweep_record(folder / SWEEP, ("name", "file", "metric", "description"))
    trials = read_trials(folder)
    found = summarise(finished_runs(folder))
    if not found:
        raise ValueError(f"{folder}: no trial has finished, so there is nothing to report.")
    metrics = _metrics(found)
    watched = (sweep["metric"] or {}).get("name", "train/loss")
    panels = [
        *({"kind": "BarPlot", "title": metric, "metrics": [metric], "groupby": VARIANT} for metric in metrics),
        {"kind": "LinePlot", "title": f"{watched} by epoch", "x": "epoch", "y": [watched], "groupby": VARIANT},
        *_factor_panels(folder, metrics),
    ]
    return {
        "title": f"{sweep['name']}: {sweep['description'] or sweep['file']}",
        "description": f"{len(trials)} trials of {sweep['file']}, grouped by variant, mean and deviation over seeds.",
        "group": sweep["name"],
        "panels": panels,
    }


def _metrics(found: Sequence[SummaryRow]) -> list[str]:
    """Name SRCC of the evaluation by level, of the mean over axes where there are several."""
    from lightning_aqa.metrics.levels import MEAN
    from lightning_aqa.results.summary import shown_split

    split = shown_split(found)
    positions = dict.fromkeys(
        (cell.level, cell.axis) for cell in found if cell.split == split and cell.metric == "SRCC"
    )
    averaged = {level for level, axis in positions if axis == MEAN}
    return [f"test/{split}/{level}/SRCC/{axis}" for level, axis in positions if level not in averaged or axis == MEAN]


def _factor_panels(folder: Path, metrics: Sequence[str]) -> list[Panel]:
    """Make the panels of margin and weighting from the settings that differ between the runs."""
    found = [if_whole(path, read_config) for path in sorted(folder.glob("*/config.yaml"))]
    configs = [config for _, config in filter(None, found)]
    panels: list[Panel] = []
    varying: list[str] = []
    for factor, names in FACTORS.items():
        for key in _differing(configs, names):
            varying.append(key)
            panels += [
                {"kind": "ScatterPlot", "title": f"{factor}: {key.rsplit('.', 1)[-1]}", "x": key, "y": metric}
                for metric in metrics
            ]
    if varying:
        columns = [*varying, *metrics]
        panels.append({"kind": "ParallelCoordinatesPlot", "title": "margin and weighting", "columns": columns})
        panels.append({"kind": "ParameterImportancePlot", "with_respect_to": metrics[0]})
    return panels


def _differing(configs: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    """List the keys of objectives' settings that take several values, as W&B keeps them."""
    values: dict[str, set[str]] = {}
    for config in configs:
        for objective, part in _mapping(config.get("objectives")).items():
            settings = _mapping(_mapping(part).get("init_args"))
            for name in names:
                given = json.dumps(settings.get(name), default=str)
                values.setdefault(f"config.objectives.{objective}.init_args.{name}", set()).add(given)
    return [key for key, found in values.items() if len(found) > 1]


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def write(report: dict[str, Any], project: str, entity: str | None) -> str:
    """Write the report on W&B.

    Args:
        report: What ``describe`` gives.
        project: Project of the runs.
        entity: User or team; None takes the default one.

    Returns:
        Its address.

    Raises:
        ValueError: If wandb-workspaces is missing.
    """
    made = build(report, project, entity)
    made.save()
    return str(made.url)


def build(report: dict[str, Any], project: str, entity: str | None) -> Any:
    """Make the report of wandb-workspaces, not yet saved."""
    try:
        wr: Any = importlib.import_module("wandb_workspaces.reports.v2")  # its names are found at run time alone
    except ImportError:
        raise ValueError("A report needs wandb-workspaces: pip install 'lightning_aqa[wandb-report]'.") from None
    where = {"project": project, **({"entity": entity} if entity else {})}
    runs = wr.Runset(**where, name=report["group"], filters=f"Group = '{report['group']}'", groupby=[VARIANT])
    panels = [_panel(wr, panel) for panel in report["panels"]]
    blocks = [wr.P(report["description"]), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(**where, title=report["title"], description=report["description"], blocks=blocks)


def _panel(wr: Any, panel: Panel) -> Any:
    """Make a panel; keys that start with ``config.`` are settings, the others are logged."""
    fields = {name: value for name, value in panel.items() if name != "kind"}
    if panel["kind"] == "ScatterPlot":
        fields |= {"x": wr.Config(panel["x"]), "y": wr.SummaryMetric(panel["y"])}
    if panel["kind"] == "ParallelCoordinatesPlot":
        kinds = (wr.Config if key.startswith("config.") else wr.SummaryMetric for key in panel["columns"])
        named = zip(kinds, panel["columns"], strict=True)
        fields["columns"] = [wr.ParallelCoordinatesPlotColumn(kind(key)) for kind, key in named]
    if panel["kind"] in ("BarPlot", "LinePlot"):
        fields |= {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return getattr(wr, panel["kind"])(**fields)
