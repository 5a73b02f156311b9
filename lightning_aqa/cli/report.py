"""The verb ``report``: one page and the tables of a run, of several, or of a sweep."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_aqa.cli.subcommands import VERBS
from lightning_aqa.metrics.resampling import UNITS
from lightning_aqa.report.build import build_report
from lightning_aqa.report.clip_browser import InlinedAudio
from lightning_aqa.report.context import Options


def main(words: Sequence[str] | None = None) -> int:
    """Write the report and say where it is.

    Args:
        words: Command-line words from ``report`` on; None takes those of the process.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If the runs, or an option, are wrong.
    """
    given = _parser().parse_args((list(words) if words is not None else sys.argv[1:])[1:])
    for name in ("clips", "seconds", "megabytes", "resamples", "detailed"):
        least = {"resamples": 100, "detailed": 1}.get(name, 0)
        if getattr(given, name) < least:
            raise ValueError(f"--{name} must be at least {least}, got {getattr(given, name):g}.")
    if given.audio_root is not None and not given.audio_root.is_dir():
        raise ValueError(f"--audio_root={given.audio_root}: no such folder.")
    output = given.output or given.paths[0] / "report"
    options = Options(
        split=given.split,
        baseline=given.baseline,
        detailed=given.detailed,
        unit=given.unit,
        num_resamples=given.resamples,
        audio_root=given.audio_root,
        inlined_audio=InlinedAudio(given.clips, given.seconds, given.megabytes),
        title=given.title,
    )
    for path in build_report(given.paths, output, options):
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m lightning_aqa report", description=VERBS["report"].help, allow_abbrev=False
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="RUN_OR_SWEEP", help="Run folders, and folders of run folders.")
    add("--output", type=Path, help="Folder to write to; the default is the folder report in the first one named.")
    add("--split", help="Split to report; the default is test, else dev.")
    add("--baseline", help="Variant that the others are compared with; the default is the first.")
    add("--title", help="Title of the page; the default is the names of the folders.")
    add("--unit", choices=UNITS, help="What the bootstrap draws as one piece; clips, and systems at system level.")
    add("--resamples", type=int, default=2000, help="Resamples of the bootstrap (2000).")
    add("--detailed", type=int, default=6, help="Variants to show clip by clip: the best, the baseline, the next (6).")
    add("--clips", type=int, default=40, help="Clips whose sound is put into the page (40).")
    add("--seconds", type=float, default=10.0, help="Longest piece of such a clip, in seconds (10).")
    add("--megabytes", type=float, default=8.0, help="Most that all of it may take, in MB (8).")
    add("--audio_root", type=Path, help="Folder to look for audio in, by the ids of clips, where a run knows of none.")
    return parser
