"""Write the run folder: config, predictions, results, skipped clips, pictures; and say it on the screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from lightning_aqa.data.check import write_skipped
from lightning_aqa.metrics.levels import to_json
from lightning_aqa.module import AQAModule
from lightning_aqa.predictions import write_predictions
from lightning_aqa.screen import print_results, print_run


class RunFolder(Callback):
    """Leave everything a run found in one folder, computed from the gathered predictions.

    Args:
        folder: The run folder.
        config: Text of ``config.yaml``.
        pictures: Whether to draw the PNG plots.
    """

    def __init__(self, folder: Path, config: str, pictures: bool = True) -> None:
        self.folder, self.config, self.pictures = folder, config, pictures

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make the folder with the config and the list of skipped clips."""
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "config.yaml").exists():
            (self.folder / "config.yaml").write_text(self.config, encoding="utf-8")
        write_skipped(cast(Any, trainer).datamodule.skipped, self.folder / "skipped.csv")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print what is trained, on what, by which objectives."""
        assert isinstance(pl_module, AQAModule)
        if trainer.is_global_zero:
            print_run(pl_module, self.folder)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the numbers of ``validate``; inside ``fit`` there is nothing to write yet."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the numbers of every rated split."""
        self._write(trainer, pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the scores of all clips."""
        self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AQAModule)
        if not trainer.is_global_zero:
            return
        splits = {name: pl_module.predictions[name] for name in pl_module.results} or pl_module.predictions
        write_predictions(self.folder / "predictions.csv", splits.items(), [axis.name for axis in pl_module.axes])
        if pl_module.results:
            text = json.dumps(to_json(pl_module.results), indent=1, allow_nan=False)
            (self.folder / "results.json").write_text(text + "\n", encoding="utf-8")
        drawn = self._draw(trainer, pl_module) if self.pictures and pl_module.results else []
        print_results(pl_module.results, self.folder, drawn, num_predicted=sum(len(t.ids) for t in splits.values()))

    def _draw(self, trainer: L.Trainer, pl_module: AQAModule) -> list[Path]:
        from lightning_aqa.pictures import draw_run

        paths = draw_run(self.folder, pl_module.axes)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                for path in paths:
                    logger.log_image(key=f"pictures/{path.stem}", images=[str(path)])
        return paths
