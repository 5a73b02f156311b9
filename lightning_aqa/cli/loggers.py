"""Loggers of a run: those that name no place of their own write into the run folder."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger

from lightning_aqa.results.files import MLFLOW_ARTIFACTS
from lightning_aqa.results.mlflow_run import read_mlflow_run, store_in
from lightning_aqa.sweep.wandb_agent import name_trial
from lightning_aqa.training.trackio_logger import TrackioLogger
from lightning_aqa.utils.wandb import OFFLINE_HINT, has_wandb_key, mend_parts, run_id

RUN_FOLDER = "RUN_FOLDER"
"""Default of ``save_dir`` in configs, which stands for the run folder."""
EXPERIMENT = "lightning_aqa"
"""Experiment of MLflow that runs are filed under; the configs give W&B a project of the same name."""
NEEDED = {
    "TensorBoardLogger": ("tensorboard",),
    "MLFlowLogger": ("mlflow", "sqlalchemy", "alembic"),
    "TrackioLogger": ("trackio",),
}
"""Packages of an extra that a logger cannot do without."""
INSTEAD = {"tensorboard": "tensorboardX"}


def default_to_run_folder() -> None:
    """Let the parser know a default of ``save_dir`` for loggers that write into folders."""
    for logger in (CSVLogger, TensorBoardLogger, MLFlowLogger, TrackioLogger):
        build: Any = logger.__init__
        signature = inspect.signature(build)
        own: dict[str, str | None] = {"save_dir": RUN_FOLDER}
        own |= {"experiment_name": EXPERIMENT, "tracking_uri": None} if logger is MLFlowLogger else {}
        changed = [p.replace(default=own.get(p.name, p.default)) for p in signature.parameters.values()]
        build.__signature__ = signature.replace(parameters=changed)


def place_loggers(settings: Namespace, folder: Path) -> bool:
    """Point loggers at the run folder: W&B's, and others that name no folder; without an API key W&B logs offline.

    Args:
        settings: The config of the subcommand, which is changed.
        folder: The run folder.

    Returns:
        Whether W&B logs offline here.

    Raises:
        ValueError: If W&B is to log online and there is no API key.
    """
    is_offline = False
    for kind, given in _configured(settings):
        if kind == "WandbLogger":
            is_offline = _place_wandb(given, folder)
        elif str(given.get("save_dir")) == RUN_FOLDER:
            _place_mlflow(given, folder) if kind == "MLFlowLogger" else _place(given, folder)
        if kind == "TrackioLogger":
            given.name = given.get("name") or folder.name
    return is_offline


def check_loggers(settings: Namespace) -> None:
    """Refuse loggers whose packages are not installed, before there is a run folder.

    Args:
        settings: The config of the subcommand.

    Raises:
        ValueError: If a package is not installed; it says how to install it.
    """
    for kind, _ in _configured(settings):
        for package in NEEDED.get(kind, ()):
            if not any(importlib.util.find_spec(name) for name in (package, INSTEAD.get(package, package))):
                raise ValueError(
                    f"--trainer.logger={kind} needs the package {package}: "
                    f"pip install 'lightning_aqa[{NEEDED[kind][0]}]', or take --trainer.logger=CSVLogger."
                )


def _configured(settings: Namespace) -> list[tuple[str, Namespace]]:
    """Return the class and the settings of each logger that is named."""
    loggers = [logger for logger in as_list(settings.trainer.get("logger")) if isinstance(logger, Namespace)]
    return [
        (str(x.get("class_path", "")).rpartition(".")[2], x.get("init_args") or cast(Any, Namespace)()) for x in loggers
    ]


def _place(given: Namespace, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    given.save_dir = str(folder.resolve())


def _place_mlflow(given: Namespace, folder: Path) -> None:
    """Keep runs and artifacts in the run folder, unless a server is named; a resumed run goes on as the run it was."""
    _place(given, folder)
    given.tracking_uri = given.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")
    given.run_name = given.get("run_name") or "/".join(folder.resolve().parts[-2:])
    if not given.tracking_uri:
        given.tracking_uri = store_in(folder)
        given.artifact_location = given.get("artifact_location") or (folder.resolve() / MLFLOW_ARTIFACTS).as_uri()
    given.run_id = given.get("run_id") or read_mlflow_run(folder, given.tracking_uri)
    for name in ("lightning.pytorch.loggers.mlflow", "mlflow.store.db", "alembic"):  # that they make a new store
        logging.getLogger(name).setLevel(logging.ERROR)


def _place_wandb(given: Namespace, folder: Path) -> bool:
    """Place W&B's files, and tell whether it logs offline; a resumed run goes on as the run it was."""
    _place(given, folder)
    mend_parts(folder)
    name_trial()
    given.name = given.get("name") or os.environ.get("WANDB_NAME") or folder.name
    is_named = given.get("id") or given.get("version") or os.environ.get("WANDB_RUN_ID")
    given.id = given.get("id") if is_named else run_id(folder)
    if not has_wandb_key() and os.environ.setdefault("WANDB_MODE", "offline") in ("online", "shared"):
        raise ValueError(
            f"WANDB_MODE={os.environ['WANDB_MODE']} needs an API key, and there is none: run `wandb login` or set "
            f"WANDB_API_KEY. {OFFLINE_HINT}"
        )
    is_offline = os.environ.get("WANDB_MODE") == "offline"
    if is_offline:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
    return is_offline


def as_list(configured: Any) -> list[Any]:
    """Return what the config has of a trainer's callbacks, plugins or loggers: none, one or a list."""
    if configured is None:
        return []
    return list(configured) if isinstance(configured, Sequence) and not isinstance(configured, str) else [configured]
