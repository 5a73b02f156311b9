"""``lightning-aqa experiments``: those that come with the package, listed, copied, and found by any command."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from lightning_aqa.cli.signatures import call
from lightning_aqa.utils.args import CONFIG_FLAGS, find_options, split_extra

FOLDER = "experiments"
SHIPPED = Path(__file__).parent / "shipped"
"""Holds the folder in an installed package; pyproject.toml puts the repository's there."""
CLONE = Path(__file__).parents[2]


def root() -> Path:
    """Return the folder that holds ``experiments``: the package's, or this clone's."""
    return SHIPPED if (SHIPPED / FOLDER).is_dir() else CLONE


def located(path: str) -> str:
    """Return where a config is: the path itself, or the package's copy of an experiment that is not below this folder.

    Args:
        path: Path as it was given, such as ``experiments/quickstart.yaml``.
    """
    if Path(path).parts[:1] != (FOLDER,) or Path(path).exists() or not (root() / path).is_file():
        return path
    if "LOCAL_RANK" not in os.environ:  # of several processes the first one says so
        sys.stderr.write(f"{path} is read from {root() / path}\n")
    return str(root() / path)


def with_shipped_configs(args: Sequence[str], switches: Collection[str] = ()) -> list[str]:
    """Put the package's copy in for experiments that are named by an argument of their own, or as a config file.

    Args:
        args: Arguments of a command; those after ``--`` stay.
        switches: Options that take no value, so that what follows one is an argument of its own.
    """
    own, _ = split_extra(args)
    result = list(args)
    for option in find_options(own, CONFIG_FLAGS):
        joined = f"{option.flag}=" if option.stop == option.start + 1 else ""
        result[option.stop - 1] = joined + (located(option.value) if option.value else "")
    for index in range(len(own)):
        before = own[index - 1] if index else ""
        if not before.startswith("--") or "=" in before or before in switches:
            result[index] = located(result[index])
    return result


def experiments(*, copy: str | None = None, to: str = ".") -> int:
    """List the experiments that come with the package, or copy them to change them.

    Every command finds them by these names from any folder, unless the folder has files of the same names.

    Args:
        copy: Experiment to copy, such as experiments/quickstart.yaml, or a folder of them; experiments copies all.
        to: Folder to copy to; a file that is there is never overwritten.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If there is no such experiment, or a file would be overwritten.
    """
    if copy is None:
        for name in _names():
            print(f"{name}  {_title(root() / name)}")
        return 0
    if not copy:
        raise ValueError("--copy needs the name of an experiment; `lightning-aqa experiments` lists them.")
    if Path(to).exists() and not Path(to).is_dir():
        raise ValueError(f"--to={to} is a file; give a folder to copy to.")
    chosen = [name for name in _names() if Path(name) == Path(copy) or Path(copy) in Path(name).parents]
    if not chosen:
        raise ValueError(f"--copy={copy}: no such experiment; `lightning-aqa experiments` lists them.")
    there = [name for name in chosen if (Path(to) / name).exists()]
    if there:
        raise ValueError(f"{Path(to) / there[0]} is there already; --to=FOLDER names another folder.")
    for name in chosen:
        target = Path(to) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root() / name, target)
        print(target)
    return 0


def _names() -> list[str]:
    """List the files by their paths from the folder that holds ``experiments``; folders of one kind stay together."""
    return sorted(path.relative_to(root()).as_posix() for path in (root() / FOLDER).rglob("*.yaml"))


def _title(path: Path) -> str:
    """Return the first line of comment of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(experiments, args)
