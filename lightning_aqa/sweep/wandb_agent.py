"""Run a sweep by W&B: its server hands out the trials, agents on this machine run them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.results.files import SWEEP, TRIAL
from lightning_aqa.results.run_folder import SWEEP_FOLDER, has_results
from lightning_aqa.results.side_files import if_whole, read_sweep_record
from lightning_aqa.sweep.config import Sweep, varying
from lightning_aqa.sweep.parameters import Parameter, read_parameter
from lightning_aqa.sweep.trial import Trial, read_trials, variant_name
from lightning_aqa.sweep.trial_command import wandb_names
from lightning_aqa.utils.documents import read_yaml
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.wandb import has_wandb_key

PROJECT = "lightning_aqa"
"""Project of a sweep whose file names none, as in the experiments."""


def run_by_wandb(sweep: Sweep, folder: Path, *, workers: int, count: int | None) -> None:
    """Create the sweep on the server, unless this folder has one already, run agents until it is done.

    Args:
        sweep: The sweep.
        folder: Its folder; the runs are written there under their W&B ids.
        workers: How many agents.
        count: How many trials all agents run together; None for as many as the server hands out.

    Raises:
        ValueError: If there is no API key.
    """
    if not has_wandb_key() or os.environ.get("WANDB_MODE") == "offline":
        raise ValueError(
            "--engine wandb needs W&B's server, and there is no API key here (or WANDB_MODE is offline): run "
            "`wandb login` or set WANDB_API_KEY; --engine local runs the same file without a server."
        )
    limit = [] if count is None else ["--count", str(math.ceil(count / workers))]
    command = [sys.executable, "-m", "wandb", "agent", *limit, _address(sweep, folder)]
    agents = [subprocess.Popen(command, env=_environment(sweep, folder)) for _ in range(workers)]
    try:
        for agent in agents:
            agent.wait()
    finally:
        for agent in agents:
            agent.terminate()
            agent.wait()
        adopt(sweep, folder)


def _environment(sweep: Sweep, folder: Path) -> dict[str, str]:
    """Name the sweep's folder, group and tags to the runs of an agent, whose ``python`` is to be this one."""
    folders = {SWEEP_FOLDER: str(folder.resolve()), "WANDB_DIR": str(folder.resolve())}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {
        **os.environ,
        **folders,
        "PATH": path,
        "WANDB_RUN_GROUP": sweep.name,
        "WANDB_TAGS": ",".join(["sweep", sweep.name]),
    }


def _address(sweep: Sweep, folder: Path) -> str:
    """Return entity/project/id of the sweep on the server; one that was created for this folder is reused."""
    import wandb

    record = read_sweep_record(folder / SWEEP)
    if "wandb" not in record:
        project = sweep.text.get("project") or PROJECT
        name = wandb.sweep(to_wandb(sweep), entity=sweep.text.get("entity"), project=project)
        entity = os.environ.get("WANDB_ENTITY") or sweep.text.get("entity")
        record["wandb"] = "/".join([part for part in (entity, project, name) if part])
        with replacing(folder / SWEEP) as file:
            file.write(json.dumps(record, indent=1) + "\n")
    return str(record["wandb"])


class Address(NamedTuple):
    """Place of a sweep's runs on W&B.

    Args:
        entity: User or team; None is the user's own.
        project: Project.
    """

    entity: str | None
    project: str


def sweep_address(folder: Path) -> Address:
    """Return where the runs of a sweep folder are, by the record that it has of a sweep on the server."""
    *where, _ = str(read_sweep_record(folder / SWEEP).get("wandb", "")).split("/")
    return Address(where[0] if len(where) > 1 else None, where[-1] if where else PROJECT)


def to_wandb(sweep: Sweep) -> dict[str, Any]:
    """Return the sweep as the server takes it: the file, with the name, base and arguments that were asked for."""
    return {**sweep.text, "name": sweep.name, "command": [*sweep.command, *sweep.extra_args]}


def name_trial() -> None:
    """Name to W&B the run that its agent has started: the variant and the seed, which the agent does not know."""
    folder, path = os.environ.get(SWEEP_FOLDER), os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not folder or not path:
        return
    given = (if_whole(Path(folder) / SWEEP, read_sweep_record) or {}).get("parameters")
    if not isinstance(given, dict):
        return
    parameters = [read_parameter(str(key), value) for key, value in given.items()]
    row = _row(Path(path), parameters)
    for name, value in wandb_names(variant_name(row, varying(parameters)), row).items():
        os.environ.setdefault(name, value)


def _row(path: Path, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Read the parameters of a trial from the file that W&B's agent leaves for its run."""
    text = read_yaml(path) or {}
    return {parameter.name: text[parameter.name]["value"] for parameter in parameters if parameter.name in text}


def adopt(sweep: Sweep, folder: Path) -> None:
    """Write the records of the trials that agents ran, from the parameters that the agents left for them."""
    known = {trial.id for trial in read_trials(folder)}
    for number, path in enumerate(sorted(folder.glob("wandb/sweep-*/config-*.yaml"))):
        name, row = path.stem.removeprefix("config-"), _row(path, sweep.parameters)
        run, variant = folder / name, variant_name(row, sweep.varying)
        state = "finished" if has_results(run) else "failed"
        if name not in known or not (run / TRIAL).exists():
            Trial(run, name, sweep.name, number, row, variant, state).write()
