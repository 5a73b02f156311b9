"""``lightning-aqa challenge``: the answer file of a challenge, checked, scored, and beside published results."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_aqa.cli.signatures import call

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_aqa.results.challenges.answering import Array
    from lightning_aqa.results.challenges.checking import Fault
    from lightning_aqa.results.challenges.known import Challenge
    from lightning_aqa.results.challenges.lists import Labels
    from lightning_aqa.results.challenges.local import ScoreRow
    from lightning_aqa.results.challenges.settings import Files

MOST_LINES = 20
"""Faults of one kind that are listed one by one."""


def challenge(
    config: str,
    *,
    clips: str | None = None,
    scores: str | None = None,
    checkpoint: str | None = None,
    audio: str | None = None,
    labels: str | None = None,
    answer: str | None = None,
    readme: str | None = None,
    check: bool = False,
    clip_to_scale: bool = False,
    made_up: str | None = None,
) -> int:
    """Write the answer file of a challenge, check it, and score it where there are ratings.

    Options count before the same keys of the YAML. Exit code: 0 where the answer is as the organisers ask, 2 where it
    is not, and then none is written.

    Args:
        config: YAML that names the challenge, such as experiments/challenges/audiomos2025_track1.yaml, or describes a
            list of its own.
        clips: List of the clips to answer for.
        scores: Table of scores, as score and predict write them, or a run folder with predictions.
        checkpoint: Run folder, checkpoint or config to score the clips with, in place of a table.
        audio: Folder with the audio of the clips, for a checkpoint.
        labels: Table of ratings to score the answer by.
        answer: Answer to write; a name that ends in .zip packs it as it is handed in.
        readme: File that goes into the archive beside the answer, where the organisers ask for one.
        check: Look at the answer that is there, and write none.
        clip_to_scale: Write scores beyond an end of their scale as that end.
        made_up: Folder to write a made-up list, ratings and scores to, which are then used.

    Returns:
        The exit code.
    """
    options = {name: value for name, value in locals().items() if name not in ("config", "made_up")}
    from lightning_aqa.results.challenges.lists import read_labels, read_names
    from lightning_aqa.results.challenges.settings import read_settings

    of, files = read_settings(Path(config), options)
    if made_up is not None:
        files = _with_made_up(Path(made_up), of, files)
    if files.clips is None:
        raise ValueError("no list of clips; name one with clips, or try --made_up=FOLDER.")
    faults: list[Fault] = []
    names = read_names(Path(files.clips), of.form, faults)
    path = Path(files.answer or of.form.file)
    if faults:
        return _refused(path, faults)
    rated = None if files.labels is None else read_labels(Path(files.labels), of.form, names, of.system)
    return _check(path, of, files, names, rated) if files.check else _answer(path, of, files, names, rated)


def _with_made_up(folder: Path, of: Challenge, files: Files) -> Files:
    from lightning_aqa.results.challenges.made_up import write_made_up
    from lightning_aqa.results.challenges.settings import Files

    made = {name: value for name, value in asdict(write_made_up(folder, of)).items() if value}
    return Files(**{**asdict(files), **made, "checkpoint": None, "audio": None, "column": None})


def _answer(path: Path, of: Challenge, files: Files, names: Sequence[str], labels: Labels | None) -> int:
    """Write an answer, or say why there is none."""
    from lightning_aqa.results.challenges.answering import on_scale, scores_of, write_answer

    if (files.scores is None) == (files.checkpoint is None):
        what = "no scores" if files.scores is None else "both scores and a checkpoint"
        raise ValueError(f"{what}; name a table of scores, or a checkpoint and its audio.")
    table = Path(files.scores or "")
    faults: list[Fault] = []
    if files.checkpoint is not None:
        table = path.with_name(f"{path.stem}.scores.csv")
        code = _score(files, names, table, faults)
        if faults or code > 1:
            return _refused(path, faults) if faults else code
    found = scores_of(table, of.form, names, files.column or "", faults)
    found, beyond = on_scale(found, of.form, names, is_clipped=files.clip_to_scale)
    if faults or (beyond and not files.clip_to_scale):
        return _refused(path, [*faults, *beyond * (not files.clip_to_scale)])
    is_new = write_answer(path, files, of.form, names, found)
    said = "written" if is_new else "there already, the same"
    print(f"{path}: {said}; {len(names)} clips, a line of {of.form.line()}.")
    if beyond:
        print(f"{len(beyond)} scores beyond their scale were clipped, the first: {beyond[0].what}.")
    _show(of, names, found, labels, Path(files.labels or ""))
    return 0


def _check(path: Path, of: Challenge, files: Files, names: Sequence[str], labels: Labels | None) -> int:
    """Look at an answer that is there: a line per fault."""
    from lightning_aqa.results.challenges.answering import read_answer

    found, faults = read_answer(path, of.form, names)
    if found is None:
        count: dict[str, int] = {}
        for fault in faults:
            count[fault.kind] = count.get(fault.kind, 0) + 1
            if count[fault.kind] <= MOST_LINES:
                print(f"{path}:{f'{fault.line}:' * bool(fault.line)} {fault.what}.")
        for kind, number in count.items():
            if number > MOST_LINES:
                print(f"{path}: {kind}: {number - MOST_LINES} more.")
        sys.stderr.write(f"error: {path}: {len(faults)} fault{'s' * (len(faults) > 1)}; correct and check again.\n")
        return 2
    print(f"{path}: as the organisers ask; {len(names)} clips, a line of {of.form.line()}.")
    _show(of, names, found, labels, Path(files.labels or ""))
    return 0


def _refused(path: Path, faults: Sequence[Fault]) -> int:
    """Say in a line per kind why there is no answer."""
    from lightning_aqa.results.challenges.checking import by_kind

    for line in by_kind(faults):
        sys.stderr.write(f"{line}.\n")
    sys.stderr.write(f"error: {path}: not written, for {len(faults)} fault{'s' * (len(faults) > 1)}.\n")
    return 2


def _score(files: Files, names: Sequence[str], table: Path, faults: list[Fault]) -> int:
    """Score the clips by a checkpoint into a table; the same command goes on where it was stopped."""
    from lightning_aqa.cli.score import score
    from lightning_aqa.data.musiceval_files import PROMPT_FILES, find_prompt, read_prompts
    from lightning_aqa.results.challenges.audio import find_audio
    from lightning_aqa.utils.files import replacing

    assert files.clips is not None
    assert files.checkpoint is not None
    if files.audio is None:
        raise ValueError("a checkpoint needs the audio of the clips; name its folder with audio.")
    found = find_audio(Path(files.audio), names, faults)
    if faults:
        return 2
    folders = [Path(files.clips).resolve().parent.parent, Path(files.audio).resolve().parent]
    folders = [folder for folder in folders if any((folder / name).is_file() for name in PROMPT_FILES)]
    prompts = (read_prompts(folders, []) if folders else None) or {}
    listed = table.with_name(f"{table.name.removesuffix('.scores.csv')}.clips.jsonl")
    listed.parent.mkdir(parents=True, exist_ok=True)
    with replacing(listed) as file:
        for name, audio in zip(names, found, strict=True):
            fields = {"id": name, "path": str(audio.resolve()), "prompt": find_prompt(name, prompts) or ""}
            file.write(json.dumps(fields) + "\n")
    return score(files.checkpoint, [str(listed)], output=str(table), model_args=[])


def _show(of: Challenge, names: Sequence[str], scores: Array, labels: Labels | None, path: Path) -> None:
    """Print the metrics of an answer, where there are ratings, and what others published."""
    from lightning_aqa.results.challenges.lists import is_made_up
    from lightning_aqa.results.challenges.local import own_rows, published_beside, sources_of, standings
    from lightning_aqa.results.console import make_console

    own = [] if labels is None else own_rows(of, names, scores, labels)
    others, console = published_beside(of), make_console()
    lines = [f"{of.title}. {of.asked}"] if of.asked else []
    if own or others:
        console.print(_table(of, own, others))
        lines.append(
            "In brackets: 95 %; of published correlations what their n alone gives, of scores that are about normal."
        )
    places = standings(of, own, others) if own else {}
    for split, place in places.items():
        beside = f", place {place.place} of {place.of} beside {split}" if split else ""
        lines.append(f"{of.rule}: {place.value:.4f}{beside}.")
    if own and others and not any(places):
        lines.append("No place among the published: none of them is over as many clips and systems as these ratings.")
    if own and is_made_up(path):
        lines.append("These ratings are made up: no person has heard anything, and no number here is a result.")
    lines += ["Published: " + "; ".join(sources_of(of)) + "."] if others else []
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(of: Challenge, own: Sequence[ScoreRow], others: Sequence[ScoreRow]) -> Table:
    """Lay out one row per level, axis and system, the answer first."""
    from rich.markup import escape
    from rich.table import Table

    from lightning_aqa.results.tables import shown, shown_interval

    table = Table("level", "axis", "of", "n", *of.metrics, box=None, pad_edge=False)
    axes = [axis.name for axis in of.form.axes]
    rows = sorted([*own, *others], key=lambda row: (row.level == "utterance", axes.index(row.axis)))
    for row in rows:
        cells = []
        for metric in of.metrics:
            ends = shown_interval(row.intervals[metric], metric) if metric in row.intervals else ""
            cells.append(shown(row.values[metric], metric) + f" [{ends}]" * bool(ends) if metric in row.values else "")
        name = f"{row.name} ({row.split})" if row.split else row.name
        table.add_row(row.level, escape(row.axis), escape(name), str(row.n or ""), *map(escape, cells))
    return table


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(challenge, args)
