"""Choice of the folder of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

from jsonargparse import Namespace

from lightning_aqa.results.files import CONFIG, LOCK, PREDICTIONS, REFIT, RESULTS, TRIAL, TRIAL_LOG
from lightning_aqa.utils.args import CONFIG_FLAGS, find_options
from lightning_aqa.utils.lock import NO_LOCKS, LockedError, locked

DEFAULT_ROOT = "runs"

SWEEP_FOLDER = "LIGHTNING_AQA_SWEEP"
"""Environment variable with the sweep folder, for trials that W&B's agent starts; they go by their W&B id."""

Take = Callable[[Path], bool]
"""Makes a folder this process's own; False where another one that is alive has it."""


def no_claim(folder: Path) -> bool:
    """Leave a folder to the first of the processes that run together."""
    return True


def claim_in(held: ExitStack) -> Take:
    """Return what makes folders and locks them until ``held`` is closed; one that is empty then is removed."""

    def take(folder: Path) -> bool:
        is_new = not folder.exists()
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with ExitStack() as lock:
                    lock.callback(_remove_if_empty, folder)
                    lock.enter_context(locked(folder / LOCK))
                    held.push(lock.pop_all())
                return True
            except FileNotFoundError:  # another process has just removed it, being empty
                continue
            except LockedError:
                return False
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                # Who makes a folder has it, by the file of the lock that stays there; a sweep makes that of its trial.
                return is_new or _holds_a_run(folder) or (folder / TRIAL).exists()

    return take


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def choose_run_folder(
    settings: Namespace,
    subcommand: str,
    config_stem: str,
    is_unfinished: Callable[[Path], bool],
    take: Take = no_claim,
) -> Path:
    """Return ``<trainer.default_root_dir>/<name>``, numbered where another run has that name.

    A run that resumes from a checkpoint of a run folder goes on in that folder, and so does one that finds its own
    unfinished work there.

    Args:
        settings: The config of the subcommand.
        subcommand: Name of the subcommand.
        config_stem: Name of the first config file; empty without one.
        is_unfinished: Tells whether a folder holds work that this command would go on with.
        take: Makes the folder this process's own.

    Raises:
        ValueError: If a run is alive in the folder to go on in, or in that of the name that is asked for.
    """
    checkpoint = settings.get("ckpt_path")
    if subcommand == "fit" and checkpoint:
        folder = Path(checkpoint).resolve().parent.parent
        if (folder / CONFIG).exists():
            if not take(folder):
                raise ValueError(f"--ckpt_path={checkpoint}: {_IS_ALIVE.format(folder)}, or end that one first.")
            return folder
    folder = first_choice(settings, subcommand, config_stem)
    if settings.name and folder.name == settings.name and _is_alive(folder, take):
        raise ValueError(f"--name={settings.name}: {_IS_ALIVE.format(folder)}, or give another --name.")
    return free_folder(folder, is_unfinished, take)


def first_choice(settings: Namespace, subcommand: str, config_stem: str) -> Path:
    """Return the folder that a run takes where no other run has it; see ``choose_run_folder``."""
    if os.environ.get(SWEEP_FOLDER) and os.environ.get("WANDB_RUN_ID"):
        return Path(os.environ[SWEEP_FOLDER]) / os.environ["WANDB_RUN_ID"]
    root = Path(settings.trainer.default_root_dir or DEFAULT_ROOT)
    return root / (settings.name or _name(settings, subcommand, config_stem))


def candidates(folder: Path) -> Iterator[Path]:
    """Yield folder, folder-2, folder-3, ... without end."""
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in count(2))


_IS_ALIVE = "a run is going on in {} right now; wait until it has ended"


def _is_alive(folder: Path, take: Take) -> bool:
    """Tell whether a process holds a folder."""
    if take is no_claim or not folder.exists():
        return False
    with ExitStack() as look:
        return not claim_in(look)(folder)


def has_results(folder: Path) -> bool:
    """Tell whether a run has ended with its results whole; they are written after all else."""
    try:
        json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (folder / PREDICTIONS).is_file()


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
    return f"{run_of(checkpoint).name if checkpoint else stem}-{subcommand}"


def run_of(checkpoint: str | Path) -> Path:
    """Return the run folder that a checkpoint belongs to; that of the refit is inside a cross-validation's.

    Example:
        >>> run_of("/runs/own/refit/checkpoints/last.ckpt").name, run_of("/runs/quickstart/checkpoints/best.ckpt").name
        ('own', 'quickstart')
    """
    path = Path(checkpoint).resolve()
    run = path if path.is_dir() else path.parent.parent
    return run.parent if run.name == REFIT else run


def free_folder(folder: Path, is_unfinished: Callable[[Path], bool], take: Take = no_claim) -> Path:
    """Return the first of folder, folder-2, folder-3, ... that holds no run, or one to go on with, and take it.

    Of processes that look at the same time, each takes another one.

    Args:
        folder: The first choice.
        is_unfinished: Tells whether a folder holds work to go on with.
        take: Makes a folder this process's own.
    """

    def is_free(candidate: Path) -> bool:
        return not _holds_a_run(candidate) or is_unfinished(candidate)

    return next(one for one in candidates(folder) if is_free(one) and take(one) and is_free(one))


def _holds_a_run(folder: Path) -> bool:
    own = (TRIAL, TRIAL_LOG, LOCK)
    return folder.exists() and any(path.name not in own for path in folder.iterdir())
