"""A listening test: what is heard, in which trials, on which axes; as it lies in its folder, and in the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from lightning_aqa.batch import Axis, make_axes
from lightning_aqa.results.files import PAIRS, RATINGS
from lightning_aqa.utils.documents import read_json
from lightning_aqa.utils.files import replacing

Kind = Literal["mos", "pairs", "mushra"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TEST, PAGE, SOUND, ANSWERS = "test.json", "listening.html", "sound", "answers"
TABLES: dict[str, str] = {"mos": RATINGS, "mushra": RATINGS, "pairs": PAIRS}
"""The table that the answers of each kind make."""
MOST_TRIALS = 100_000


class Stimulus(NamedTuple):
    """A sound of the test.

    Args:
        file: Its file, as a table names it: from the folder of clips on.
        system: What made it; empty where unknown.
        prompt: What it has in common with those of other systems; empty where nothing.
        low_pass: Frequency in Hz above which it was cut to make an anchor, which no table lists; 0 for a file as it is.
    """

    file: str
    system: str = ""
    prompt: str = ""
    low_pass: float = 0.0


class ListeningTrial(NamedTuple):
    """Sounds that are judged together.

    Args:
        stimuli: Their positions among those of the test: one of a MOS test, two of a pair, all conditions of MUSHRA.
        reference: Position of the open reference; -1 where there is none.
    """

    stimuli: tuple[int, ...]
    reference: int = -1


class ListeningTest(NamedTuple):
    """A listening test.

    Args:
        kind: ``mos``, ``pairs`` or ``mushra``.
        title: Heading of the page.
        axes: What is judged.
        stimuli: All sounds.
        trials: All trials.
        training: Trials of the training round, whose answers do not count.
        limit: Most trials per listener; 0 is all.
        seed: With the name of a listener it gives the order of trials and sounds.
        ordered: Keep trials in their order.
        ties: Let pairs be equal.
    """

    kind: Kind
    title: str
    axes: tuple[Axis, ...]
    stimuli: tuple[Stimulus, ...]
    trials: tuple[ListeningTrial, ...]
    training: int = 2
    limit: int = 0
    seed: int = 0
    ordered: bool = False
    ties: bool = True

    @property
    def id(self) -> str:
        """Return the same 16 digits for the same sounds, trials and axes: answers of another test do not fit."""
        content = [self.kind, self.axes, self.stimuli, self.trials]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Write ``test.json``."""
        plain = {**self._asdict(), **{name: [item._asdict() for item in getattr(self, name)] for name in _LISTS}}
        with replacing(folder / TEST) as file:
            json.dump(plain, file, indent=1, ensure_ascii=True)


_LISTS = ("axes", "stimuli", "trials")


def read_test(folder: Path) -> ListeningTest:
    """Read the ``test.json`` of a folder that ``listen`` wrote.

    Raises:
        ValueError: If it is none, or was changed into none.
    """
    path = folder / TEST
    found = read_json(path)
    try:
        test = _from_plain(found)
        _check(test)
    except (TypeError, KeyError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise ValueError(f"{path}: no listening test ({error}); expected what listen wrote.") from None
    return test


def _from_plain(plain: Mapping[str, Any]) -> ListeningTest:
    stimuli = tuple(Stimulus(**{**item, "low_pass": float(item["low_pass"])}) for item in plain["stimuli"])
    trials = tuple(ListeningTrial(tuple(map(int, item["stimuli"])), int(item["reference"])) for item in plain["trials"])
    axes = make_axes([(of["name"], of["title"], of["low"], of["high"]) for of in plain["axes"]])
    return ListeningTest(**{**plain, "axes": axes, "stimuli": stimuli, "trials": trials})


def _check(test: ListeningTest) -> None:
    if test.kind not in KINDS:
        raise ValueError(f"kind is {test.kind!r}")
    if not isinstance(test.title, str) or not all(type(n) is int for n in (test.training, test.limit, test.seed)):
        raise ValueError("the title is no text, or a number no whole one")
    if not all(isinstance(text, str) for of in test.stimuli for text in of[:3]):
        raise ValueError("a file, system or prompt is no text")
    largest = len(test.stimuli) - 1
    for trial in test.trials:
        if not trial.stimuli or not all(0 <= i <= largest for i in trial.stimuli) or trial.reference > largest:
            raise ValueError("a trial names a sound that is not there")
    if len(test.trials) > MOST_TRIALS:
        raise ValueError(f"{len(test.trials)} trials, expected at most {MOST_TRIALS}")
