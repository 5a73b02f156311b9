"""Weights & Biases of a run: key, mode, folder."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace


def set_up_wandb(settings: Namespace, folder: Path) -> bool:
    """Point W&B loggers at the run folder; with no API key make them log offline.

    Returns:
        Whether W&B logs offline here.
    """
    loggers = [logger for logger in _as_list(settings.trainer.get("logger")) if _is_wandb(logger)]
    for logger in loggers:
        folder.mkdir(parents=True, exist_ok=True)
        logger.init_args.save_dir = str(folder.resolve())
        logger.init_args.name = logger.init_args.get("name") or os.environ.get("WANDB_NAME") or folder.name
    if loggers and not has_wandb_key():
        os.environ.setdefault("WANDB_MODE", "offline")
    is_offline = bool(loggers) and os.environ.get("WANDB_MODE") == "offline"
    if is_offline:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
    return is_offline


def _as_list(logger: Any) -> list[Any]:
    return logger if isinstance(logger, list) else [logger]


def _is_wandb(logger: Any) -> bool:
    return isinstance(logger, Namespace) and str(logger.get("class_path", "")).endswith("WandbLogger")


def has_wandb_key() -> bool:
    """Tell whether W&B finds an API key here: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc.netrc().authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def sync_hint(folder: Path) -> str:
    """Say how to send what W&B logged offline."""
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    return f"W&B logged offline; to send it: wandb sync {runs[-1]}" if runs else ""
