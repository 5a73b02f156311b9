"""Weights & Biases: whether there is a key, and how to send what was logged without one."""

from __future__ import annotations

import netrc
import os
from pathlib import Path


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
