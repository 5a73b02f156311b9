"""Names of the files in a run folder and in the folder of a sweep."""

from __future__ import annotations

from pathlib import Path

CONFIG, RUN = "config.yaml", "run.json"
PREDICTIONS, RESULTS, HISTORY = "predictions.csv", "results.json", "history.csv"
RATINGS, CLIPS, SYSTEMS, OBSERVATIONS = "ratings.csv", "clips.csv", "systems.csv", "observations.npz"
SKIPPED, TRACEBACK = "skipped.csv", "traceback.txt"
LOCK = "run.lock"
"""Held by the process that writes to a run folder; a run that has ended leaves none."""
MLFLOW_STORE, MLFLOW_ARTIFACTS = "mlflow.db", "mlflow-artifacts"
CHECKPOINTS, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"

TRIAL, TRIAL_LOG = "trial.json", "trial.log"
"""Record of a sweep in the run folder of a trial, and all that the trial printed."""

SWEEP, SUMMARY_CSV, SUMMARY_MD = "sweep.json", "summary.csv", "summary.md"


def path_of_last(folder: Path) -> Path:
    """Return the path of the checkpoint that a run resumes from."""
    return folder / CHECKPOINTS / LAST
