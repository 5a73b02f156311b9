"""The parts of a fit, built as its arguments say, to look after the features that they read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from lightning_aqa.cli.endings import USER_ERRORS
from lightning_aqa.cli.lightning_cli import AQACLI
from lightning_aqa.cli.messages import is_debug, raised
from lightning_aqa.cli.quiet import quiet
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.training.feature_cache import Built, build, open_store, windows_of
from lightning_aqa.training.loading import load_weights


class CacheCLI(AQACLI):
    """Read the arguments of ``fit`` and build its parts, but leave no run folder and train nothing.

    Args:
        args: Arguments of ``fit``, without it.

    Raises:
        ValueError: If something of the config is wrong.
    """

    def __init__(self, args: Sequence[str]) -> None:
        quiet()
        try:
            super().__init__(["fit", *args])
        except USER_ERRORS as error:
            if is_debug():
                raise
            raise ValueError(raised(error)) from None

    def before_instantiate_classes(self) -> None:
        """Keep the config as text, which is all that the parts need; there are no folds to run and no logs."""
        self.config_text = self.settings_text()
        self.settings.trainer.logger = False
        self.is_offline = False

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build a trainer for its choice of a device alone."""
        devices = self.settings.trainer.devices
        return L.Trainer(
            accelerator=self.settings.trainer.accelerator,
            devices=devices[:1] if isinstance(devices, list) else 1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def run_subcommand(self, subcommand: str) -> None:
        """Open the store, and do nothing with it yet."""
        if self.datamodule.cache is None:
            raise ValueError("The config names no folder for features: add --data.cache=DIR.")
        if self.settings.ckpt_path:
            load_weights(self.model, self.settings.ckpt_path)
        self.trainer.strategy.connect(self.model)
        self.datamodule.trainer = self.trainer
        self.datamodule.setup("fit")
        self.store = open_store(self.datamodule, self.model)

    def paths(self) -> set[Path]:
        """Return the entries that the config reads, there or not, those of clips without ratings (``predict``) too."""
        try:
            self.datamodule.setup("predict")
        except CorpusError:  # what cannot be read has no entries
            stage = "fit"
        else:
            stage = "predict"
        clips, windows = windows_of(self.datamodule, stage)
        paths = {self.store.path(clips[window.clip], window) for window in windows}
        self.store.contents.save()
        return paths

    def build(self) -> Built:
        """Compute the features that are missing."""
        return build(self.store, self.datamodule, self.model, self.trainer.strategy.root_device)
