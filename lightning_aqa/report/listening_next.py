"""Trials that tell most, from what listeners have said so far and what a model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import WINNERS, Problem
from lightning_aqa.data.pairs import read_pairs
from lightning_aqa.data.parsing import read_rows
from lightning_aqa.data.table import read_table
from lightning_aqa.metrics.next_rating import AskedNext, next_clips, next_pairs
from lightning_aqa.metrics.prediction_powered import GivenRatings
from lightning_aqa.report.listening_design import ListeningTest
from lightning_aqa.results.judge_scores import read_scores
from lightning_aqa.utils.davidson import fit_link

Array = NDArray[np.float64]


class NextTrial(NamedTuple):
    """A trial to ask, its files, and by how much it narrows intervals."""

    trial: int
    files: tuple[str, ...]
    gain: float


class _Known(NamedTuple):
    """Listed clips of a test: positions among its stimuli, names, systems by number, and the predictor's scores."""

    stimuli: Sequence[int]
    ids: Sequence[str]
    systems: NDArray[np.intp]
    scores: Array | None
    widths: Array | None


def choose_next(
    test: ListeningTest, ratings: Path | None, predictions: Path | None, listener: str | None, count: int
) -> list[NextTrial]:
    """Choose trials of a test, the one that tells most first.

    Args:
        test: The test.
        ratings: Table of ratings, or of pairs, so far; None is none yet.
        predictions: Table of scores of a model, where wanted with intervals (low and high, as runs and score write).
        listener: Who is asked; None is somebody new.
        count: How many trials.

    Raises:
        ValueError: If a table cannot be read, or is not about these clips.
    """
    known = _known(test, predictions)
    if test.kind == "pairs":
        asked = _next_pairs(test, known, ratings, listener, count)
    else:
        asked = _next_clips(test, known, ratings, listener)
    place = {frozenset(of.stimuli) if test.kind == "pairs" else i: t for t, of in enumerate(test.trials)
             for i in ([0] if test.kind == "pairs" else of.stimuli)}  # fmt: skip
    gains: dict[int, float] = {}
    for of in asked:
        rows = [known.stimuli[clip] for clip in of.clips]
        trial = place[frozenset(rows) if test.kind == "pairs" else rows[0]]
        if trial in gains or len(gains) < count:
            gains[trial] = gains.get(trial, 0.0) + of.gain
    return [NextTrial(t, _files(test, t), gain) for t, gain in gains.items()]


def _files(test: ListeningTest, trial: int) -> tuple[str, ...]:
    return tuple(_plain(test.stimuli[i].file) for i in test.trials[trial].stimuli if not test.stimuli[i].low_pass)


def _plain(file: str) -> str:
    """Return the id that a table makes of a file."""
    return PurePath(file).as_posix()


def _known(test: ListeningTest, predictions: Path | None) -> _Known:
    hidden = {of.reference for of in test.trials}
    stimuli = [i for i, of in enumerate(test.stimuli) if not of.low_pass and i not in hidden]
    ids = [_plain(test.stimuli[i].file) for i in stimuli]
    names = [test.stimuli[i].system or id_ for i, id_ in zip(stimuli, ids, strict=True)]
    systems = np.unique(names, return_inverse=True)[1].astype(np.intp)
    if predictions is None:
        return _Known(stimuli, ids, systems, None, None)
    axes = [axis.name for axis in test.axes]
    scores = np.nanmean(_filled(read_scores(predictions, "predictions", "", ids, axes)), axis=1)
    return _Known(stimuli, ids, systems, scores, _widths(predictions, ids, test.axes))


def _filled(scores_NA: Array) -> Array:
    """Put the mean where a clip has no prediction."""
    known = np.isfinite(scores_NA)
    means = scores_NA.sum(0, where=known) / np.maximum(known.sum(0), 1)
    return np.where(known, scores_NA, means)


def _widths(path: Path, ids: Sequence[str], axes: Sequence[Axis]) -> Array | None:
    """Return the widths of the predictor's intervals on the first axis that has them."""
    columns = {str(name).lower(): str(name) for row in read_rows(path, [])[:1] for name in row.fields}
    for name in axes:
        for low, high in ((f"{name.name} low", f"{name.name} high"), ("low", "high")):
            if low.lower() in columns and high.lower() in columns:
                ends = [
                    read_scores(path, "predictions", "", ids, [name.name], columns[end.lower()])[:, 0]
                    for end in (low, high)
                ]
                return np.asarray(np.abs(ends[1] - ends[0]))
    return None


def _next_clips(test: ListeningTest, known: _Known, ratings: Path | None, listener: str | None) -> list[AskedNext]:
    rows: list[tuple[float, int, str]] = []
    if ratings is not None:
        manifest = read_table(ratings, {axis.name: (axis.low, axis.high) for axis in test.axes})
        _check(manifest.problems)
        number = {id_: i for i, id_ in enumerate(known.ids)}
        rows = [
            (float(np.mean(list(scores.values()))), number[clip.id], name)
            for clip in manifest
            if clip.id in number
            for name, scores in clip.ratings.items()
        ]
        if not rows and any(clip.ratings for clip in manifest):
            raise ValueError(f"{ratings}: none of its clips is one to ask about, such as {known.ids[0]}.")
    names = sorted({name for _, _, name in rows} | ({listener} if listener else set()))
    given = GivenRatings(
        np.array([score for score, _, _ in rows]),
        np.array([clip for _, clip, _ in rows], np.intp),
        np.array([names.index(name) for _, _, name in rows], np.intp),
        known.systems,
        known.scores,
    )
    who = names.index(listener) if listener else None
    return next_clips(given, len(known.ids), widths=known.widths, listener=who, seed=test.seed)


def _next_pairs(
    test: ListeningTest, known: _Known, ratings: Path | None, listener: str | None, count: int
) -> list[AskedNext]:
    number = {id_: i for i, id_ in enumerate(known.ids)}
    at = {stimulus: i for i, stimulus in enumerate(known.stimuli)}
    problems: list[Problem] = []
    judged = read_pairs(ratings, problems) if ratings is not None else []
    _check(problems)
    size = int(known.systems.max()) + 1
    wins, done = np.zeros((size, size)), set()
    used = [row for row in judged if row.clips[0] in number and row.clips[1] in number]
    if judged and not used:
        raise ValueError(f"{ratings}: none of its clips is one to ask about, such as {known.ids[0]}.")
    for row in used:
        clips = [number[name] for name in row.clips]
        one, other = (int(known.systems[clip]) for clip in clips)
        for share, (s, t) in zip(_shares(row.winner), ((one, other), (other, one)), strict=True):
            wins[s, t] += share * row.weight
        if listener and row.listener == listener:
            done.add(frozenset(clips))
    pairs = [(at[one], at[other]) for one, other in (of.stimuli for of in test.trials)]
    pairs = [pair for pair in pairs if frozenset(pair) not in done]
    scores = _log_odds(known, [tuple(number[name] for name in row.clips) for row in used], [row.winner for row in used])
    return next_pairs(wins, pairs, known.systems, count, scores=scores, seed=test.seed)


def _shares(winner: str) -> tuple[float, float]:
    return {"a": (1.0, 0.0), "b": (0.0, 1.0)}.get(winner, (0.5, 0.5))


def _log_odds(known: _Known, clips: Sequence[tuple[int, ...]], winners: Sequence[str]) -> Array | None:
    """Return the predicted mean of each system in log-odds, by the slope that the judged pairs have."""
    if known.scores is None or not clips:
        return None
    gaps = np.array([known.scores[one] - known.scores[other] for one, other in clips])
    outcomes = np.array([WINNERS.index(winner) for winner in winners], np.intp)
    slope, _ = fit_link(gaps, outcomes, np.ones(len(gaps)), unit=max(float(known.scores.std()), 1e-9))
    means = np.bincount(known.systems, known.scores) / np.bincount(known.systems)
    return np.asarray(slope * means)


def _check(problems: Sequence[Problem]) -> None:
    if problems:
        raise ValueError(f"{problems[0].where}: {problems[0].what}; mend it first.")
