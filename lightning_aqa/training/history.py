"""Keep what was logged after each epoch: a line on the screen and a CSV in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback

from lightning_aqa.module import AQAModule
from lightning_aqa.results.files import HISTORY
from lightning_aqa.results.history import write_history
from lightning_aqa.training.exact_resume import metrics_of_epoch
from lightning_aqa.training.training_speed import time_left


class History(Callback):
    """Record the logged metrics of each epoch; a resumed run carries on the record.

    Args:
        folder: The run folder; ``history.csv`` is written there.
        monitor: The metric to show beside the losses on the screen.
    """

    def __init__(self, folder: str | Path, monitor: str | None = None) -> None:
        self.path, self.monitor = Path(folder) / HISTORY, monitor
        self.rows: list[dict[str, float]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse to watch a split that the check of the corpus has emptied.

        Raises:
            ValueError: If there is nothing to validate on.
        """
        has_dev = "dev" in cast(AQAModule, pl_module).data.rated_splits
        if self.monitor is not None and self.monitor.startswith("val/") and not has_dev:
            raise ValueError(f"--monitor={self.monitor}: no clip of split 'dev' is left to validate on.")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add a row, write the file, print the line."""
        values = {name: float(value) for name, value in sorted(metrics_of_epoch(trainer).items())}
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **values})
        if trainer.is_global_zero:
            write_history(self.path, self.rows)
            if trainer.progress_bar_callback is None:
                print(self._line(values, trainer), flush=True)

    def _line(self, values: dict[str, float], trainer: L.Trainer) -> str:
        losses = [f"{name} {value:.4f}" for name, value in values.items() if name.startswith("train/")]
        watched = [f"{self.monitor} {values[self.monitor]:.4f}"] if self.monitor in values else []
        left = [words] if (words := time_left(trainer)) else []
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  " + "  ".join([*losses, *watched, *left])

    def state_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the record."""
        self.rows = list(state_dict["rows"])
