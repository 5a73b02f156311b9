"""One page of help for fit, validate, test and predict: the options that most people set; ``--help=all`` has all."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from lightning_aqa.cli.private_api import options_of
from lightning_aqa.cli.subcommands import TRAINING
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.table import Table
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.heads.base import Head
from lightning_aqa.objectives.base import Objective
from lightning_aqa.utils.components import parts_of

ALL = "--help=all"
WIDTH = 120
USUAL: Mapping[str, tuple[str, ...]] = {
    "run": ("config", "ckpt_path", "init_from", "name", "seed_everything", "variant", "evaluation.unit",
            "refit", "ensemble"),
    "data": ("data",),
    "model": ("model.encoder", "model.head", "model.optimizer", "model.scheduler", "model.freeze", "model.layers"),
    "objectives": ("objectives", "monitor", "patience"),
    "trainer": (
        "trainer.max_epochs", "trainer.max_time", "trainer.accelerator", "trainer.devices", "trainer.precision",
        "trainer.logger", "trainer.callbacks", "trainer.default_root_dir", "trainer.gradient_clip_val",
        "trainer.accumulate_grad_batches", "trainer.check_val_every_n_epoch", "trainer.fast_dev_run",
        "checkpoint_every_n_steps",
    ),
}  # fmt: skip
"""Options of the page, by group; those that a subcommand does not have are left out of it."""
USUAL_DATA = (
    "path", "audio_root", "axes", "columns", "folds", "fold", "split_by", "fractions", "batch_size", "num_workers",
    "window_seconds", "cache", "on_bad_clip", "targets",
)  # fmt: skip
"""Options of ``Table`` on the page; the other corpora share most of them."""
TEXTS: Mapping[str, str] = {
    "ckpt_path": "Run folder or checkpoint to go on from, or to evaluate",
    "data": "The corpus",
    "seed_everything": "Seed of weights and order",
    "trainer.accelerator": "cpu, gpu, mps or auto",
    "trainer.default_root_dir": "Folder of the run folders",
    "trainer.fast_dev_run": "true runs one batch of everything and writes nothing",
    "trainer.logger": "CSVLogger, TensorBoardLogger, MLFlowLogger, WandbLogger or false (docs/loggers.md)",
    "trainer.precision": "32-true, 16-mixed, bf16-mixed or 64-true",
}
"""Where the text of Lightning says another thing first, or nothing."""
PARTS: Mapping[str, tuple[str, type]] = {
    "data": ("data", AQADataModule),
    "model.encoder": ("encoders", Encoder),
    "model.head": ("heads", Head),
    "objectives": ("objectives", Objective),
}
"""Options that name a part: its package and its kind."""


def wants_page(args: Sequence[str]) -> bool:
    """Tell whether the arguments ask for the page of usual options."""
    return bool({"-h", "--help"} & set(args))


def with_all_options(args: Sequence[str]) -> list[str]:
    """Put the parser's own ``--help``, which lists all options, for ``--help=all``."""
    return ["--help" if arg == ALL else arg for arg in args]


def help_page(subcommand: str, parser: ArgumentParser) -> str:
    """Write the page of a subcommand from its parser.

    Args:
        subcommand: Such as ``fit``.
        parser: The parser of the subcommand, from which names, texts and defaults come.
    """
    found = options_of(parser)
    lines = [f"usage: lightning-aqa {subcommand} [--config FILE.yaml] [--OPTION=VALUE ...]", "", TRAINING[subcommand]]
    for group, names in USUAL.items():
        shown = [(name, found[f"--{name}"]) for name in names if f"--{name}" in found]
        if shown:
            lines += ["", f"{group}:", *(line for name, action in shown for line in _option(name, action))]
        if group == "data":
            lines += _table_lines()
    ways = f"All options: {ALL}. Those of a part: --data.help=Table, --model.head.help=MLP, --objectives.help=QAMRO."
    lines += ["", ways, "The config that a command stands for: --print_config. Configs that come with the package: "
              "lightning-aqa experiments."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _option(name: str, action: argparse.Action) -> Iterator[str]:
    """Yield the line of an option and, where it names a part, the classes there are."""
    if name not in PARTS:
        yield _line(f"--{name}", action, TEXTS.get(name, ""))
        return
    package, kind = PARTS[name]
    flag = "--objectives.NAME=CLASS" if name == "objectives" else f"--{name}=CLASS"
    yield _line(flag, action, TEXTS.get(name, ""))
    row = "     "
    for part in parts_of(package, kind):
        if len(row) + len(part.__name__) + 1 > WIDTH:
            yield row
            row = "     "
        row += f" {part.__name__}"
    yield row


def _table_lines() -> list[str]:
    """Return the usual options of a table of ratings, from its signature and docstring."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Table, "data")
    found = options_of(parser)
    return ["  of --data=Table, and most of them of every corpus:", *(
        _line(f"--data.{name}", found[f"--data.{name}"]) for name in USUAL_DATA if f"--data.{name}" in found
    )]  # fmt: skip


def _line(flag: str, action: argparse.Action, words: str = "") -> str:
    """Lay out an option in one line: its flag, the first sentence of its text, its default if that is short."""
    text = " ".join((words or str(action.help)).split())
    text = text.replace("`", "") if words else re.split(r"(?<=[.;])\s|\s\(type", text.replace("`", ""), maxsplit=1)[0]
    sentence = text.rstrip(".;: ")
    default = "" if action.default in (None, argparse.SUPPRESS) else f" [{_short(action.default)}]"
    default = default if len(default) <= 34 else ""
    room = WIDTH - 38 - len(default)
    sentence = sentence if len(sentence) <= room else sentence[: room - 1].rsplit(" ", 1)[0] + "\u2026"
    return f"  {flag:<35} {sentence}{default}"


def _short(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
