"""Listen to the signals that end a run, where Lightning would take them."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import Callback

from lightning_aqa.utils.signals import StopSignals


class Interruption(Callback):
    """Take SIGTERM and SIGINT back from Lightning, which ends a training by them as if it were complete.

    Lightning takes them after the parts are set up, and gives them back at its end; SIGUSR1, by which SLURM asks to
    queue a job again, stays its own.

    Args:
        signals: The signals of this process.
    """

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Pass signals on to the processes that this one has started."""
        self.signals.passes_on = getattr(trainer.strategy.launcher, "kill", None)

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals."""
        self.signals.install()

    on_train_start = on_validation_start = on_test_start = on_predict_start = on_sanity_check_start
