"""Trackio as a logger: runs in a folder of this machine, shown without an account; its package is an extra."""

from __future__ import annotations

import importlib
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

FOLDER = "trackio"


class TrackioLogger(Logger):
    """Log to Trackio, in a folder of its own beside the run's; a run that is resumed goes on as the run it was.

    Args:
        project: Project of the run.
        name: Name of the run; the command line gives it that of the run folder.
        save_dir: Folder that holds the folder ``trackio``; the command line gives it the run folder.
    """

    def __init__(self, project: str = "lightning_aqa", name: str | None = None, save_dir: str = ".") -> None:
        super().__init__()
        self._project, self._name, self._save_dir = project, name, save_dir
        self._config: dict[str, Any] = {}
        self._run: Any = None

    @property
    def name(self) -> str:
        """Project of the run."""
        return self._project

    @property
    def version(self) -> str | None:
        """Name of the run."""
        return self._name

    @property
    def save_dir(self) -> str:
        """Folder that holds the folder ``trackio``."""
        return self._save_dir

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Keep settings for the config, which Trackio takes when the run begins; names with ``_`` are its own."""
        given = vars(params) if isinstance(params, Namespace) else params
        self._config |= {key: value for key, value in given.items() if not key.startswith("_")}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at a step."""
        self._begun().log(dict(metrics), step=step)

    @rank_zero_only
    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Log a PNG file at a step."""
        run = self._begun()
        run.log({name: _trackio(self._save_dir).Image(str(path))}, step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write all that is waiting; what is logged after it goes on in the same run."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _begun(self) -> Any:
        if self._run is None:
            asked = {"project": self._project, "name": self._name, "config": self._config, "resume": "allow"}
            self._run = _trackio(self._save_dir).init(**asked, embed=False)
        return self._run


def _trackio(save_dir: str) -> Any:
    """Import Trackio, which chooses its folder when it is imported.

    Raises:
        ValueError: If it is imported already, and writes elsewhere.
    """
    folder = Path(save_dir).resolve() / FOLDER
    before = os.environ.get("TRACKIO_DIR")
    os.environ["TRACKIO_DIR"] = str(folder)
    try:
        trackio = importlib.import_module("trackio")
        chosen = Path(importlib.import_module("trackio.utils").TRACKIO_DIR).resolve()
    finally:
        if before is None:
            del os.environ["TRACKIO_DIR"]
        else:
            os.environ["TRACKIO_DIR"] = before
    if chosen != folder:
        raise ValueError(
            f"Trackio writes to {chosen} in this process, and cannot change to {folder}: start another one."
        )
    return trackio
