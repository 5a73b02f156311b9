"""Weights & Biases: whether there is a key, which run a folder holds, and how to send what was logged offline."""

from __future__ import annotations

import netrc
import os
import shlex
import sys
from pathlib import Path

OFFLINE_HINT = "With WANDB_MODE=offline W&B logs into the run folder, and `wandb sync` sends it later."


def is_wandb_error(error: Exception) -> bool:
    """Tell whether an error comes from W&B's library, which is not imported for that."""
    kind = getattr(sys.modules.get("wandb.errors"), "Error", None)
    return kind is not None and isinstance(error, kind)


def has_wandb_key() -> bool:
    """Tell whether W&B finds an API key here: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc.netrc().authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def run_id(folder: Path) -> str | None:
    """Return the id of the W&B run that a run folder holds; None where there is none."""
    folders = _run_folders(folder, "run-*") + _run_folders(folder, "offline-run-*")
    return max(folders, key=_started).name.rsplit("-", 1)[-1] if folders else None


def sync_hint(folder: Path) -> str:
    """Say how to send what W&B logged offline: a run that was resumed has a folder for each part."""
    runs = sorted(_run_folders(folder, "offline-run-*"), key=_started)
    return f"W&B logged offline; to send it: wandb sync {shlex.join(map(str, runs))}" if runs else ""


def _run_folders(folder: Path, pattern: str) -> list[Path]:
    return list((folder / "wandb").glob(pattern))


def _started(folder: Path) -> str:
    """Return the time in the name of a W&B folder, such as ``offline-run-20261128_010003-lxvd7ozg``."""
    return folder.name.split("run-", 1)[1]
