"""The page of a listening test, in one file with its sounds or beside them, and the folder around it."""

from __future__ import annotations

import base64
import random
import shutil
import uuid
from pathlib import Path
from typing import Any

from lightning_aqa.report.build import asset
from lightning_aqa.report.listening_answers import PAIR_COLUMNS, RATING_COLUMNS
from lightning_aqa.report.listening_design import ANSWERS, PAGE, SOUND, TEST, ListeningTest, Stimulus, read_test
from lightning_aqa.report.listening_sound import sound_name, write_sounds
from lightning_aqa.report.listening_trials import labels_of
from lightning_aqa.report.templating import picture, render
from lightning_aqa.utils.files import remove_parts, replacing

SCRIPTS = ("page.js", "listening_trial.js", "listening.js")
MOST_STEPS = 11
"""Whole numbers of a scale up to which there is a button for each; above them a slider."""


def write_folder(folder: Path, test: ListeningTest, paths: list[Path], max_megabytes: float) -> tuple[Path, bool]:
    """Write the folder of a test: page, sounds, definition, and a place for the answers.

    Sounds are numbered anew, so that no order tells what made them.

    Args:
        folder: Where it will be. One that holds the same test keeps its answers; any other is refused.
        test: The test.
        paths: File of each stimulus.
        max_megabytes: Size up to which the page holds the sounds, as text; above it they stay beside it.

    Returns:
        The page, and whether it holds its sounds.

    Raises:
        ValueError: If there is another folder, or a sound cannot be had.
    """
    test, paths = _shuffled(test, paths)
    if folder.exists():
        _check_same(folder, test)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(folder.parent, folder.name)
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    try:
        (part / SOUND).mkdir(parents=True)
        num_bytes = write_sounds(part / SOUND, test.stimuli, paths)
        is_inside = num_bytes * 4 / 3 <= max_megabytes * 1e6
        test.write(part)
        with replacing(part / PAGE) as file:
            file.write(page_of(part, test, is_inside=is_inside))
        _put(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder / PAGE, is_inside


def _shuffled(test: ListeningTest, paths: list[Path]) -> tuple[ListeningTest, list[Path]]:
    order = list(range(len(test.stimuli)))
    random.Random(test.seed).shuffle(order)
    place = {old: new for new, old in enumerate(order)} | {-1: -1}
    trials = tuple(
        of._replace(stimuli=tuple(place[i] for i in of.stimuli), reference=place[of.reference]) for of in test.trials
    )
    return test._replace(stimuli=tuple(test.stimuli[i] for i in order), trials=trials), [paths[i] for i in order]


def _check_same(folder: Path, test: ListeningTest) -> None:
    if not (folder / TEST).is_file() or read_test(folder).id != test.id:
        what = "another listening test" if (folder / TEST).is_file() else "no listening test"
        raise ValueError(
            f"--output={folder}: there is such a folder, with {what} in it; name another, or move it away."
        )


def _put(part: Path, folder: Path) -> None:
    """Give a new folder its name; into one that holds the same test, put page, definition and sounds."""
    if not folder.exists():
        (part / ANSWERS).mkdir()
        part.rename(folder)
        return
    for path in sorted((part / SOUND).iterdir()):
        path.replace(folder / SOUND / path.name)
    for name in (PAGE, TEST):
        (part / name).replace(folder / name)


def page_of(folder: Path, test: ListeningTest, *, is_inside: bool = False, is_served: bool = False) -> str:
    """Return the page.

    Args:
        folder: With the sounds.
        test: The test.
        is_inside: Put the sounds into the page.
        is_served: Send answers to the server that it comes from, and name no file in it; otherwise they are saved.
    """
    sources = [f"{SOUND}/{sound_name(i)}" for i in range(len(test.stimuli))]
    if is_inside:
        sources = [_data_uri(folder / source) for source in sources]
    return render(
        "listening",
        title=test.title,
        css=picture("\n".join(map(asset, ("page.css", "listening.css")))),
        script=picture("\n".join(map(asset, SCRIPTS))),
        kind=test.kind,
        is_served=is_served,
        several=len(test.axes) > 1,
        data=_data(test, sources, is_served=is_served),
    )


def _data(test: ListeningTest, sources: list[str], *, is_served: bool) -> dict[str, Any]:
    columns = PAIR_COLUMNS if test.kind == "pairs" else RATING_COLUMNS
    return {
        "test": test.id,
        "kind": test.kind,
        "axes": [_axis(test, a) for a in range(len(test.axes))],
        "ties": test.ties,
        "sounds": sources,
        "names": None if is_served else [_names(of) for of in test.stimuli],
        "columns": columns,
        "trials": [{"sounds": of.stimuli, "reference": of.reference} for of in test.trials],
        "training": test.training,
        "limit": test.limit or len(test.trials),
        "seed": test.seed,
        "ordered": test.ordered,
        "served": is_served,
    }


def _names(of: Stimulus) -> dict[str, object]:
    """Return what the table says of a sound; an anchor of our own is in no table."""
    return {"file": of.file, "system": of.system, "prompt": of.prompt, "listed": not of.low_pass}


def _axis(test: ListeningTest, a: int) -> dict[str, Any]:
    axis = test.axes[a]
    steps = axis.high - axis.low + 1
    is_stepped = test.kind == "mos" and steps <= MOST_STEPS and axis.low.is_integer() and steps.is_integer()
    labels = [[value, word] for value, word in labels_of(axis.low, axis.high, is_continuous=not is_stepped)]
    step = 1 if axis.high - axis.low >= 50 else (axis.high - axis.low) / 100
    return {**axis._asdict(), "stepped": is_stepped, "labels": labels, "step": step}


def _data_uri(path: Path) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def size_of(test: ListeningTest) -> str:
    """Say how large a test is, in words.

    Example:
        >>> size_of(ListeningTest("mos", "", (), (), ()))
        '0 trials of kind mos'
    """
    more = f", {test.limit} per listener" if test.limit and test.limit < len(test.trials) else ""
    return f"{len(test.trials)} trials of kind {test.kind}{more}"


def is_test(folder: Path) -> bool:
    """Tell whether a folder is one that ``listen`` wrote."""
    return (folder / TEST).is_file() and (folder / PAGE).is_file()
