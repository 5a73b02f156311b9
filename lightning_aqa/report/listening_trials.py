"""Trials of a listening test from a folder or a list of clips: single clips, pairs, or all conditions of an item."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath

from lightning_aqa.data.folder import read_folder
from lightning_aqa.data.manifest import Clip
from lightning_aqa.report.listening_design import MOST_TRIALS, Kind, ListeningTest, ListeningTrial, Stimulus
from lightning_aqa.utils.records import write_cell

ANCHOR_HZ = {"anchor35": 3500.0, "anchor70": 7000.0}
"""Low and mid anchor of ITU-R BS.1534-3: the reference without what is above, in Hz."""
FEWEST_CONDITIONS = 2


class Sounds:
    """Clips of a folder or a list, as stimuli.

    The system of a clip is that of the list, or else the first folder on its path; its prompt is that of the list, or
    else the rest of its path without suffix, so that ``a/01.wav`` and ``b/01.wav`` are one item by two systems.

    Args:
        clips: Folder, or list with a column ``path``.

    Attributes:
        stimuli: One per clip.
        paths: File of each.

    Raises:
        ValueError: If there is no audio, or a clip that no table can name.
    """

    def __init__(self, clips: Path) -> None:
        root = clips if clips.is_dir() else clips.parent
        found = read_folder(clips)
        if found.problems:
            raise ValueError(f"{found.problems[0].where}: {found.problems[0].what}.")
        self.stimuli = [_stimulus(clip, root) for clip in found]
        self.paths = [Path(clip.path) for clip in found]


def _stimulus(clip: Clip, root: Path) -> Stimulus:
    if clip.start or clip.end is not None:
        raise ValueError(f"{clip.id}: a part of a file; a listening test takes whole files, so cut it out first.")
    file = PurePosixPath(Path(os.path.relpath(clip.path, root)).as_posix())
    text = str(file)
    if write_cell(text) != text:  # a name that a spreadsheet would run
        text = f"./{text}"
    if write_cell(text) != text:
        raise ValueError(f"{clip.path}: its name is no plain text; rename it.")
    folder, *rest = file.parts
    system = clip.system or (folder if rest and ".." not in file.parts else "")
    item = PurePosixPath(*rest) if rest and system == folder else file
    return Stimulus(text, system, clip.prompt or str(item.with_suffix("")))


def single_trials(sounds: Sounds) -> list[ListeningTrial]:
    """Return a trial per clip."""
    return [ListeningTrial((i,)) for i in range(len(sounds.stimuli))]


def pair_trials(sounds: Sounds, seed: int) -> list[ListeningTrial]:
    """Return the pairs of each item that several systems made; without such, each clip beside two others.

    Args:
        sounds: The clips.
        seed: Of the neighbours.

    Raises:
        ValueError: If there are no two clips to compare.
    """
    if len(sounds.stimuli) < 2:
        raise ValueError("one clip makes no pair; expected two or more.")
    pairs = [pair for rows in _items(sounds).values() for pair in combinations(rows, 2)]
    if not pairs:
        order = list(range(len(sounds.stimuli)))
        random.Random(seed).shuffle(order)
        pairs = list(zip(order, [*order[1:], order[0]], strict=True))[: None if len(order) > 2 else 1]
    return [ListeningTrial(pair) for pair in pairs]


def mushra_trials(
    sounds: Sounds, reference: str, anchors: Sequence[str], *, made: bool
) -> tuple[list[Stimulus], list[Path], list[ListeningTrial]]:
    """Return stimuli, their files and a trial per item: all its systems, the hidden reference, and anchors.

    Args:
        sounds: The clips.
        reference: System that is the reference.
        anchors: Systems that are anchors; the rest of the conditions are what is tested.
        made: Make the anchors of ``ANCHOR_HZ`` from the references.

    Raises:
        ValueError: If an item has no reference, or nothing to set beside it.
    """
    stimuli, paths, trials = list(sounds.stimuli), list(sounds.paths), []
    for item, rows in _items(sounds).items():
        heard = [i for i in rows if stimuli[i].system == reference]
        tested = [i for i in rows if stimuli[i].system not in (reference, *anchors)]
        if len(heard) != 1 or not tested:
            what = f"{len(heard)} files of the system {reference!r}" if len(heard) != 1 else "no system beside it"
            raise ValueError(
                f"item {item!r}: {what}; expected {reference}/{item}.wav and SYSTEM/{item}.wav, or a list with the "
                "columns path, system and prompt (--reference names another system)."
            )
        trial = list(rows)
        for name, hz in ANCHOR_HZ.items() if made else ():
            trial.append(len(stimuli))
            stimuli.append(stimuli[heard[0]]._replace(system=name, low_pass=hz))
            paths.append(paths[heard[0]])
        trials.append(ListeningTrial(tuple(trial), heard[0]))
    return stimuli, paths, trials


def with_trials(test: ListeningTest, paths: Sequence[Path], trials: Sequence[int]) -> tuple[ListeningTest, list[Path]]:
    """Return a test of some trials in a given order, with their sounds alone, and the files of these.

    Args:
        test: The test of all trials.
        paths: File of each of its stimuli.
        trials: Their positions.
    """
    chosen = [test.trials[t] for t in trials]
    kept = sorted({i for of in chosen for i in (*of.stimuli, of.reference) if i >= 0})
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    moved = tuple(ListeningTrial(tuple(place[i] for i in of.stimuli), place[of.reference]) for of in chosen)
    stimuli = tuple(test.stimuli[i] for i in kept)
    return test._replace(stimuli=stimuli, trials=moved, ordered=True), [paths[i] for i in kept]


def find_roles(sounds: Sounds, reference: str | None) -> tuple[str, list[str]]:
    """Find the system that is the reference, and those that are anchors, by their names.

    Raises:
        ValueError: If no system is called so.
    """
    names = sorted({of.system for of in sounds.stimuli if of.system})
    found = [name for name in names if re.fullmatch(r"(hidden[_ -]?)?ref(erence)?", name, re.IGNORECASE)]
    chosen = reference or (found[0] if len(found) == 1 else "")
    if chosen not in names:
        told = ", ".join(names) or "none"
        raise ValueError(
            f"MUSHRA needs a reference, and {'no system' if len(found) < 2 else 'more than one'} is called "
            f"{reference or 'reference'!r}; the systems (folders) are {told}. Name it by --reference."
        )
    return chosen, [name for name in names if re.match("anchor", name, re.IGNORECASE)]


def _items(sounds: Sounds) -> dict[str, list[int]]:
    """Return the clips of each prompt."""
    items: dict[str, list[int]] = {}
    for i, of in enumerate(sounds.stimuli):
        items.setdefault(of.prompt, []).append(i)
    return items


def check_size(kind: Kind, trials: Sequence[ListeningTrial]) -> None:
    """Refuse a test without end."""
    if len(trials) > MOST_TRIALS:
        raise ValueError(f"{len(trials):,} trials of kind {kind}, expected at most {MOST_TRIALS:,}; take fewer clips.")


def labels_of(low: float, high: float, *, is_continuous: bool) -> Iterator[tuple[float, str]]:
    """Yield words of the scale: those of ITU-T P.800 on 1 to 5, and of BS.1534-3 on 0 to 100.

    Example:
        >>> list(labels_of(1, 5, is_continuous=False))[0]
        (1.0, 'Bad')
    """
    words = ("Bad", "Poor", "Fair", "Good", "Excellent")
    if is_continuous:
        yield from ((low + (high - low) * (2 * k + 1) / 10, word) for k, word in enumerate(words))
    elif high - low == len(words) - 1:
        yield from ((float(low + k), word) for k, word in enumerate(words))
    else:
        yield from ((float(low), words[0]), (float(high), words[-1]))
