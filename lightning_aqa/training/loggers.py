"""Send to the loggers of a run what Lightning does not: its whole config, where it is, and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from lightning_aqa.results.facts import add_fact
from lightning_aqa.results.files import CONFIG
from lightning_aqa.results.mlflow_run import write_mlflow_run
from lightning_aqa.training.trackio_logger import TrackioLogger
from lightning_aqa.utils.wandb import next_step

FOLDER = "pictures"


def wandb_loggers(loggers: Sequence[Logger]) -> list[WandbLogger]:
    """Pick the W&B loggers."""
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def introduce_run(loggers: Sequence[Logger], folder: Path, config: str) -> None:
    """Give W&B, Trackio and MLflow the whole config, and keep in the run's facts which runs of theirs it is.

    Args:
        loggers: Loggers of the trainer.
        folder: The run folder.
        config: Text of ``config.yaml``.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_hyperparams({"config": yaml.safe_load(config)})
            _go_on(logger.experiment, folder)
            if address := getattr(logger.experiment, "url", None):  # none where W&B is offline
                add_fact(folder, "wandb", str(address))
        elif isinstance(logger, TrackioLogger):
            logger.log_hyperparams({"config": yaml.safe_load(config)})
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(folder / CONFIG))
            write_mlflow_run(folder, logger.experiment.tracking_uri, str(logger.run_id))


def _go_on(run: Any, folder: Path) -> None:
    """Count the steps of a W&B run on where it was logged offline before, so that its history has each once."""
    if run.offline and (step := next_step(folder, run.id)):
        run.log({}, step=step, commit=False)


def log_pictures(loggers: Sequence[Logger], paths: Sequence[Path], step: int) -> None:
    """Log pictures where a logger takes them: W&B, TensorBoard, Trackio and MLflow do.

    Args:
        loggers: Loggers of the trainer.
        paths: PNG files.
        step: Optimiser steps so far.
    """
    for logger in loggers:
        for path in paths:
            if isinstance(logger, WandbLogger):
                logger.log_image(key=f"{FOLDER}/{path.stem}", images=[str(path)])
            elif isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(Image.open(path).convert("RGB"))
                cast(Any, logger.experiment).add_image(f"{FOLDER}/{path.stem}", pixels, step, dataformats="HWC")
            elif isinstance(logger, TrackioLogger):
                logger.log_picture(f"{FOLDER}/{path.stem}", path, step)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_artifact(logger.run_id, str(path), FOLDER)
