"""k-fold cross-validation: one run per fold, then one table of predictions that are all out of fold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jsonargparse import Namespace

from lightning_aqa.batch import Axis
from lightning_aqa.metrics.levels import MEAN, evaluate
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.results.console import print_results
from lightning_aqa.results.evidence import with_evidence
from lightning_aqa.results.facts import axes_of_run, read_facts
from lightning_aqa.results.files import CONFIG, PREDICTIONS, RATINGS, RESULTS, RUN, path_of_last
from lightning_aqa.results.plots import draw_run
from lightning_aqa.results.predictions import read_predictions, write_predictions, write_results
from lightning_aqa.results.ratings import RatingRow, read_ratings, write_ratings
from lightning_aqa.results.run_folder import SWEEP_FOLDER, has_results
from lightning_aqa.training.loading import read_checkpoint
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.signals import StopSignals, end_with_parent, exit_code

POOLED = "test"


def wants_folds(settings: Namespace) -> bool:
    """Tell whether the data asks for all of its folds: ``folds`` is set and ``fold`` is null."""
    arguments = settings.data.get("init_args")
    return arguments is not None and arguments.get("folds") is not None and arguments.get("fold") is None


def is_unfinished_crossvalidation(config: str, folder: Path) -> bool:
    """Tell whether a folder holds a cross-validation with this very config that was broken off."""
    saved = folder / CONFIG
    return not has_results(folder) and saved.exists() and saved.read_text(encoding="utf-8") == config


def crossvalidate(
    settings: Namespace, folder: Path, config: str, signals: StopSignals, command: Sequence[str] = ()
) -> int:
    """Train one run per fold in ``folder/fold<k>``, then pool their test predictions.

    A fold whose results.json is there already is not run again, and one that stopped in the middle goes on from its
    last epoch, so the same command goes on with a cross-validation that was broken off.

    Args:
        settings: The config of ``fit``.
        folder: The run folder.
        config: Text of ``config.yaml``.
        signals: Signals that end it, which the fold that is trained gets too.
        command: Arguments of the command line, for the record.

    Returns:
        Exit code: 0, or that of the first fold that failed.

    Raises:
        Stopped: If a signal has ended it, once the state of the fold is written.
        ValueError: If it is to resume from a checkpoint, or was started as one of several processes.
    """
    if settings.get("ckpt_path"):
        raise ValueError("--ckpt_path resumes one training, not one per fold: add --data.fold=K, or leave it out.")
    if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        raise ValueError("Cross-validation starts its folds itself: run it as one process, with --trainer.devices=N.")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CONFIG) as file:
        file.write(config)
    num_folds = settings.data.init_args.folds
    for fold in range(num_folds):
        if not has_results(folder / f"fold{fold}"):
            print(f"fold {fold + 1} of {num_folds}: training, log in {folder / f'fold{fold}.log'}", flush=True)
            code = _run_fold(folder, fold, signals)
            if code:
                return code
        print(f"fold {fold + 1} of {num_folds}: {_summary(folder / f'fold{fold}')}", flush=True)
    pool_folds(folder, num_folds, command, settings.evaluation.unit)
    if any(folder.glob("fold*/wandb/offline-run-*")):
        print(f"W&B logged offline; to send it: wandb sync {folder}/fold*/wandb/offline-run-*")
    return 0


def _run_fold(folder: Path, fold: int, signals: StopSignals) -> int:
    command = [sys.executable, "-m", "lightning_aqa", "fit", "--config", str(folder / CONFIG)]
    command += [f"--data.fold={fold}", f"--trainer.default_root_dir={folder}", f"--name=fold{fold}"]
    last = path_of_last(folder / f"fold{fold}")
    if last.exists():
        command.append(f"--ckpt_path={last}")
    else:
        shutil.rmtree(folder / f"fold{fold}", ignore_errors=True)
    environment = _environment(folder, fold)
    log = folder / f"fold{fold}.log"
    with open(log, "a", encoding="utf-8") as file:
        code = train_fold(command, environment, file, signals)
    if signals.number is not None:
        signals.stop()
    if code:
        sys.stderr.write("".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-10:]))
    return code


def train_fold(command: Sequence[str], env: Mapping[str, str], stdout: TextIO, signals: StopSignals) -> int:
    """Run a fold to its end; a signal is passed on to it, and ends it with its state written."""
    signals.waits = True
    process = subprocess.Popen(command, env=env, stdout=stdout, stderr=subprocess.STDOUT, preexec_fn=end_with_parent)
    signals.passes_on = process.send_signal
    code = process.wait()
    signals.waits, signals.passes_on = False, None
    return code if code >= 0 else exit_code(-code)


def _environment(folder: Path, fold: int) -> dict[str, str]:
    """Return the variables of a fold: its W&B group, and a W&B id and name of its own where a sweep gave one to all."""
    own = {name: f"{os.environ[name]}-fold{fold}" for name in ("WANDB_RUN_ID", "WANDB_NAME") if name in os.environ}
    outside = {name: value for name, value in os.environ.items() if name != SWEEP_FOLDER}
    return {"WANDB_RUN_GROUP": folder.name, "WANDB_JOB_TYPE": "fold", **outside, **own}


def _summary(folder: Path) -> str:
    entry = json.loads((folder / RESULTS).read_text(encoding="utf-8"))[POOLED]["utterance"][MEAN]
    return f"{POOLED} utterance SRCC {_shown(entry['SRCC'])}, MSE {_shown(entry['MSE'])}"


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def pool_folds(folder: Path, num_folds: int, command: Sequence[str] = (), unit: Unit | None = None) -> None:
    """Join the folds' test predictions, in which each clip appears once, and compute the results over all of them."""
    tables: list[Predictions] = []
    ratings: list[RatingRow] = []
    axes: list[str] = []
    for fold in range(num_folds):
        splits, axes = read_predictions(folder / f"fold{fold}" / PREDICTIONS)
        tables.append(dict(splits)[POOLED])
        ratings += read_ratings(folder / f"fold{fold}" / RATINGS).get(POOLED, [])
    facts = read_facts(folder / "fold0")
    with replacing(folder / RUN) as file:  # of the folds, but for their own part
        file.write(json.dumps({**facts, "command": list(command), "folds": num_folds}, indent=1) + "\n")
    pooled = _join(tables)
    write_predictions(folder / PREDICTIONS, [(POOLED, pooled)], axes)
    ratings.sort(key=lambda row: row[0])
    write_ratings(folder / RATINGS, [(POOLED, ratings)])
    found = evaluate(pooled.ids, pooled.systems, pooled.domains, pooled.scores, pooled.targets, axes)
    results = {POOLED: with_evidence(POOLED, found, pooled, axes, ratings, unit=unit, folds=num_folds)}
    write_results(folder / RESULTS, results)
    drawn = draw_run(folder, axes_of_run(facts) or _axes_of_checkpoint(folder / "fold0"))
    print_results(results, folder, drawn, num_predicted=len(pooled.ids))


def _axes_of_checkpoint(fold: Path) -> list[Axis]:
    """Return the axes of a fold that was run by an earlier version, which wrote no ``run.json``."""
    return [Axis(*axis) for axis in read_checkpoint(path_of_last(fold))["hyper_parameters"]["axes"]]


def _join(tables: list[Predictions]) -> Predictions:
    order = np.argsort([id_ for table in tables for id_ in table.ids])

    def joined(name: str) -> Any:
        """Join one field; None where a fold lacks it."""
        parts = [getattr(table, name) for table in tables]
        if any(part is None for part in parts):
            return None
        if isinstance(parts[0], np.ndarray):
            return np.concatenate(parts)[order]
        values = [value for part in parts for value in part]
        return [values[i] for i in order]

    return Predictions(**{name: joined(name) for name in Predictions._fields})
