"""k-fold cross-validation: one run per fold, then one table of predictions that are all out of fold."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from jsonargparse import Namespace

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip
from lightning_aqa.data.table import Table
from lightning_aqa.metrics.levels import MEAN, evaluate
from lightning_aqa.metrics.predictions import Predictions, join
from lightning_aqa.metrics.preferences import JudgedPair
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.results.clip_intervals import (
    calibrated_by,
    with_coverage,
    with_ends,
    with_held_out_ends,
    write_calibration,
)
from lightning_aqa.results.console import print_results
from lightning_aqa.results.evidence import with_evidence
from lightning_aqa.results.facts import axes_of_run, read_facts
from lightning_aqa.results.files import (
    CONFIG,
    HELD_OUT,
    OUT_OF_FOLD,
    PAIRS,
    PREDICTIONS,
    RATINGS,
    REFIT,
    RESULTS,
    RUN,
    path_of_last,
)
from lightning_aqa.results.pairs import read_judged, with_pairs, write_pairs
from lightning_aqa.results.plots import draw_run
from lightning_aqa.results.predictions import read_predictions, write_predictions, write_results
from lightning_aqa.results.ratings import RatingRow, read_ratings, write_ratings
from lightning_aqa.results.run_folder import SWEEP_FOLDER, has_results
from lightning_aqa.results.shares import mean_shares, print_shares
from lightning_aqa.training.loading import read_checkpoint
from lightning_aqa.training.training_speed import RunsLeft, of_runs, summary_of
from lightning_aqa.utils import forks
from lightning_aqa.utils.files import DISK_FULL, replacing
from lightning_aqa.utils.signals import StopSignals, end_with_parent, exit_code


def wants_folds(settings: Namespace) -> bool:
    """Tell whether the data asks for all of its folds: ``folds`` is set and ``fold`` is null."""
    arguments = settings.data.get("init_args")
    return arguments is not None and arguments.get("folds") is not None and arguments.get("fold") is None


def is_unfinished_crossvalidation(config: str, folder: Path) -> bool:
    """Tell whether a folder holds a cross-validation with this very config that was broken off."""
    saved = folder / CONFIG
    return not has_results(folder) and saved.exists() and saved.read_text(encoding="utf-8") == config


OF_ONE_RUN = ("evaluated", "mlflow", "wandb")
"""Facts that are no other fold's."""


class CrossValidation(NamedTuple):
    """Trainings that a cross-validation consists of.

    Args:
        num_folds: Number of folds.
        apart: Splits of the table's own that no fold sees.
        told: Sentence on where folds and splits come from; empty where the corpus does not say.
    """

    num_folds: int
    apart: Sequence[str] = ()
    told: str = ""

    @property
    def pooled(self) -> str:
        """Name of the split of the predictions out of fold."""
        return OUT_OF_FOLD if self.apart else HELD_OUT


def plan_folds(settings: Namespace) -> CrossValidation:
    """Read the lists and look at the audio before the first fold, and divide the clips.

    Args:
        settings: The config of ``fit``.

    Raises:
        ValueError: If it is to resume from a checkpoint, was started as one of several processes, or the table or the
            audio cannot be used as they are.
    """
    if settings.get("ckpt_path"):
        raise ValueError("--ckpt_path resumes one training, not one per fold: add --data.fold=K, or leave it out.")
    if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        raise ValueError("Cross-validation starts its folds itself: run it as one process, with --trainer.devices=N.")
    arguments = settings.data.init_args.as_dict()
    check = arguments["check"] if forks.allowed() else "header"  # a fork knows what was decoded before
    data = data_of(settings, check=check)
    data.check_clips(data.manifest.where(Clip.is_rated))
    found = data.found_folds if isinstance(data, Table) else None
    if found is None:
        return CrossValidation(arguments["folds"])
    apart = [name for name in found.apart.splits if any(clip.is_rated() for clip in found.apart.split(name))]
    by_refit = f" {', '.join(apart)}: scored by the model that is refitted afterwards." if settings.refit else ""
    told = f"{arguments['path']}: {found.told}.{by_refit if apart else ''}"
    return CrossValidation(len(found.inside.splits), apart if settings.refit else (), told)


def data_of(settings: Namespace, **others: Any) -> AQADataModule:
    """Build the data of a config, without augmentation, with some of its settings replaced."""
    module, _, name = settings.data.class_path.rpartition(".")
    corpus: type[AQADataModule] = getattr(importlib.import_module(module), name)
    arguments = settings.data.init_args.as_dict() if settings.data.get("init_args") else {}
    return corpus(**{**arguments, "augment": None, **others})


def crossvalidate(
    settings: Namespace,
    folder: Path,
    config: str,
    plan: CrossValidation,
    signals: StopSignals,
    command: Sequence[str] = (),
) -> int:
    """Train one run per fold in ``folder/fold<k>``, pool their test predictions, and train on all clips.

    A fold whose results.json is there already is not run again, and one that stopped in the middle goes on from its
    last epoch, so the same command goes on with a cross-validation that was broken off.

    Args:
        settings: The config of ``fit``.
        folder: The run folder.
        config: Text of ``config.yaml``.
        plan: The folds, from ``plan_folds``.
        signals: Signals that end it, which the fold that is trained gets too.
        command: Arguments of the command line, for the record.

    Returns:
        Exit code: 0, or that of the first training that failed.

    Raises:
        Stopped: If a signal has ended it, once the state of the fold is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CONFIG) as file:
        file.write(config)
    if plan.told:
        print(plan.told, flush=True)
    left = RunsLeft(plan.num_folds + bool(settings.refit))
    for fold in range(plan.num_folds):
        told = f"fold {fold + 1} of {plan.num_folds}"
        code = _train(folder, f"fold{fold}", told, f"--data.fold={fold}", signals, left)
        if code:
            return code
    if settings.refit and (
        code := _train(folder, REFIT, "refit on the clips of all folds", "--data.fold=all", signals, left)
    ):
        return code
    pool_folds(folder, plan, command, settings.evaluation.unit, settings.init_from)
    if any(folder.glob("*/wandb/offline-run-*")):
        print(f"W&B logged offline; to send it: wandb sync {folder}/*/wandb/offline-run-*")
    return 0


def _train(folder: Path, name: str, told: str, option: str, signals: StopSignals, left: RunsLeft) -> int:
    """Train in a folder inside, unless it has ended well already; return its exit code."""
    is_new = not has_results(folder / name)
    if is_new:
        print(f"{told}: training, log in {folder / f'{name}.log'}", flush=True)
        code = _run(folder, name, option, signals)
        if code:
            return code
    summary = "" if name == REFIT else f" {_summary(folder / name)}"
    print(f"{told}:{summary or ' done'}{left.after(is_new)}", flush=True)
    return 0


def _run(folder: Path, name: str, option: str, signals: StopSignals) -> int:
    command = [sys.executable, "-m", "lightning_aqa", "fit", "--config", str(folder / CONFIG)]
    command += [option, f"--trainer.default_root_dir={folder}", f"--name={name}"]
    last = path_of_last(folder / name)
    if last.exists():
        command.append(f"--ckpt_path={last}")
    else:
        shutil.rmtree(folder / name, ignore_errors=True)
    log = folder / f"{name}.log"
    with open(log, "a", encoding="utf-8") as file:
        code = train_fold(command, _environment(folder, name), file, signals)
    if signals.number is not None:
        signals.stop()
    if code:
        sys.stderr.write("".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-10:]))
    if code == DISK_FULL:
        sys.stderr.write("The same command goes on with this cross-validation.\n")
    return code


def train_fold(command: Sequence[str], env: Mapping[str, str], stdout: TextIO, signals: StopSignals) -> int:
    """Run a fold to its end; a signal is passed on to it, and ends it with its state written.

    A process that was started for this command is forked, with all that it has imported; any other starts a new one.
    """
    signals.waits = True
    if program := forks.allowed():
        forks.warm_up()
        process = forks.fork(program, command[3:], stdout.name, env)
        _pass_on(signals, process.pid)
        process.join()
        code = process.exitcode or 0
    else:
        popen = subprocess.Popen(command, env=env, stdout=stdout, stderr=subprocess.STDOUT, preexec_fn=end_with_parent)
        _pass_on(signals, popen.pid)
        code = popen.wait()
    signals.waits, signals.passes_on = False, None
    return code if code >= 0 else exit_code(-code)


def _pass_on(signals: StopSignals, pid: int | None) -> None:
    """Pass signals on to a process, also one that came while it was started."""
    assert pid is not None
    signals.passes_on = partial(os.kill, pid)
    if signals.number is not None:
        os.kill(pid, signals.number)


def _environment(folder: Path, name: str) -> dict[str, str]:
    """Return the variables of a fold: its W&B group, and a W&B id and name of its own where a sweep gave one to all."""
    own = {key: f"{os.environ[key]}-{name}" for key in ("WANDB_RUN_ID", "WANDB_NAME") if key in os.environ}
    outside = {key: value for key, value in os.environ.items() if key != SWEEP_FOLDER}
    kind = REFIT if name == REFIT else "fold"
    return {"WANDB_RUN_GROUP": folder.name, "WANDB_JOB_TYPE": kind, **outside, **own}


def _summary(folder: Path) -> str:
    entry = json.loads((folder / RESULTS).read_text(encoding="utf-8"))[HELD_OUT]["utterance"][MEAN]
    return f"held out: utterance SRCC {_shown(entry['SRCC'])}, MSE {_shown(entry['MSE'])}"


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def pool_folds(
    folder: Path,
    plan: CrossValidation,
    command: Sequence[str] = (),
    unit: Unit | None = None,
    start: str | None = None,
) -> None:
    """Join the folds' test predictions, in which each clip appears once, and compute the results over all of them.

    Beside them stand the splits that no fold has seen, as the refit predicts them.

    Args:
        folder: The run folder.
        plan: The folds.
        command: Arguments of the command line, for the record.
        unit: What varies as one piece in the intervals.
        start: The checkpoint that the folds started from, which may know their clips.
    """
    tables: list[Predictions] = []
    ratings: list[RatingRow] = []
    pairs: dict[str, list[JudgedPair]] = {plan.pooled: []} | _refitted_pairs(folder / REFIT, plan.apart)
    axes: list[str] = []
    for fold in range(plan.num_folds):
        splits, axes = read_predictions(folder / f"fold{fold}" / PREDICTIONS)
        tables.append(dict(splits)[HELD_OUT])
        ratings += read_ratings(folder / f"fold{fold}" / RATINGS).get(HELD_OUT, [])
        pairs[plan.pooled] += read_judged(folder / f"fold{fold}" / PAIRS).get(HELD_OUT, [])
    facts = {name: fact for name, fact in read_facts(folder / "fold0").items() if name not in OF_ONE_RUN}
    about: dict[str, Any] = {"command": list(command), "folds": plan.num_folds, "folds_split": plan.pooled}
    runs = [read_facts(run) for run in (*(folder / f"fold{fold}" for fold in range(plan.num_folds)), folder / REFIT)]
    if speed := of_runs([run["training_speed"] for run in runs if "training_speed" in run]):
        about["training_speed"] = speed
        print(summary_of(speed), flush=True)
    if shares := mean_shares([run["probe"] for run in runs[: plan.num_folds] if "probe" in run]):
        about["probe"] = shares
        print_shares(shares, plan.num_folds)
    with replacing(folder / RUN) as file:  # of the folds, but for their own part
        file.write(json.dumps({**facts, **about}, indent=1) + "\n")
    ratings.sort(key=lambda row: row[0])
    found = {plan.pooled: (join(tables), ratings)} | _refitted(folder / REFIT, plan.apart)
    scales = axes_of_run(facts) or _axes_of_checkpoint(folder / "fold0")
    calibration = calibrated_by(plan.pooled, found[plan.pooled][0], axes, unit)
    write_calibration(folder, calibration)
    fold_of = {id_: fold for fold, table in enumerate(tables) for id_ in table.ids}
    for name, (table, rows) in found.items():
        own = with_held_out_ends(table, scales, calibration, fold_of) if name == plan.pooled else None
        found[name] = (own or with_ends(table, scales, calibration), rows)
    write_predictions(folder / PREDICTIONS, [(name, table) for name, (table, _) in found.items()], axes)
    write_ratings(folder / RATINGS, [(name, rows) for name, (_, rows) in found.items()])
    write_pairs(folder / PAIRS, pairs.items())
    results = {}
    for name, (table, rows) in found.items():
        numbers = evaluate(table.ids, table.systems, table.domains, table.scores, table.targets, axes)
        folds = plan.num_folds if name == plan.pooled else 0
        numbers = with_evidence(name, numbers, table, axes, rows, unit=unit, folds=folds)
        numbers = with_coverage(numbers, table, calibration, are_by_others=name == plan.pooled)
        results[name] = with_pairs(numbers, pairs.get(name, []), axes)
    write_results(folder / RESULTS, results)
    drawn = draw_run(folder, scales)
    of = "clips out of fold, each by a model that was not trained on it"
    of += f" (but for what {start} was trained on, which every fold started from)" if start else ""
    of += f"; {', '.join(plan.apart)}: by the refit" if len(found) > 1 else ""
    print_results(results, folder, drawn, sum(len(table.ids) for table, _ in found.values()), of)


def _refitted(refit: Path, apart: Sequence[str]) -> dict[str, tuple[Predictions, list[RatingRow]]]:
    """Read how the refit predicts the splits that no fold has seen; nothing where there is no refit."""
    if not apart or not has_results(refit):
        return {}
    splits, _ = read_predictions(refit / PREDICTIONS)
    ratings = read_ratings(refit / RATINGS)
    return {name: (table, ratings.get(name, [])) for name, table in splits if name in apart}


def _refitted_pairs(refit: Path, apart: Sequence[str]) -> dict[str, list[JudgedPair]]:
    """Read how the refit predicts the pairs of the splits that no fold has seen."""
    found = read_judged(refit / PAIRS) if apart and has_results(refit) else {}
    return {name: rows for name, rows in found.items() if name in apart}


def _axes_of_checkpoint(fold: Path) -> list[Axis]:
    """Return the axes of a fold that was run by an earlier version, which wrote no ``run.json``."""
    return [Axis(*axis) for axis in read_checkpoint(path_of_last(fold))["hyper_parameters"]["axes"]]
