"""The one table of subcommands: each a module, imported when it is called, and a line of help."""

from __future__ import annotations

from typing import NamedTuple


class Subcommand(NamedTuple):
    """A subcommand of the command line.

    Args:
        module: Module in ``lightning_aqa.cli``; its ``main(args)`` takes the arguments after the subcommand, returns
            the exit code.
        help: Line of ``--help``.
    """

    module: str
    help: str


TRAINING: dict[str, str] = {
    "fit": "Train a predictor, then evaluate its best epoch on every rated split.",
    "validate": "Evaluate a checkpoint on the split dev.",
    "test": "Evaluate a checkpoint on every rated split.",
    "predict": "Score the clips of a corpus or a folder by a checkpoint, into a run folder.",
}
"""Those of Lightning's Trainer, which ``lightning_aqa.cli.lightning_cli`` runs."""

SUBCOMMANDS: dict[str, Subcommand] = {
    "analyse": Subcommand("analyse", "Join ratings and predictions: means of systems, their ranks, what is sure."),
    "benchmark": Subcommand(
        "benchmark", "Set predictors side by side on corpora: a scoreboard that others can add to."
    ),
    "cache": Subcommand("cache", "Compute a frozen encoder's features, check them, or clear them up."),
    "challenge": Subcommand("challenge", "Write the answer file of a challenge, check it, and score it."),
    "check": Subcommand("check", "Check that an encoder, head, objective or corpus keeps the promises of its kind."),
    "doctor": Subcommand("doctor", "Show which packages, devices, audio formats, weights and data are here."),
    "ensemble": Subcommand("ensemble", "Make one predictor of several runs: their mean, and what it gains."),
    "experiments": Subcommand("experiments", "List the experiments that come with the package, or copy them."),
    "export": Subcommand("export", "Write a trained predictor as an ONNX file that scores as the package does."),
    "inspect": Subcommand("inspect", "Look at a table of ratings and its audio before training."),
    "listen": Subcommand("listen", "Make a listening test: one page, its answers as a table, what to ask next."),
    "plan": Subcommand("plan", "Say how many clips, systems, listeners and seeds it takes to show a difference."),
    "probe": Subcommand("probe", "Try what raises a predictor's score without quality: edits, and its gradient."),
    "publish": Subcommand("publish", "Write a trained model with all that others need to use and judge it."),
    "report": Subcommand("report", "Write a page and tables of runs or a sweep: what is sure and wrong."),
    "score": Subcommand("score", "Score any amount of audio by a trained model, into one table."),
    "serve": Subcommand("serve", "Serve a small page that scores a clip, uploaded or recorded."),
    "sweep": Subcommand("sweep", "Run an ablation: the trials of a W&B sweep file, with or without W&B."),
    "wandb-report": Subcommand("wandb_report", "Write a sweep's W&B report, or say what it would hold."),
}
"""Those of this package."""
