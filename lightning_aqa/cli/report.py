"""``lightning-aqa report``: one page and the tables of a run, of several, or of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lightning_aqa.cli.signatures import call, check_at_least
from lightning_aqa.metrics.resampling import Unit


def report(
    paths: list[str],
    *,
    output: str | None = None,
    split: str | None = None,
    baseline: str | None = None,
    judge: list[str] | None = None,
    title: str | None = None,
    columns: str | None = None,
    unit: Unit | None = None,
    equivalence: float | None = None,
    resamples: int = 10_000,
    detailed: int = 6,
    clips: int = 40,
    seconds: float = 10.0,
    megabytes: float = 8.0,
    audio_root: str | None = None,
) -> int:
    """Write a page and tables of runs or a sweep: what is sure and wrong.

    Args:
        paths: Run folders, and folders of run folders.
        output: Folder to write to; the default is the folder report in the first one named.
        split: Split to report; the default is test, else dev.
        baseline: Variant that the others are compared with; the default is the first.
        judge: Scores of another tool as one more row: NAME=FILE, a table with a row per clip, or NAME=FILE:COLUMN, of
            which one column stands for every axis; may come several times.
        title: Title of the page; the default is the names of the folders.
        columns: Metrics and axes of the LaTeX tables, such as SRCC,MSE; the default fits the text of an article.
        unit: What varies as one piece; the default is that of the runs, else clips, and systems at system level.
        equivalence: Largest difference that counts as none, such as .01.
        resamples: Draws of the simultaneous tests.
        detailed: Variants to show clip by clip, which are the best, the baseline and the next.
        clips: Clips whose sound is put into the page.
        seconds: Longest piece of such a clip, in seconds.
        megabytes: Most that all of it may take, in MB.
        audio_root: Folder to look for audio in, by the ids of clips, where a run knows of none.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If the runs, or an option, are wrong.
    """
    check_at_least({"clips": 0, "seconds": 0, "megabytes": 0, "resamples": 100, "detailed": 1}, locals())
    if equivalence is not None and not 0 < equivalence < math.inf:
        raise ValueError(f"--equivalence must be a difference above 0, such as .01, got {equivalence:g}.")
    if audio_root is not None and not Path(audio_root).is_dir():
        raise ValueError(f"--audio_root={audio_root}: no such folder.")
    from lightning_aqa.report.build import build_report
    from lightning_aqa.report.clip_browser import InlinedAudio
    from lightning_aqa.report.context import Options
    from lightning_aqa.results.judges import parse_judges

    options = Options(
        split=split,
        baseline=baseline,
        detailed=detailed,
        unit=unit,
        num_resamples=resamples,
        equivalence=equivalence,
        audio_root=None if audio_root is None else Path(audio_root),
        inlined_audio=InlinedAudio(clips, seconds, megabytes),
        title=title,
        judges=parse_judges(judge or ()),
        columns=[name.strip() for name in columns.split(",")] if columns else (),
    )
    folders = [Path(path) for path in paths]
    for path in build_report(folders, Path(output) if output else folders[0] / "report", options):
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    return 0


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(report, args)
