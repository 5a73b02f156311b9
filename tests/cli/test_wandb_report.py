"""The report on W&B: what it holds, told offline; and the very report that is saved where there is a key."""

import json

import pytest
import yaml

from lightning_aqa.cli import wandb_report
from lightning_aqa.cli.main import main
from lightning_aqa.results.predictions import write_predictions
from lightning_aqa.sweep.trial import Trial
from tests.small_sweep import table

SETTINGS = {"plain": (0.2, "none"), "wide": (0.4, "minmax")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A sweep of two variants by two seeds that has run."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "q"
    for number, (variant, seed) in enumerate((variant, seed) for variant in SETTINGS for seed in (0, 1)):
        trial = Trial(
            folder / str(number), str(number), "q", number, {"v": variant, "seed_everything": seed}, variant, "finished"
        )
        trial.write()
        entries = {axis: {"SRCC": 0.5, "n": 9} for axis in ("MI", "TA", "mean")}
        (trial.folder / "results.json").write_text(json.dumps({"test": {"utterance": entries, "system": entries}}))
        write_predictions(trial.folder / "predictions.csv", [("test", table())], ["MI", "TA"])
        scale, quality = SETTINGS[variant]
        arguments = {"margin_scale": scale, "quality": quality, "preference_factor": 7.0, "margin": None}
        config = {
            "seed_everything": seed,
            "objectives": {"qamro": {"class_path": "QAMRO", "init_args": arguments}, "gone": None},
        }
        (trial.folder / "config.yaml").write_text(yaml.safe_dump(config))
    metric = {"name": "val/utterance/SRCC/mean", "goal": "maximize"}
    record = {"name": "q", "file": "q.yaml", "description": "Margins", "metric": metric}
    (folder / "sweep.json").write_text(json.dumps(record))
    return folder


METRICS = ["test/test/utterance/SRCC/mean", "test/test/system/SRCC/mean"]
SCALE, QUALITY = (f"config.objectives.qamro.init_args.{name}" for name in ("margin_scale", "quality"))


def test_offline_it_says_what_it_would_hold(folder, capsys):
    assert main(["wandb-report", "q"]) == 0
    said = capsys.readouterr().out
    assert "this is what the report would hold" in said
    told = yaml.safe_load(said)
    assert (told["title"], told["group"]) == ("q: Margins", "q")
    kinds = [(panel["kind"], panel.get("x"), panel.get("y", panel.get("metrics"))) for panel in told["panels"]]
    assert kinds == [
        ("BarPlot", None, METRICS[:1]),
        ("BarPlot", None, METRICS[1:]),
        ("LinePlot", "epoch", ["val/utterance/SRCC/mean"]),
        ("ScatterPlot", SCALE, METRICS[0]),
        ("ScatterPlot", SCALE, METRICS[1]),
        ("ScatterPlot", QUALITY, METRICS[0]),
        ("ScatterPlot", QUALITY, METRICS[1]),
        ("ParallelCoordinatesPlot", None, None),
        ("ParameterImportancePlot", None, None),
    ]
    assert [told["panels"][number]["title"] for number in (3, 5)] == ["margin: margin_scale", "weighting: quality"]


def test_with_a_key_that_very_report_is_saved(folder, monkeypatch, capsys):
    wr = pytest.importorskip("wandb_workspaces.reports.v2", reason="needs wandb-workspaces")
    saved = []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wr.Report, "save", lambda report: saved.append(report))
    monkeypatch.setattr(wr.Report, "url", "https://wandb.example/report")
    assert main(["wandb-report", str(folder), "--entity=team"]) == 0
    assert capsys.readouterr().out == "report: https://wandb.example/report\n"
    (report,) = saved
    assert (report.project, report.entity, report.title) == ("lightning_aqa", "team", "q: Margins")
    (grid,) = (block for block in report.blocks if isinstance(block, wr.PanelGrid))
    (runs,) = grid.runsets
    assert runs.groupby == ["JobType"]  # their word for what a run calls job_type
    assert "q" in str(runs.filters)
    assert [type(panel).__name__ for panel in grid.panels] == [
        p["kind"] for p in wandb_report.describe(folder)["panels"]
    ]
    scatter = grid.panels[3]
    assert (scatter.x, scatter.y) == (wr.Config(SCALE), wr.SummaryMetric(METRICS[0]))
    assert all(panel._to_model() for panel in grid.panels)  # what is sent can be made


def test_what_is_no_sweep_is_refused(tmp_path, fails, folder):
    assert "nowhere is no sweep folder" in fails("wandb-report", "nowhere")
    for path in folder.glob("*/results.json"):
        path.unlink()
    assert "no trial has finished" in fails("wandb-report", "q")


@pytest.mark.parametrize(
    "objectives", [[1], "x", {"a": "b"}, {"a": {"init_args": [1]}}, {"a": {"init_args": {"margin": {1}}}}]
)
def test_the_config_of_another_program_adds_no_panel(objectives):
    assert wandb_report._differing([{"objectives": objectives}], ("margin",)) == []
