"""``run.json``: the facts of a run, so that no reader has to know its corpus or to guess from its config."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis
from lightning_aqa.results.files import RUN
from lightning_aqa.results.side_files import if_whole
from lightning_aqa.utils.documents import read_json
from lightning_aqa.utils.files import replacing

FORMAT = 1
PACKAGES = ("lightning_aqa", "torch", "lightning", "torchaudio", "torchmetrics", "transformers", "numpy", "scipy")


def write_facts(
    folder: Path,
    *,
    subcommand: str,
    command: Sequence[str],
    axes: Sequence[Axis],
    corpus: str,
    is_simulated: bool,
    encoder: Mapping[str, Any],
    targets: str = "mean",
) -> None:
    """Write ``run.json``, beside what is found out here: versions, the git commit of the working folder, the date.

    Args:
        folder: The run folder.
        subcommand: Such as ``fit``.
        command: Arguments of the command line.
        axes: Axes that the model predicts, with titles and scales.
        corpus: Class of the data.
        is_simulated: Whether its audio is synthesised and its scores are simulated.
        encoder: Class, settings and hash of the weights.
        targets: What the scores of clips are: ``mean`` or ``recovered``.
    """
    facts = {
        "format": FORMAT,
        "subcommand": subcommand,
        "command": list(command),
        "axes": [axis._asdict() for axis in axes],
        "corpus": corpus,
        "is_simulated": is_simulated,
        "targets": targets,
        "encoder": dict(encoder),
        "versions": {"python": platform.python_version(), **_versions()},
        "git_commit": _git_commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    with replacing(folder / RUN) as file:
        file.write(json.dumps(facts, indent=1, default=str) + "\n")


def add_fact(folder: Path, name: str, value: Any) -> None:
    """Add to ``run.json`` what is known only later; a run without one stays without.

    Args:
        folder: The run folder.
        name: Name of the fact.
        value: What JSON can hold.
    """
    facts = read_facts(folder)
    if facts:
        with replacing(folder / RUN) as file:
            file.write(json.dumps({**facts, name: value}, indent=1) + "\n")


def read_facts(folder: Path) -> dict[str, Any]:
    """Read ``run.json``; empty for a run of an earlier version, or where the file is damaged, which is said."""
    return if_whole(folder / RUN, _read) or {}


def _read(path: Path) -> dict[str, Any]:
    facts = read_json(path)
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: not the facts of a run.")
    return facts


def axes_of_run(facts: Mapping[str, Any]) -> list[Axis]:
    """Return the axes of a run with titles and scales; none where ``run.json`` does not have them.

    Example:
        >>> axes_of_run({"axes": [{"name": "MI", "title": "Musical impression", "low": 1, "high": 5}]})
        [Axis(name='MI', title='Musical impression', low=1.0, high=5.0)]
    """
    try:
        rows = [(a["name"], a["title"], float(a["low"]), float(a["high"])) for a in facts["axes"]]
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return []
    are_whole = all(isinstance(text, str) for row in rows for text in row[:2])
    if not are_whole or not all(-math.inf < low < high < math.inf for *_, low, high in rows):
        return []
    return [Axis(*row) for row in rows]


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """Return the commit of the working folder; None where it is in no repository, or git is not there."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
