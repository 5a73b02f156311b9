"""From a sweep's command template to the words and the environment of one trial, as W&B's agent makes them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_aqa.results.files import TRIAL
from lightning_aqa.results.naming import is_seed
from lightning_aqa.sweep.config import Sweep
from lightning_aqa.sweep.trial import Trial

PROGRAM = ["-m", "lightning_aqa"]
ENVIRONMENT_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


def flags(parameters: Mapping[str, Any]) -> list[str]:
    """Write parameters as flags, ``--key=value``, to the letter as W&B's agent writes them.

    Example:
        >>> flags({"model.head": "MLP", "data.seconds": [1, 2]})
        ['--model.head=MLP', '--data.seconds=[1, 2]']
    """
    return [f"--{name}={value}" for name, value in parameters.items()]


def expand(command: Sequence[str], parameters: Mapping[str, Any], program: str = "") -> list[str]:
    """Fill in the macros of a command.

    Args:
        command: Template, such as ``["${interpreter}", "-m", "lightning_aqa", "fit", "${args}"]``.
        parameters: Values by dotted key.
        program: What ``${program}`` stands for.

    Returns:
        The words of the command.

    Raises:
        ValueError: If there is no such macro.

    Example:
        >>> expand(["python", "run.py", "${args}"], {"lr": 0.1})
        ['python', 'run.py', '--lr=0.1']
    """
    values = flags(parameters)
    macros = {
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "program": [program],
        "args": values,
        "args_no_hyphens": [flag.removeprefix("--") for flag in values],
        "args_no_equals": [word for name, value in parameters.items() for word in (f"--{name}", str(value))],
        "args_no_boolean_flags": _without_booleans(parameters),
        "args_json": [json.dumps(dict(parameters))],
    }
    words: list[str] = []
    for word in (ENVIRONMENT_VARIABLE.sub(lambda found: os.environ.get(found[1], found[1]), word) for word in command):
        if word.startswith("${") and word.endswith("}"):
            if word[2:-1] not in macros:
                raise ValueError(f"the command has {word}; this engine knows ${{{'}, ${'.join(macros)}}}.")
            words += macros[word[2:-1]]
        else:
            words.append(word)
    return words


def _without_booleans(parameters: Mapping[str, Any]) -> list[str]:
    shown = {name: value for name, value in parameters.items() if value is not False}
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in shown.items()]


def own_words(command: Sequence[str]) -> list[str] | None:
    """Return the words after ``python -m lightning_aqa``; None for any other program.

    Example:
        >>> own_words(["/usr/bin/env", "python", "-m", "lightning_aqa", "fit", "--help"])
        ['fit', '--help']
    """
    rest = list(command[1:] if command[:1] == ["/usr/bin/env"] else command)
    is_python = bool(rest) and Path(rest[0]).name.startswith("python")
    return rest[3:] if is_python and rest[1:3] == PROGRAM else None


def trial_command(sweep: Sweep, trial: Trial, checkpoint: Path | None = None) -> list[str]:
    """Make the command of a trial; our own program is told its run folder and the checkpoint to go on from."""
    command = expand(sweep.command, trial.parameters, str(sweep.text.get("program", ""))) + sweep.words
    if own_words(command) is None:
        return command
    command += [f"--trainer.default_root_dir={trial.folder.parent}", f"--name={trial.id}"]
    return [*command, f"--ckpt_path={checkpoint}"] if checkpoint else command


def typed(command: Sequence[str]) -> list[str]:
    """Return a command as one would type it anywhere: without this machine's path of Python."""
    own = own_words(command)
    return list(command) if own is None else ["python", *PROGRAM, *own]


def trial_environment(sweep: Sweep, trial: Trial) -> dict[str, str]:
    """Return what names a trial on W&B: its group is the sweep, its job type the variant, its config the parameters.

    The parameters reach the W&B config by the file that W&B's own agent would write.
    """
    path = trial.folder.parent / "parameters" / f"{trial.id}.yaml"
    write_parameters(path, trial.parameters)
    return {
        "WANDB_RUN_ID": trial.id,
        "WANDB_NAME": " ".join([trial.variant, *_seeds(trial.parameters)]),
        "WANDB_RUN_GROUP": sweep.name,
        "WANDB_JOB_TYPE": trial.variant[:64],  # the longest that W&B takes
        "WANDB_TAGS": ",".join(["sweep", sweep.name]),
        "WANDB_SWEEP_PARAM_PATH": str(path.resolve()),
        "LIGHTNING_AQA_TRIAL": str((trial.folder / TRIAL).resolve()),
    }


def write_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    """Write parameters as W&B's agent does for the run that it starts."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    text = {"wandb_version": 1, **{name: {"value": value} for name, value in parameters.items()}}
    path.write_text(yaml.safe_dump(text), encoding="utf-8")


def _seeds(parameters: Mapping[str, Any]) -> list[str]:
    return [f"seed {value}" for name, value in parameters.items() if is_seed(name)]
