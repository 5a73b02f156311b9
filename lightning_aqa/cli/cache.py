"""``python -m lightning_aqa cache``: compute the features of a config, check a folder of features, clear it up."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from lightning_aqa.cli.main import AQACLI, USER_ERRORS, quiet
from lightning_aqa.cli.parser import DEBUG, raised
from lightning_aqa.cli.subcommands import VERBS
from lightning_aqa.data.cache.prune import Found, damaged, files_of, remove, unneeded
from lightning_aqa.data.cache.store import FeatureStore
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.training.feature_cache import Built, build, open_store, windows_of
from lightning_aqa.training.feature_encoding import human
from lightning_aqa.training.loading import load_weights

NOTE = """All other words are those of fit, such as --config FILE, --data.root=DIR or --model.head=MLP: the features are
those that fit with the same words would read. Without --verify and --prune they are computed where they are missing."""


class CacheCLI(AQACLI):
    """Read the words of ``fit`` and build its parts, but leave no run folder and train nothing."""

    def before_instantiate_classes(self) -> None:
        """Keep the config as text, which is all that the parts need; there are no folds to run and no logs."""
        self.config_text = self._parser(self.subcommand).dump(self.settings, skip_none=False)
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

    def _run_subcommand(self, subcommand: str) -> None:
        """Open the store; ``main`` says what is done with it."""
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m lightning_aqa cache", description=VERBS["cache"].help, epilog=NOTE, allow_abbrev=False
    )
    add = parser.add_argument
    add("--verify", action="store_true", help="check every entry of the folder, and remove those that are damaged")
    add("--prune", action="store_true", help="remove what killed runs left behind, and entries by the options below")
    add("--folder", type=Path, help="folder to check or to clear up; without it, the config's --data.cache")
    add("--older_than", type=float, metavar="DAYS", help="prune entries that were not used for so many days")
    add("--budget", type=float, metavar="GB", help="prune those not used for the longest time until this is left")
    add("--dry_run", action="store_true", help="say what would be removed, and remove nothing")
    return parser


def main(args: Sequence[str] | None = None) -> int:
    """Build, check or clear up.

    Args:
        args: Command-line words from ``cache`` on; None takes those of the process.

    Returns:
        Exit code: 0, or 1 if ``--verify`` found damage.

    Raises:
        ValueError: If the options do not go together, or something of the config is wrong.
    """
    own, words = _parser().parse_known_args(list(args if args is not None else sys.argv[1:])[1:])
    is_upkeep = own.verify or own.prune
    if not is_upkeep and (own.folder or own.dry_run or own.older_than is not None or own.budget is not None):
        raise ValueError("--folder, --older_than, --budget and --dry_run go with --verify or --prune.")
    if own.folder is not None and words:
        raise ValueError(f"--folder is looked after without a config, so {words[0]} means nothing here.")
    if own.folder is not None:
        return _look_after(own, own.folder)
    command = _parse(words)
    if is_upkeep:
        return _look_after(own, command.store.folder, command.paths() if own.prune else ())
    device = command.trainer.strategy.root_device
    _say_built(command.store, build(command.store, command.datamodule, command.model, device))
    return 0


def _parse(words: Sequence[str]) -> CacheCLI:
    quiet()
    try:
        return CacheCLI(["fit", *words])
    except USER_ERRORS as error:
        if os.environ.get(DEBUG):
            raise
        raise ValueError(raised(error)) from None


def _say_built(store: FeatureStore, built: Built) -> None:
    speed = f", {built.num_encoded / built.seconds:.1f} clips/s" if built.num_encoded else ""
    there = built.num_windows - built.num_encoded - built.num_derived
    derived = f", {built.num_derived} computed from entries that hold more" if built.num_derived else ""
    kept = {"mean_std": "mean and deviation", "mean": "mean", "frames": "all frames"}[store.form.kind]
    print(f"{store.folder}: {built.num_windows} windows of {store.encoder_name}, kept as {kept}.")
    print(f"{there} were there, {built.num_encoded} encoded{derived} ({built.seconds:.1f} s{speed}).")
    if built.num_damaged:
        print(f"{built.num_damaged} were damaged and are among those computed anew.")


def _look_after(own: argparse.Namespace, folder: Path, kept: Collection[Path] = ()) -> int:
    """Check, then prune, as the options say."""
    code = 0
    if own.verify:
        bad = damaged(folder)
        code = int(bool(bad))
        print(f"{folder}: {sum(1 for _ in files_of(folder))} entries checked, {len(bad)} damaged.")
        _remove(bad, "damaged", own.dry_run)
    if own.prune:
        budget = None if own.budget is None else own.budget * 1e9
        _remove(unneeded(folder, kept, own.older_than, budget), "unneeded", own.dry_run)
        files = list(files_of(folder))
        print(f"{folder}: {len(files)} entries, {human(sum(file.size for file in files))}.")
    return code


def _remove(files: Collection[Found], kind: str, dry_run: bool) -> None:
    size = human(sum(file.size for file in files))
    if not dry_run:
        remove(files)
    print(f"{len(files)} {kind} {'file' if len(files) == 1 else 'files'} {'would be ' * dry_run}removed, {size}.")
