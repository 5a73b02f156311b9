"""Pairs to predict: the clips that they name, and the probability of each winner once these are scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Problem
from lightning_aqa.data.missing import with_ending
from lightning_aqa.data.pairs import NamedPair, read_named_pairs
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.writer import ScoreWriter
from lightning_aqa.scoring.written import read_written
from lightning_aqa.utils.davidson import PairLink, probabilities
from lightning_aqa.utils.records import write_records

COLUMNS = ("clip_a", "clip_b", "axis", "score_a", "score_b", "p_a", "p_b", "p_tie")


def check_link(link: PairLink | None, source: str) -> PairLink:
    """Return the link of a model, or say that it has none.

    Raises:
        ValueError: If it was not trained on pairs.
    """
    if link is None:
        raise ValueError(
            f"{source} was not trained on pairs, so that its scores have no probabilities: train it by "
            "--data=PairTable and --objectives.pairs=BradleyTerry, or leave out --pairs for its scores."
        )
    return link


def read_pairs_to_score(path: str, inputs: Sequence[str], axes: Sequence[Axis]) -> tuple[list[NamedPair], list[Item]]:
    """Read a table of pairs, of which nobody need know the winner, and list each of its clips once.

    Args:
        path: The table.
        inputs: The folder that its paths start from.
        axes: What the model scores.

    Raises:
        ValueError: If there is no such folder, or a row is no pair; it is named.
    """
    if len(inputs) != 1 or not Path(inputs[0]).is_dir():
        raise ValueError(f"--pairs takes the folder that its paths start from, got {' '.join(inputs)}.")
    problems: list[Problem] = []
    names = [axis.name for axis in axes]
    pairs = read_named_pairs(path, problems)
    for pair in pairs:
        if pair.axis and pair.axis not in names:
            problems.append(Problem("bad pair", pair.where, f"axis is {pair.axis!r}, expected {', '.join(names)}"))
    if problems:
        raise ValueError(f"{problems[0].where}: {problems[0].what}.")
    folder = Path(inputs[0])
    clips = dict.fromkeys(name for pair in pairs for name in pair.clips)
    return pairs, [Item(name, with_ending((folder / name).as_posix())) for name in clips]


def write_probabilities(
    table: ScoreWriter, pairs: Iterable[NamedPair], axes: Sequence[Axis], link: PairLink
) -> tuple[Path, int]:
    """Write a row per pair and axis beside the table of scores; empty cells where a clip has none.

    Args:
        table: The scores.
        pairs: The pairs; those that name no axis are of all.
        axes: What the model scores.
        link: From scores to probabilities.

    Returns:
        The file and its number of rows.
    """
    scores = {id_: clip.scores for id_, clip in read_written(table).items()}
    nothing = (math.nan,) * len(axes)
    rows: list[list[object]] = []
    for pair in pairs:
        one, other = (scores.get(name, nothing) for name in pair.clips)
        for a, axis in enumerate(axes):
            if pair.axis in ("", axis.name):
                odds = probabilities(np.array([link.slopes[a] * (one[a] - other[a])]), link.ties[a])[0]
                numbers = [round(value, 6) for value in (one[a], other[a], *odds.tolist())]
                rows.append([*pair.clips, axis.name, *("" if math.isnan(value) else value for value in numbers)])
    path = table.path.with_name(f"{table.path.stem}.pairs.csv")
    write_records(path, COLUMNS, rows)
    return path, len(rows)
