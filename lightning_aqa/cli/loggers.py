"""Loggers of a run: those that name no folder of their own write into the run folder."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_aqa.utils.wandb import OFFLINE_HINT, has_wandb_key, run_id

RUN_FOLDER = "RUN_FOLDER"
"""Default of ``save_dir`` in configs, which stands for the run folder."""


def default_to_run_folder() -> None:
    """Let the parser know a default of ``save_dir`` for Lightning's loggers that ask for one."""
    for logger in (CSVLogger, TensorBoardLogger):
        build: Any = logger.__init__
        signature = inspect.signature(build)
        save_dir = signature.parameters["save_dir"].replace(default=RUN_FOLDER)
        build.__signature__ = signature.replace(parameters=[*({**signature.parameters, "save_dir": save_dir}).values()])


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
    loggers = [logger for logger in as_list(settings.trainer.get("logger")) if isinstance(logger, Namespace)]
    is_wandb = [str(logger.get("class_path", "")).endswith("WandbLogger") for logger in loggers]
    for logger, is_of_wandb in zip(loggers, is_wandb, strict=True):
        given = logger.get("init_args")
        if is_of_wandb or (given is not None and str(given.get("save_dir")) == RUN_FOLDER):
            folder.mkdir(parents=True, exist_ok=True)
            given.save_dir = str(folder.resolve())
        if is_of_wandb:
            given.name = given.get("name") or os.environ.get("WANDB_NAME") or folder.name
            is_named = given.get("id") or given.get("version") or os.environ.get("WANDB_RUN_ID")
            given.id = given.get("id") if is_named else run_id(folder)  # a resumed run goes on as the run it was
    if any(is_wandb) and not has_wandb_key() and os.environ.setdefault("WANDB_MODE", "offline") in ("online", "shared"):
        raise ValueError(
            f"WANDB_MODE={os.environ['WANDB_MODE']} needs an API key, and there is none: run `wandb login` or set "
            f"WANDB_API_KEY. {OFFLINE_HINT}"
        )
    is_offline = any(is_wandb) and os.environ.get("WANDB_MODE") == "offline"
    if is_offline:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
    return is_offline


def as_list(configured: Any) -> list[Any]:
    """Return what the config has of a trainer's callbacks, plugins or loggers: none, one or a list."""
    if configured is None:
        return []
    return list(configured) if isinstance(configured, Sequence) and not isinstance(configured, str) else [configured]
