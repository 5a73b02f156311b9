"""Names of the files in a run folder and in the folder of a sweep."""

from __future__ import annotations

from pathlib import Path

CONFIG, RUN = "config.yaml", "run.json"
PREDICTIONS, RESULTS, HISTORY = "predictions.csv", "results.json", "history.csv"
RATINGS, PAIRS, CLIPS, SYSTEMS, OBSERVATIONS = (
    "ratings.csv",
    "pairs.csv",
    "clips.csv",
    "systems.csv",
    "observations.npz",
)
SKIPPED, TRACEBACK = "skipped.csv", "traceback.txt"
INTERVALS, TRAINED = "intervals.json", "trained.npz"
"""Errors of clips that the model was not trained on, and features of clips that it was."""
LOCK = "run.lock"
"""Held by the process that writes to a run folder; a run that has ended leaves none."""
MLFLOW_STORE, MLFLOW_ARTIFACTS = "mlflow.db", "mlflow-artifacts"
CHECKPOINTS, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"
DISTILLED = "distilled"
"""Folder of the one model that stands for an ensemble, and what ``results.json`` calls its nearness to it."""
ENSEMBLE, MEMBERS = "ensemble.json", "members"
"""Weights of the models of an ensemble's folder, and the folder of these."""

PUBLISHED, MODEL_WEIGHTS, CARD, CHECKSUMS = "config.json", "model.safetensors", "README.md", "SHA256SUMS"
"""Files of a published model, in a folder of its own or on the hub."""

TRIAL, TRIAL_LOG = "trial.json", "trial.log"
"""Record of a sweep in the run folder of a trial, and all that the trial printed."""

SWEEP, SUMMARY_CSV, SUMMARY_MD = "sweep.json", "summary.csv", "summary.md"


REFIT = "refit"
"""Run folder, inside that of a cross-validation, of the training on all of its clips."""

HELD_OUT = "test"
"""Split of the clips that a fold holds out."""

OUT_OF_FOLD = "out-of-fold"
"""Split of a cross-validation's predictions, beside a test set of the table's own; else ``HELD_OUT``."""


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint of a run folder: its best epoch, else its last, else those of the refit; a file itself.

    Raises:
        ValueError: If the folder has none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    found = [run / CHECKPOINTS / name for run in (path, path / REFIT) for name in (BEST, LAST)]
    for checkpoint in found:
        if checkpoint.is_file():
            return checkpoint
    if (path / ENSEMBLE).is_file():
        raise ValueError(f"{path}: an ensemble, of several models; `score` and `load` take it, or name a model of it.")
    if (path / CHECKSUMS).is_file():
        raise ValueError(f"{path}: a published model; `score` and `load` take it, and nothing else does.")
    if path_of_last(path / "fold0").is_file():
        raise ValueError(f"{path}: a cross-validation without a refit; --ensemble takes the mean of its folds' models.")
    raise ValueError(
        f"{path}: no checkpoint in this folder; expected {CHECKPOINTS}/{BEST} or {CHECKPOINTS}/{LAST}, as a run leaves."
    )


def fold_checkpoints(path: str | Path) -> list[Path]:
    """Return the checkpoints of the folds of a cross-validation, in their order.

    Raises:
        ValueError: If there is no such folder, or fewer than two of its folds have one.
    """
    folds = sorted(Path(path).glob("fold*/"), key=lambda fold: int(fold.name[4:]) if fold.name[4:].isdigit() else -1)
    found = [find_checkpoint(fold) for fold in folds if fold.is_dir() and path_of_last(fold).is_file()]
    if len(found) < 2:
        raise ValueError(
            f"{path}: {len(found)} folds with a checkpoint; an ensemble takes a cross-validation's folder."
        )
    return found


def path_of_last(folder: Path) -> Path:
    """Return the path of the checkpoint that a run resumes from."""
    return folder / CHECKPOINTS / LAST
