"""Answers of listeners: checked as what a stranger sent, and as a table that ``Table`` or ``PairTable`` reads."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning_aqa.data.manifest import WINNERS
from lightning_aqa.report.listening_design import ANSWERS, TABLES, ListeningTest, Stimulus
from lightning_aqa.utils.documents import read_json
from lightning_aqa.utils.records import write_records

LONGEST_NAME = 80
RATING_COLUMNS = ("file", "system", "prompt", "listener")
PAIR_COLUMNS = ("clip_a", "clip_b", "winner", "listener", "axis", "system_a", "system_b", "prompt")
_SESSION = re.compile(r"[0-9a-f]{32}")


class Answer(NamedTuple):
    """Answer of a listener to a trial.

    Args:
        trial: Its position in the test.
        scores: Of each sound of the trial, on each axis; empty for a pair.
        winners: Of a pair, as it was heard, on each axis.
        swapped: Whether the second sound of the pair was heard as A.
    """

    trial: int
    scores: tuple[tuple[float, ...], ...] = ()
    winners: tuple[str, ...] = ()
    swapped: bool = False


class AnswerSheet(NamedTuple):
    """All answers of a listener so far.

    Args:
        session: 32 random digits, by which the page knows its own sheet again.
        listener: The name that the listener gave.
        answers: To the trials answered so far.
    """

    session: str
    listener: str
    answers: tuple[Answer, ...]


def check_sheet(plain: Any, test: ListeningTest) -> AnswerSheet:
    """Return what a page sent.

    Raises:
        ValueError: If it is not what the page of this test sends.
    """
    if not isinstance(plain, Mapping) or plain.get("test") != test.id:
        raise ValueError("these are no answers to this test")
    session, listener, answers = (plain.get(name) for name in AnswerSheet._fields)
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise ValueError("session is not 32 digits from 0 to f")
    if not isinstance(listener, str) or not 0 < len(listener.strip()) <= LONGEST_NAME or not listener.isprintable():
        raise ValueError(f"listener is no name of 1 to {LONGEST_NAME} characters")
    if not isinstance(answers, list) or len(answers) > len(test.trials):
        raise ValueError("answers is no list with an answer per trial")
    checked = tuple(_answer(item, test) for item in answers)
    if len({of.trial for of in checked}) < len(checked):
        raise ValueError("a trial has two answers")
    return AnswerSheet(session, listener.strip(), checked)


def _answer(plain: Any, test: ListeningTest) -> Answer:
    number = plain.get("trial") if isinstance(plain, Mapping) else None
    if type(number) is not int or not 0 <= number < len(test.trials):
        raise ValueError("an answer is to no trial of the test")
    if test.kind == "pairs":
        winners, swapped = plain.get("winners"), plain.get("swapped")
        allowed = WINNERS if test.ties else WINNERS[:2]
        is_whole = isinstance(winners, list) and len(winners) == len(test.axes)
        if not is_whole or any(winner not in allowed for winner in winners) or type(swapped) is not bool:
            raise ValueError(f"trial {number}: expected one of {', '.join(allowed)} per axis, and the order")
        return Answer(number, winners=tuple(winners), swapped=swapped)
    scores = plain.get("scores")
    if not isinstance(scores, list) or len(scores) != len(test.trials[number].stimuli):
        raise ValueError(f"trial {number}: expected the scores of each of its sounds")
    return Answer(number, tuple(_scores(of, number, test) for of in scores))


def _scores(plain: Any, number: int, test: ListeningTest) -> tuple[float, ...]:
    if not isinstance(plain, list) or len(plain) != len(test.axes):
        raise ValueError(f"trial {number}: expected a score per axis")
    for score, axis in zip(plain, test.axes, strict=True):
        if type(score) not in (int, float) or not axis.low <= score <= axis.high or math.isnan(score):
            raise ValueError(f"trial {number}: a score of {axis.name} is not from {axis.low:g} to {axis.high:g}")
    return tuple(map(float, plain))


def columns_of(test: ListeningTest) -> list[str]:
    """Return the columns of the table of a test."""
    return list(PAIR_COLUMNS) if test.kind == "pairs" else [*RATING_COLUMNS, *(axis.name for axis in test.axes)]


def rows_of(test: ListeningTest, sheet: AnswerSheet) -> Iterator[list[object]]:
    """Yield the rows of a listener; anchors that the test made itself are no clips, and have none."""
    for answer in sorted(sheet.answers):
        sounds = [test.stimuli[i] for i in test.trials[answer.trial].stimuli]
        if test.kind == "pairs":
            one, other = sounds[::-1] if answer.swapped else sounds
            for winner, axis in zip(answer.winners, test.axes, strict=True):
                yield _pair_row(one, other, winner, sheet.listener, axis.name)
            continue
        for of, scores in zip(sounds, answer.scores, strict=True):
            if not of.low_pass:
                yield [*of[:3], sheet.listener, *(int(score) if score.is_integer() else score for score in scores)]


def _pair_row(one: Stimulus, other: Stimulus, winner: str, listener: str, axis: str) -> list[object]:
    prompt = one.prompt if one.prompt == other.prompt else ""
    return [one.file, other.file, winner, listener, axis, one.system, other.system, prompt]


def read_sheets(folder: Path, test: ListeningTest) -> list[AnswerSheet]:
    """Read the answers in a folder, of the server or as listeners sent them; of a sheet that is there twice the longer.

    Raises:
        ValueError: If a file holds no answers to this test; the message names it.
    """
    sheets: dict[str, AnswerSheet] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            sheet = check_sheet(read_json(path), test)
        except ValueError as error:
            told = str(error) if str(error).startswith(str(path)) else f"{path}: {error}."
            raise ValueError(f"{told.rstrip('.')}; move it away, or mend it.") from None
        before = sheets.get(sheet.session)
        if before is None or len(before.answers) < len(sheet.answers):
            sheets[sheet.session] = sheet
    return list(sheets.values())


def _named_apart(sheets: Iterable[AnswerSheet]) -> Iterator[AnswerSheet]:
    """Yield the sheets in an order that no file name changes; of two listeners of one name the second gets a number."""
    seen: Counter[str] = Counter()
    for sheet in sorted(sheets):
        seen[sheet.listener] += 1
        count = seen[sheet.listener]
        yield sheet if count == 1 else sheet._replace(listener=f"{sheet.listener} ({count})")


def write_table(folder: Path, test: ListeningTest, sheets: Iterable[AnswerSheet]) -> Path:
    """Write the table of all answers into the folder of the test; return its path."""
    path = folder / TABLES[test.kind]
    write_records(path, columns_of(test), (row for sheet in _named_apart(sheets) for row in rows_of(test, sheet)))
    return path


def collect(folder: Path, test: ListeningTest) -> tuple[Path, int]:
    """Write the table of the answers in a test's folder; return its path, and how many listeners there are.

    Raises:
        ValueError: If there are none, or a file is none.
    """
    sheets = read_sheets(folder / ANSWERS, test)
    if not sheets:
        raise ValueError(
            f"{folder / ANSWERS}: no answers; put there the JSON files that listeners saved, or --serve the test."
        )
    return write_table(folder, test, sheets), len(sheets)
