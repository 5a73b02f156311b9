"""The verbs beside Lightning's fit, validate, test and predict: each a module, imported when its verb is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Verb(NamedTuple):
    """A verb of the command line.

    Args:
        module: Dotted path of the module; its ``main(words)`` takes the words from the verb on, returns the exit code.
        help: What ``--help`` says of it.
    """

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "cache": Verb("lightning_aqa.cli.cache", "Compute a frozen encoder's features, check them, or clear them up."),
    "doctor": Verb(
        "lightning_aqa.cli.doctor", "Show which packages, devices, audio formats, weights and data are here."
    ),
    "report": Verb("lightning_aqa.cli.report", "Write a page and tables of runs or a sweep: what is sure and wrong."),
    "score": Verb("lightning_aqa.cli.score", "Score any amount of audio by a trained model, into one table."),
    "sweep": Verb("lightning_aqa.cli.sweep", "Run an ablation: the trials of a W&B sweep file, with or without W&B."),
    "wandb-report": Verb("lightning_aqa.cli.wandb_report", "Write a sweep's W&B report, or say what it would hold."),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        args: Command-line words from the verb on; None takes those of the process.

    Returns:
        Exit code: 2 for a mistake in the command or the data, which is told in one line; otherwise the verb's own.
    """
    words = list(args) if args is not None else sys.argv[1:]
    try:
        return int(importlib.import_module(VERBS[words[0]].module).main(words))
    except SystemExit as stop:
        return int(stop.code or 0)
    except (ValueError, OSError) as error:
        if os.environ.get("LIGHTNING_AQA_DEBUG"):
            raise
        sys.stderr.write(f"error: {error}\n")
        return 2
