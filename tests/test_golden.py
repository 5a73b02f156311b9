"""What commit 83a3301 wrote and left half done: the same files come out, and old runs, configs and sweeps go on."""

import csv
import json
import math
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch

from lightning_aqa.cli.main import main
from lightning_aqa.metrics.levels import METRICS
from tests.golden import FIT, MEMORY, QUICKSTART, SCORE, TABLE, write_corpus

GOLDEN = Path(__file__).parent / "fixtures" / "golden"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the golden files were made, with the runs and the half-done sweep of that commit."""
    folder = tmp_path_factory.mktemp("golden")
    write_corpus(folder)
    shutil.copytree(GOLDEN / "experiments", folder / "experiments")
    shutil.copytree(GOLDEN / "sweep_folders", folder / "sweeps")
    for name in ("memory", "old_names"):
        shutil.copytree(GOLDEN / "run_folders" / name, folder / "runs" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(QUICKSTART) == 0
    return folder


@pytest.fixture
def inside(folder, monkeypatch):
    """Run commands in that folder."""
    monkeypatch.chdir(folder)
    return folder


def _same(made, golden):
    """Compare two texts cell by cell: words exactly, numbers up to the rounding of another processor."""
    lines = zip(csv.reader(made.splitlines()), csv.reader(golden.splitlines()), strict=True)
    for line, (row, wanted) in enumerate(lines, 1):
        for cell, expected in zip(row, wanted, strict=True):
            try:
                assert math.isclose(float(cell), float(expected), rel_tol=1e-4, abs_tol=1e-5), f"line {line}: {row}"
            except ValueError:
                assert cell == expected, f"line {line}: {row}"


def _same_file(path, golden):
    _same(path.read_text(), (GOLDEN / golden).read_text())


IDENTITY = ("variant", "margin_scale", "split", "level", "domain", "row", "axis", "metric")
MEASURED = ("n", "mean", "sd", "value", "seeds", "config", "command")


def _measured(path):
    """Return what was measured, by row; intervals, tests and ceilings are computed otherwise since."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("seeds", "1")]
    return {
        tuple(row[name] for name in IDENTITY if name in row): [row[name] for name in MEASURED if name in row]
        for row in rows
    }


def _same_measured(path, golden):
    made, wanted = _measured(path), _measured(GOLDEN / golden)
    assert made.keys() == wanted.keys()
    for key, cells in wanted.items():
        _same(",".join(made[key]), ",".join(cells))


def _metrics(results):
    """Return the metrics of a results.json by split, level, axis and metric."""
    return {
        (split, level, axis, name): entry[name]
        for split, levels in results.items()
        for level, axes in levels.items()
        if level != "domains"
        for axis, entry in axes.items()
        for name in (*METRICS, "n")
    }


@pytest.mark.parametrize("name", ["predictions.csv", "history.csv"])
def test_the_quickstart_leaves_the_same_tables(folder, name):
    _same_file(folder / "runs" / "quickstart" / name, f"run_folders/quickstart/{name}")


def test_the_quickstart_leaves_the_same_results(folder):
    made, golden = (
        _metrics(json.loads((where / "quickstart" / "results.json").read_text()))
        for where in (folder / "runs", GOLDEN / "run_folders")
    )
    assert made == pytest.approx(golden, rel=1e-4, abs=1e-5)


def test_score_writes_the_same_table_by_an_old_checkpoint_and_by_a_new_one(inside):
    old = GOLDEN / "run_folders" / "quickstart" / "checkpoints" / "best.ckpt"
    for checkpoint, output in ((SCORE[1], "scores.csv"), (str(old), "scores_old.csv")):
        assert main([SCORE[0], checkpoint, SCORE[2], "--output", output]) == 0
        rows = list(csv.reader((inside / output).read_text().splitlines()))
        assert (rows[0][-2], {row[-2] for row in rows[1:]}) == ("note", {""})  # a column that there was not
        _same("\n".join(",".join([*row[:-2], row[-1]]) for row in rows), (GOLDEN / "scores.csv").read_text())


def test_the_keys_of_the_states_of_callbacks_are_the_same(folder):
    def states(run):
        return torch.load(run / "quickstart" / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"].keys()

    assert states(GOLDEN / "run_folders") <= states(folder / "runs")


def test_an_old_run_with_a_memory_goes_on_to_the_scores_of_the_undisturbed_run(inside):
    last = "runs/memory/checkpoints/last.ckpt"
    with pytest.warns(FutureWarning, match="memory is now memory_size"):
        assert main([*MEMORY, "--trainer.max_epochs=3", f"--ckpt_path={last}"]) == 0
    _same_file(inside / "runs" / "memory" / "predictions.csv", "run_folders/memory_whole/predictions.csv")
    _same_file(inside / "runs" / "memory" / "history.csv", "run_folders/memory_whole/history.csv")


def _told(command, monkeypatch):
    """Run a command as a process would that has not met an old name yet; return what it says of new ones."""
    monkeypatch.delitem(sys.modules, "lightning_aqa.heads.linear", raising=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert main(command) == 0
    return [text for text in (str(warning.message) for warning in told) if " is now " in text]


MOVED = "lightning_aqa.heads.linear is now lightning_aqa.heads.musiceval_baseline; the old name will go in 0.3."
MEMORY_SIZE = "QAMRO: the argument memory is now memory_size; the old name will go in 0.3."
NORMALISE = "Table: the argument level is now normalise; the old name will go in 0.3."


def test_a_checkpoint_with_old_names_is_evaluated_to_the_same_scores(inside, monkeypatch):
    data = ["--config", "table.yaml", "--data.level=rms", "--name=again"]
    assert _told(["test", "--ckpt_path=runs/old_names/checkpoints/best.ckpt", *data], monkeypatch) == [NORMALISE, MOVED]
    _same_file(inside / "runs" / "again" / "predictions.csv", "run_folders/old_names/predictions.csv")


def test_an_old_config_trains(inside, monkeypatch):
    config = ["--config", str(GOLDEN / "run_folders" / "old_names" / "config.yaml")]
    assert _told(["fit", *config, "--name=trained_again"], monkeypatch) == [MOVED, NORMALISE, MEMORY_SIZE]
    _same_file(inside / "runs" / "trained_again" / "predictions.csv", "run_folders/old_names/predictions.csv")


def test_a_half_done_sweep_goes_on_under_the_same_ids_to_the_same_table(inside, capfd):
    sweep = inside / "sweeps" / "golden"
    finished = (sweep / "ddc3af06" / "predictions.csv").stat().st_mtime_ns
    assert main(TABLE) == 0
    trials = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/trial.json")}
    assert trials.keys() == {"ddc3af06", "e4f8d6ec", "a1edb9b1", "1e1d7bc5"}
    assert (sweep / "ddc3af06" / "predictions.csv").stat().st_mtime_ns == finished, "a finished trial was run again"
    assert "checkpoints/last.ckpt" in " ".join(trials["a1edb9b1"]["command"]), "the killed trial did not go on"
    _same_measured(sweep / "summary.csv", "table/summary.csv")
    _same_measured(sweep / "report" / "tables.csv", "table/tables.csv")


def test_fit_is_the_command_of_the_golden_runs():
    assert FIT[:2] == QUICKSTART[:2] == MEMORY[:2] == ["fit", "--config"]
