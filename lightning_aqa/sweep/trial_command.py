"""From a sweep's command template to the arguments and the environment of one trial, as W&B's agent makes them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.results.files import TRIAL
from lightning_aqa.results.naming import is_seed
from lightning_aqa.sweep.config import Sweep
from lightning_aqa.sweep.trial import OWN, Trial

PROGRAM, SCRIPT = OWN[1:], "lightning-aqa"
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
        The command.

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
        "args_no_equals": [arg for name, value in parameters.items() for arg in (f"--{name}", str(value))],
        "args_no_boolean_flags": _without_booleans(parameters),
        "args_json": [json.dumps(dict(parameters))],
    }
    expanded: list[str] = []
    for part in (ENVIRONMENT_VARIABLE.sub(lambda found: os.environ.get(found[1], found[1]), part) for part in command):
        if part.startswith("${") and part.endswith("}"):
            if part[2:-1] not in macros:
                raise ValueError(f"the command has {part}; this engine knows ${{{'}, ${'.join(macros)}}}.")
            expanded += macros[part[2:-1]]
        else:
            expanded.append(part)
    return expanded


def _without_booleans(parameters: Mapping[str, Any]) -> list[str]:
    shown = {name: value for name, value in parameters.items() if value is not False}
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in shown.items()]


class TrialCommand(NamedTuple):
    """The command of a trial.

    Args:
        args: Arguments of our own program, or the whole command of another one.
        is_own: Whether they are those of our own program, which runs as a fork of this one.
    """

    args: list[str]
    is_own: bool

    @property
    def portable(self) -> list[str]:
        """The command as one would type it anywhere, for the record: without this machine's path of Python."""
        return [*OWN, *self.args] if self.is_own else self.args

    @property
    def executable(self) -> list[str]:
        """The command as a process of this machine."""
        return [sys.executable, *PROGRAM, *self.args] if self.is_own else self.args


def read_command(command: Sequence[str]) -> TrialCommand:
    """Recognise our own program, ``python -m lightning_aqa`` or ``lightning-aqa``, in a command.

    Example:
        >>> read_command(["/usr/bin/env", "python", "-m", "lightning_aqa", "fit", "--help"])
        TrialCommand(args=['fit', '--help'], is_own=True)
        >>> read_command(["make", "demo"])
        TrialCommand(args=['make', 'demo'], is_own=False)
    """
    rest = list(command[1:] if command[:1] == ["/usr/bin/env"] else command)
    program = Path(rest[0]).name if rest else ""
    if program.startswith("python") and rest[1:3] == PROGRAM:
        return TrialCommand(rest[3:], is_own=True)
    if program == SCRIPT:
        return TrialCommand(rest[1:], is_own=True)
    return TrialCommand(list(command), is_own=False)


def trial_command(sweep: Sweep, trial: Trial, checkpoint: Path | None = None) -> TrialCommand:
    """Make the command of a trial; our own program gets its run folder and the checkpoint to resume from."""
    program = str(sweep.text.get("program", ""))
    command = read_command([*expand(sweep.command, trial.parameters, program), *sweep.extra_args])
    if not command.is_own:
        return command
    args = [*command.args, f"--trainer.default_root_dir={trial.folder.parent}", f"--name={trial.id}"]
    return command._replace(args=[*args, f"--ckpt_path={checkpoint}"] if checkpoint else args)


def trial_environment(sweep: Sweep, trial: Trial) -> dict[str, str]:
    """Return what names a trial on W&B: its group is the sweep, its job type the variant, its config the parameters.

    The parameters reach the W&B config by the file that W&B's own agent would write.
    """
    path = trial.folder.parent / "parameters" / f"{trial.id}.yaml"
    write_parameters(path, trial.parameters)
    return {
        "WANDB_RUN_ID": trial.id,
        "WANDB_RUN_GROUP": sweep.name,
        **wandb_names(trial.variant, trial.parameters),
        "WANDB_TAGS": ",".join(["sweep", sweep.name]),
        "WANDB_SWEEP_PARAM_PATH": str(path.resolve()),
        "LIGHTNING_AQA_TRIAL": str((trial.folder / TRIAL).resolve()),
    }


def wandb_names(variant: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables by which W&B shows a trial as its variant and its seed.

    Example:
        >>> wandb_names("plain", {"seed_everything": 0})
        {'WANDB_NAME': 'plain seed 0', 'WANDB_JOB_TYPE': 'plain'}
    """
    longest = 64  # that W&B takes
    return {"WANDB_NAME": " ".join([variant, *_seeds(parameters)]), "WANDB_JOB_TYPE": variant[:longest]}


def write_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    """Write parameters as W&B's agent does for the run that it starts."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    text = {"wandb_version": 1, **{name: {"value": value} for name, value in parameters.items()}}
    path.write_text(yaml.safe_dump(text), encoding="utf-8")


def _seeds(parameters: Mapping[str, Any]) -> list[str]:
    return [f"seed {value}" for name, value in parameters.items() if is_seed(name)]
