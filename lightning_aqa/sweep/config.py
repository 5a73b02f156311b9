"""Read a W&B sweep file: what varies, how, and the command that runs one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.sweep.parameters import Parameter, read_parameter
from lightning_aqa.utils.args import CONFIG_FLAGS, find_options
from lightning_aqa.utils.documents import read_yaml

KEYS = ("name", "description", "program", "project", "entity", "method", "metric", "parameters", "command", "run_cap")
METHODS = ("grid", "random", "bayes")
DEFAULT_COMMAND = ["${env}", "${interpreter}", "${program}", "${args}"]


class Metric(NamedTuple):
    """Metric by which the trials are compared.

    Args:
        name: Key that the runs log.
        goal: ``minimize`` or ``maximize``.
    """

    name: str
    goal: str


class Sweep(NamedTuple):
    """A sweep file.

    Args:
        name: Name of the sweep and of its folder.
        file: Path of the file.
        text: The file as W&B takes it.
        method: ``grid``, ``random`` or ``bayes``.
        metric: What is optimised; None where nothing is.
        parameters: What varies.
        command: Template of the command of a trial, with W&B's macros.
        run_cap: How many trials at most; None for no limit.
        extra_args: Arguments that every trial gets after its own.
    """

    name: str
    file: str
    text: dict[str, Any]
    method: str
    metric: Metric | None
    parameters: list[Parameter]
    command: list[str]
    run_cap: int | None
    extra_args: list[str]

    @property
    def varying(self) -> list[str]:
        """Keys of the parameters that can take several values."""
        return varying(self.parameters)


def varying(parameters: Sequence[Parameter]) -> list[str]:
    """List the keys of parameters that can take several values."""
    fixed = [p.name for p in parameters if p.kind == "constant" or len(p.fields.get("values", (1, 2))) == 1]
    return [p.name for p in parameters if p.name not in fixed]


def read_sweep(
    file: str | Path, *, base: str | None = None, name: str | None = None, extra_args: Sequence[str] = ()
) -> Sweep:
    """Read and check a sweep file.

    Args:
        file: Path of the YAML file.
        base: Config file that takes the place of the first one in the command; None keeps that.
        name: Name in place of the file's.
        extra_args: Arguments that every trial gets after its own.

    Raises:
        ValueError: If it is no sweep file, or asks for what cannot be run.
    """
    text = _load(file)
    command = [str(part) for part in text.get("command") or DEFAULT_COMMAND]
    if "${program}" in command and not text.get("program"):
        raise ValueError(f"{file}: the command has ${{program}}, and there is no program.")
    if base is not None:
        command = _with_base(command, base, file)
    given = text.get("parameters")
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{file}: parameters must name what varies, got {given!r}.")
    parameters = [read_parameter(str(key), value) for key, value in given.items()]
    return Sweep(
        _name(text, file, base, name),
        str(file),
        text,
        _method(text, file),
        _metric(text, file),
        parameters,
        command,
        _run_cap(text, file),
        list(extra_args),
    )


def _name(text: Mapping[str, Any], file: str | Path, base: str | None, name: str | None) -> str:
    known = name or str(text.get("name") or Path(file).stem)
    if base is not None and name is None:
        known = f"{known}-{Path(base).stem}"
    if "/" in known or known.startswith("."):
        raise ValueError(f"{file}: the name {known!r} makes no folder; choose one without '/' by --name.")
    return known


def _load(file: str | Path) -> dict[str, Any]:
    if not Path(file).exists():
        raise ValueError(f"{file}: no such sweep file; experiments/ablations has some.")
    text = read_yaml(file)
    if not isinstance(text, dict) or "method" not in text:
        raise ValueError(f"{file}: not a sweep file; it needs method, parameters and command, as W&B has them.")
    unknown = [key for key in text if key not in (*KEYS, "early_terminate")]
    if unknown:
        raise ValueError(f"{file}: unknown key {unknown[0]!r}; a sweep file has {', '.join(KEYS)}, early_terminate.")
    return text


def _method(text: Mapping[str, Any], file: str | Path) -> str:
    if text["method"] not in METHODS:
        raise ValueError(f"{file}: method must be one of {', '.join(METHODS)}, got {text['method']!r}.")
    if text["method"] == "bayes" and not text.get("metric"):
        raise ValueError(f"{file}: bayes needs metric: {{name: ..., goal: maximize}}.")
    return str(text["method"])


def _metric(text: Mapping[str, Any], file: str | Path) -> Metric | None:
    given = text.get("metric")
    if given is None:
        return None
    if not isinstance(given, Mapping) or not given.get("name"):
        raise ValueError(f"{file}: metric needs a name, got {given!r}.")
    goal = str(given.get("goal", "minimize"))
    if goal not in ("minimize", "maximize"):
        raise ValueError(f"{file}: metric.goal must be minimize or maximize, got {goal!r}.")
    return Metric(str(given["name"]), goal)


def _run_cap(text: Mapping[str, Any], file: str | Path) -> int | None:
    cap = text.get("run_cap")
    if cap is not None and not (isinstance(cap, int) and cap > 0):
        raise ValueError(f"{file}: run_cap must be a number of trials, got {cap!r}.")
    return cap


def _with_base(command: list[str], base: str, file: str | Path) -> list[str]:
    """Put another config file in the position of the first one."""
    configs = find_options(command, CONFIG_FLAGS)
    if not configs:
        raise ValueError(f"{file}: its command names no --config that --base={base} could take the place of.")
    first = configs[0]
    is_joined = first.stop == first.start + 1
    return [*command[: first.stop - 1], f"{first.flag}={base}" if is_joined else base, *command[first.stop :]]
