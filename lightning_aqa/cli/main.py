"""The front door of the command line: help and version at once, and the module of a subcommand where one is named."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

import lightning_aqa
from lightning_aqa.cli.experiments import with_shipped_configs
from lightning_aqa.cli.messages import is_debug, unexpected
from lightning_aqa.cli.signatures import PROGRAM, switches_of
from lightning_aqa.cli.subcommands import SUBCOMMANDS, TRAINING
from lightning_aqa.utils.files import DISK_FULL, FULL, advice_if_full
from lightning_aqa.utils.signals import exit_code
from lightning_aqa.utils.text import did_you_mean
from lightning_aqa.utils.wandb import is_wandb_error, told_by_wandb

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments, the subcommand first; None takes those of the process.

    Returns:
        Exit code: 0, or 2 for a mistake in the command, the config or the data; 74 for a full disk; 130 after Ctrl-C,
        143 after SIGTERM; 1 for an error that nobody foresaw, and as the subcommand says.
    """
    args = list(args) if args is not None else sys.argv[1:]
    try:
        return _main(args)
    except KeyboardInterrupt:
        sys.stderr.write("stopped by SIGINT; what was written before is whole, and the same command goes on.\n")
        return exit_code(signal.SIGINT)


def _main(args: Sequence[str]) -> int:
    name = args[0] if args else ""
    if name in ("-h", "--help"):
        print(_parser().format_help(), end="")
        return 0
    if name == "--version":
        print(f"{PROGRAM} {lightning_aqa.__version__}")
        return 0
    if name in SUBCOMMANDS:
        return _run(name, args[1:])
    if name in TRAINING or (name.startswith("-") and TRAINING.keys() & set(args)):  # a --config may come before it
        from lightning_aqa.cli import lightning_cli
        from lightning_aqa.cli.overrides import with_table

        try:
            args = with_table(args)
        except ValueError as error:
            sys.stderr.write(f"error: {error}\n")
            return 2
        return lightning_cli.main(with_shipped_configs(args))
    return _refuse("" if name.startswith("-") else name)


def _run(name: str, args: Sequence[str]) -> int:
    """Run a subcommand of this package, and say a mistake in one line."""
    try:
        module = importlib.import_module(f"lightning_aqa.cli.{SUBCOMMANDS[name].module}")
        switches = switches_of(getattr(module, SUBCOMMANDS[name].module))
        return int(module.main(args if name == "experiments" else with_shipped_configs(args, switches)))
    except SystemExit as stop:
        return int(stop.code or 0)
    except (ValueError, OSError) as error:
        if is_debug():
            raise
        if isinstance(error, OSError) and error.errno in FULL:
            where = (
                f"{error.strerror}: {error.filename or 'the disk'}. {advice_if_full(error)}; what was written before"
            )
            where += " is whole."
            sys.stderr.write(f"error: {where if error.strerror else error}\n")
            return DISK_FULL
        sys.stderr.write(f"error: {error}\n")
        return 2
    except Exception as error:
        if is_debug():
            raise
        is_foreseen = is_wandb_error(error)
        sys.stderr.write(f"error: {told_by_wandb(error) if is_foreseen else unexpected(error)}\n")
        return 2 if is_foreseen else 1


def _refuse(name: str) -> int:
    names = [*TRAINING, *SUBCOMMANDS]
    given = f"there is no subcommand {name!r}; it is one of" if name else "a subcommand is missing: one of"
    near = did_you_mean(name, names)
    if name.lower().endswith(TABLES):
        near = f" To look at a table: {PROGRAM} inspect {name}"
    elif not near:
        near = f" To begin: {PROGRAM} fit --config experiments/quickstart.yaml"
    sys.stderr.write(f"error: {given} {', '.join(names)}.{near}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the page of help alone."""
    parser = argparse.ArgumentParser(PROGRAM, description=lightning_aqa.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="Print the version and exit.")
    listed = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", help="--help after it says more:")
    for name, text in {**TRAINING, **{name: item.help for name, item in SUBCOMMANDS.items()}}.items():
        listed.add_parser(name, help=text.replace("%", "%%"))
    return parser
