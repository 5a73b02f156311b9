"""Choice of the folder of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from jsonargparse import Namespace

from lightning_aqa.results.files import CONFIG, TRIAL, TRIAL_LOG
from lightning_aqa.utils.args import CONFIG_FLAGS, find_options

DEFAULT_ROOT = "runs"

SWEEP_FOLDER = "LIGHTNING_AQA_SWEEP"
"""Environment variable with the sweep folder, for trials that W&B's agent starts; they go by their W&B id."""


def choose_run_folder(
    settings: Namespace, subcommand: str, config_stem: str, is_unfinished: Callable[[Path], bool]
) -> Path:
    """Return ``<trainer.default_root_dir>/<name>``, numbered where an earlier run has that name.

    A run that resumes from a checkpoint of a run folder goes on in that folder, and so does one that finds its own
    unfinished work there.

    Args:
        settings: The config of the subcommand.
        subcommand: Name of the subcommand.
        config_stem: Name of the first config file; empty without one.
        is_unfinished: Tells whether a folder holds work that this command would go on with.
    """
    checkpoint = settings.get("ckpt_path")
    if subcommand == "fit" and checkpoint:
        folder = Path(checkpoint).resolve().parent.parent
        if (folder / CONFIG).exists():
            return folder
    if os.environ.get(SWEEP_FOLDER) and os.environ.get("WANDB_RUN_ID"):
        return free_folder(Path(os.environ[SWEEP_FOLDER]) / os.environ["WANDB_RUN_ID"], is_unfinished)
    root = Path(settings.trainer.default_root_dir or DEFAULT_ROOT)
    name = settings.name or _name(settings, subcommand, config_stem)
    return free_folder(root / name, is_unfinished)


def config_stem(args: Sequence[str]) -> str:
    """Name the first config file among arguments; one in a folder of ``experiments`` has that folder in its name.

    Example:
        >>> config_stem(["fit", "--config", "experiments/musiceval/baseline.yaml", "--config=more.yaml"])
        'musiceval-baseline'
    """
    configs = find_options(args, CONFIG_FLAGS)
    if not configs:
        return ""
    path = Path(configs[0].value)
    return f"{path.parent.name}-{path.stem}" if path.parent.parent.name == "experiments" else path.stem


def _name(settings: Namespace, subcommand: str, config_stem: str) -> str:
    """Name a run after its config file, or after its data; an evaluation also after its subcommand."""
    stem = config_stem or settings.data.class_path.rsplit(".", 1)[-1].lower()
    if subcommand == "fit":
        return stem
    checkpoint = settings.get("ckpt_path")
    source = Path(checkpoint).resolve().parent.parent.name if checkpoint else stem
    return f"{source}-{subcommand}"


def free_folder(folder: Path, is_unfinished: Callable[[Path], bool]) -> Path:
    """Return the first of folder, folder-2, folder-3, ... that holds no run, or one to go on with."""
    candidate, number = folder, 1
    while _holds_a_run(candidate) and not is_unfinished(candidate):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _holds_a_run(folder: Path) -> bool:
    own = (TRIAL, TRIAL_LOG)
    return folder.exists() and any(path.name not in own for path in folder.iterdir())
