"""fit, validate, test and predict: LightningCLI with named objectives, run folders and an evaluation after fit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning as L
import yaml
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.plugins import CheckpointIO

from lightning_aqa.cli.endings import USER_ERRORS, Session, fail, stopped, told
from lightning_aqa.cli.foreign_callbacks import fitted_callbacks
from lightning_aqa.cli.help import help_page, wants_page, with_all_options
from lightning_aqa.cli.loggers import as_list, check_loggers, default_to_run_folder, place_loggers
from lightning_aqa.cli.messages import is_debug
from lightning_aqa.cli.overrides import with_own_defaults, with_variant
from lightning_aqa.cli.parser import Parser
from lightning_aqa.cli.portfolio import fill_portfolio
from lightning_aqa.cli.private_api import OpenCLI
from lightning_aqa.cli.quiet import quiet
from lightning_aqa.cli.signatures import PROGRAM
from lightning_aqa.cli.subcommands import TRAINING
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.metrics.resampling import Unit
from lightning_aqa.module import AQAModule
from lightning_aqa.objectives.base import Objective
from lightning_aqa.results.console import next_command
from lightning_aqa.results.files import find_checkpoint, path_of_last
from lightning_aqa.results.run_folder import choose_run_folder, claim_in, config_stem, no_claim
from lightning_aqa.training.checkpoints import BestCheckpoint, LastCheckpoint, Patience, WholeFiles
from lightning_aqa.training.cross_validation import (
    crossvalidate,
    is_unfinished_crossvalidation,
    plan_folds,
    wants_folds,
)
from lightning_aqa.training.exact_resume import ExactResume
from lightning_aqa.training.feature_cache import FeatureCache
from lightning_aqa.training.finite_check import FiniteCheck
from lightning_aqa.training.history import History
from lightning_aqa.training.interruption import Interruption
from lightning_aqa.training.levels import TrainingLevels
from lightning_aqa.training.loading import (
    load_module,
    load_weights,
    read_checkpoint,
    read_resumable,
    warn_of_differences,
)
from lightning_aqa.training.loggers import wandb_loggers
from lightning_aqa.training.monitor import direction_of
from lightning_aqa.training.observations import Observations
from lightning_aqa.training.run_writer import RunFolder
from lightning_aqa.training.speed import ScoringSpeed
from lightning_aqa.training.trained_features import KeepTrainedFeatures
from lightning_aqa.training.training_speed import TrainingSpeed
from lightning_aqa.utils.components import import_parts
from lightning_aqa.utils.distributed import barrier_and_destroy, is_first_process
from lightning_aqa.utils.signals import Stopped
from lightning_aqa.utils.wandb import sync_hint

DEFAULT_OBJECTIVES = {"mse": {"class_path": "lightning_aqa.objectives.regression.Regression"}}


class AQACLI(OpenCLI):
    """fit, validate, test and predict, each leaving one run folder.

    Args:
        args: Arguments, the subcommand first.
        session: The command that it is; None where nothing is run.
    """

    def __init__(self, args: Sequence[str], session: Session | None = None) -> None:
        self.session = session or Session(args)
        import_parts()
        default_to_run_folder()
        self.argv = with_own_defaults(with_variant(args))
        super().__init__(
            AQAModule,
            AQADataModule,
            subclass_mode_data=True,
            save_config_callback=None,
            parser_class=Parser,
            seed_everything_default=0,
            trainer_defaults={
                "logger": False,
                "enable_model_summary": False,
                "enable_progress_bar": sys.stderr.isatty(),
                "log_every_n_steps": 1,
                "max_epochs": 100,
            },
            parser_kwargs={"prog": PROGRAM},
            args=self.argv,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> AQACLI:
        """Stay one: a copy of the model, as averages of weights take it, holds what builds its optimiser."""
        return self

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """List the subcommands that need a parser: the one named, or all where a config may come first."""
        known: dict[str, set[str]] = super().subcommands()
        is_first = not self.argv[0].startswith("-")
        return {name: skipped for name, skipped in known.items() if name in self.argv or not is_first}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments, or print the page of help that they ask for and exit."""
        named = next((arg for arg in args if arg in TRAINING), "")
        if named and wants_page(args):
            print(help_page(named, self.parser_of(named)), end="")
            raise SystemExit(0)
        super().parse_arguments(parser, with_all_options(args))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what a run has beside its parts."""
        add = parser.add_argument
        add("--objectives", type=dict[str, Objective | None], default=DEFAULT_OBJECTIVES, help=_HELP["objectives"])
        add("--monitor", type=str | None, default="val/utterance/SRCC/mean", help=_HELP["monitor"])
        add("--patience", type=int | None, default=None, help=_HELP["patience"])
        add("--checkpoint_every_n_steps", type=int | None, default=1000, help=_HELP["checkpoint_every_n_steps"])
        add("--evaluation.unit", type=Unit | None, default=None, help=_HELP["unit"])
        add("--name", type=str | None, default=None, help=_HELP["name"])
        add("--variant", type=str | None, default=None, help=_HELP["variant"])
        add("--refit", type=bool, nargs="?", const=True, default=True, help=_HELP["refit"])
        add("--ensemble", type=bool, nargs="?", const=True, default=False, help=_HELP["ensemble"])
        add("--init_from", type=str | None, default=None, help=_HELP["init_from"])
        add("--time_limit", type=str | float | None, default=None, help=_HELP["time_limit"])
        add("--vars", type=dict[str, Any], default={}, help=_HELP["vars"])
        parser.link_arguments("data", "model.axes", compute_fn=self._plain_axes, apply_on="instantiate")

    def _plain_axes(self, data: AQADataModule) -> list[list[Any]]:
        """List the axes plainly, as checkpoints keep them; audio without ratings has none."""
        placeholder = [["score", "Score", 0.0, 1.0]]  # replaced when the checkpoint's model is loaded
        return [list(axis) for axis in data.axes] or (placeholder if self.settings.ckpt_path else [])

    def before_instantiate_classes(self) -> None:
        """Choose the run folder, keep the config as it was given, then set what follows from the folder.

        Raises:
            ValueError: If nothing of what makes a run would be left.
        """
        settings = self.settings
        if settings.trainer.barebones:
            raise ValueError(
                "--trainer.barebones=true switches off the metrics and checkpoints that a run is made of; leave it "
                "out, and use --trainer.enable_checkpointing=false or --trainer.fast_dev_run=true for a quick look."
            )
        check_loggers(settings)
        if self.subcommand == "fit":
            fill_portfolio(settings, self.settings_text, config_stem(self.argv))
        self.config_text = self.settings_text()
        self._find_checkpoints()
        has_folds = self.subcommand == "fit" and wants_folds(settings)
        plan = plan_folds(settings) if has_folds else None
        is_unfinished = partial(is_unfinished_crossvalidation, self.config_text) if has_folds else _never
        take = claim_in(self.session.held) if is_first_process() else no_claim
        self.folder = choose_run_folder(settings, str(self.subcommand), config_stem(self.argv), is_unfinished, take)
        self.session.has_folds, self.session.folder, self.session.checkpoint = (
            has_folds,
            self.folder,
            settings.ckpt_path,
        )
        if plan is not None:
            code = crossvalidate(settings, self.folder, self.config_text, plan, self.session.signals, self.argv)
            if code == 0:
                print(next_command(self.folder), flush=True)
            raise SystemExit(code)
        settings.trainer.default_root_dir = str(self.folder)
        self.is_offline = place_loggers(settings, self.folder)

    def _find_checkpoints(self) -> None:
        """Put the checkpoint in for a run folder: that to go on from for ``fit``, else its model's."""
        settings = self.settings
        if settings.init_from:
            settings.init_from = str(find_checkpoint(settings.init_from))
        if settings.ckpt_path and Path(settings.ckpt_path).is_dir() and not settings.ensemble:
            folder, last = settings.ckpt_path, path_of_last(Path(settings.ckpt_path))
            if self.subcommand == "fit" and not last.is_file():
                raise ValueError(
                    f"--ckpt_path={folder}: no {last.name} in it to go on from. A cross-validation goes on by its own "
                    f"command; --init_from={folder} starts a new training from the weights."
                )
            settings.ckpt_path = str(last if self.subcommand == "fit" else find_checkpoint(folder))
        if settings.ensemble and (self.subcommand == "fit" or not settings.ckpt_path):
            raise ValueError("--ensemble is for a trained run: test, predict or score with --ckpt_path=RUN_FOLDER.")

    def instantiate_classes(self) -> None:
        """Build the parts; an evaluation with a checkpoint takes the model that the checkpoint describes."""
        checkpoint = self.settings.ckpt_path
        if checkpoint and not self.settings.ensemble:
            self._look_into(checkpoint)
        if checkpoint and self.subcommand != "fit":
            self.settings.pop("model")
        try:
            super().instantiate_classes()
        except (*USER_ERRORS, ImportError):
            raise
        except Exception as error:  # whatever a part raises while it is built
            raise ValueError(
                f"a part cannot be built: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        if checkpoint and self.subcommand != "fit":
            self.model = load_module(checkpoint, ensemble=self.settings.ensemble)
            self.config_init[self.subcommand].ckpt_path = None  # loaded already
        if self.subcommand in ("validate", "test"):
            self.config_init[self.subcommand].verbose = False  # the run folder prints the table
        if self.settings.init_from:
            load_weights(self.model, self.settings.init_from)
        if self.subcommand != "fit" and self.model.is_fresh and not self.model.head.is_trained:
            raise ValueError(f"{self.subcommand} needs a trained model: --ckpt_path=RUN_FOLDER.")

    def _look_into(self, checkpoint: str) -> None:
        """Refuse code, which Lightning would run when it resumes, and state to which no training can go back."""
        is_fit = self.subcommand == "fit"
        content = read_resumable(checkpoint) if is_fit else read_checkpoint(checkpoint)
        if any(arg.startswith(("--config", "-c", "--model")) for arg in self.argv):
            given = yaml.safe_load(self.config_text)["model"]
            saved = content.get("hyper_parameters")
            warn_of_differences(checkpoint, saved if isinstance(saved, dict) else {}, given, is_fit=is_fit)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Give the trainer the objectives and what every run has: history, run folder, checkpoints."""
        configured = self.built("trainer")
        callbacks, plugins = as_list(configured["callbacks"]), as_list(configured["plugins"])
        callbacks, wanted = fitted_callbacks(callbacks, self.argv)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(WholeFiles())
        callbacks += [Interruption(self.session.signals), FeatureCache(), Observations(self.folder)]
        callbacks += [ScoringSpeed(self.folder)]
        given = None if self.subcommand == "fit" else self.settings.ckpt_path
        callbacks += [
            RunFolder(self.folder, self.config_text, self.argv, self.settings.evaluation.unit, given)
        ]  # its results come last: then all is there
        objectives = self._objectives()
        if self.subcommand == "fit" and not objectives:
            raise ValueError("No objective to train with: add one, such as --objectives.mse=Regression.")
        if self.subcommand == "fit":
            callbacks = [ExactResume(), FiniteCheck(), TrainingLevels(), TrainingSpeed(self.folder), *callbacks]
            callbacks += [KeepTrainedFeatures(self.folder), History(self.folder, self.settings.monitor)]
            callbacks += self._checkpoints(objectives)
            if self.settings.trainer.enable_checkpointing is False:
                callbacks = [callback for callback in callbacks if not isinstance(callback, BestCheckpoint)]
        callbacks += objectives
        kwargs |= {"callbacks": callbacks, "plugins": plugins, "use_distributed_sampler": False, **wanted}
        return super().instantiate_trainer(**kwargs)

    def _objectives(self) -> list[Objective]:
        """Return the terms of the loss that are not null, each with its name."""
        named: dict[str, Objective | None] = self.built("objectives")
        for name, objective in named.items():
            if objective is not None:
                objective.name = name
        return [objective for objective in named.values() if objective is not None]

    def _checkpoints(self, objectives: Sequence[Objective]) -> list[Callback]:
        """Keep the best epoch by the monitor, if there is one, and always the last."""
        monitor, patience, folder = self.settings.monitor, self.settings.patience, self.folder / "checkpoints"
        last = LastCheckpoint(folder, self.settings.checkpoint_every_n_steps, self.session.signals)
        if monitor is None:
            return [last]
        mode = direction_of(monitor, self.datamodule, objectives)
        stopping = [] if patience is None else [Patience(monitor, mode, patience)]
        return [BestCheckpoint(folder, "best", monitor, mode), last, *stopping]

    def after_fit(self) -> None:
        """Evaluate the best checkpoint on every rated split; without checkpoints, the weights at the end."""
        trainer = cast(Any, self.trainer)
        if trainer.fast_dev_run:
            return
        own = [one for one in trainer.checkpoint_callbacks if isinstance(one, BestCheckpoint)]  # best, else last
        path = own[0].best_model_path if own else ""
        if path and any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):
            load_weights(self.model, path)  # Lightning would load those that were trained, not their average
            path = ""
        trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path or None, verbose=False)
        if trainer.is_global_zero and trainer.checkpoint_callbacks:
            print(next_command(self.folder), flush=True)


_HELP = {
    "objectives": "Terms of the loss by name; null drops one.",
    "monitor": "Logged metric that picks the best checkpoint and stops early; null keeps the last epoch.",
    "patience": "Epochs to wait for a better monitor; null trains to the end.",
    "checkpoint_every_n_steps": "Optimiser steps after which last.ckpt is written within an epoch too; null: never.",
    "unit": "What varies as one piece in the intervals; null is clips, and systems at system level.",
    "name": "Name of the run folder under trainer.default_root_dir; null takes the config's.",
    "variant": "Config file over those of --config, wherever it stands; what it says of objectives takes their place.",
    "refit": "Whether a cross-validation ends with a training on all clips, which the run folder then stands for.",
    "ensemble": "Whether a run folder given as --ckpt_path stands for the mean of the models of its folds.",
    "init_from": "Checkpoint or run folder to start from, weights alone.",
    "time_limit": "Time for Portfolio's encoders, in s or such as 10m: the cheapest that fit are taken.",
    "vars": "Values of your own, to refer to as ${vars.name}.",
}


def _never(folder: Path) -> bool:
    return False


def main(args: Sequence[str]) -> int:
    """Run fit, validate, test or predict.

    Args:
        args: Arguments, the subcommand first.

    Returns:
        Exit code: 0; 2 for a mistake in the command, the config or the data; 1 for an error that nobody foresaw; 74 for
        a full disk; 143 after SIGTERM and 130 after SIGINT.
    """
    quiet()
    with Session(args) as session:
        try:
            cli = AQACLI(args, session)
        except SystemExit as stop:
            return int(stop.code or 0)
        except Stopped as stop:
            return stopped(stop, session)
        except Exception as error:
            if is_debug():
                raise
            return fail(error, *told(error, session))
        for logger in wandb_loggers(cli.trainer.loggers):
            logger.experiment.finish()
        if cli.is_offline and cli.trainer.is_global_zero:
            print(sync_hint(cli.folder))
        barrier_and_destroy()
        return 0
