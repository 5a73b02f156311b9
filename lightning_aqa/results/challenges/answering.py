"""From a table of scores to the bytes of an answer, and from an answer back to its scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_aqa.data.manifest import Problem
from lightning_aqa.results.challenges.checking import Fault, check_answer
from lightning_aqa.results.challenges.formats import SPACE, AnswerFormat, is_archive, pack, unpack, write_text
from lightning_aqa.results.challenges.settings import Files
from lightning_aqa.results.files import PREDICTIONS
from lightning_aqa.results.judge_scores import read_scores
from lightning_aqa.utils.documents import read_yaml
from lightning_aqa.utils.files import complete
from lightning_aqa.utils.text import shortened

Array = NDArray[np.float64]


def scores_of(path: Path, form: AnswerFormat, names: Sequence[str], column: str, faults: list[Fault]) -> Array:
    """Read the scores of the clips of a challenge.

    Args:
        path: Table of scores, or a run folder with predictions.
        form: Form of the answer.
        names: What the clips are called.
        column: Column of the scores, for one axis; empty looks for that of the axis.
        faults: Takes scores that are missing or wrong.

    Returns:
        Shape ``(N, A)``, NaN where there is none.

    Raises:
        ValueError: If it cannot be read, or scores none of the clips.
    """
    axes = [axis.name for axis in form.axes]
    if column and len(axes) > 1:
        raise ValueError(f"column is for a challenge with one axis; this one has {', '.join(axes)}.")
    if path.is_dir():
        path = path / PREDICTIONS
    problems: list[Problem] = []
    scores_NA = read_scores(path, "score", "", names, axes, column, problems)
    faults += [Fault(problem.kind, 0, f"{problem.where}: {problem.what}") for problem in problems]
    told = {problem.clip_id for problem in problems}
    for name, row in zip(names, scores_NA, strict=True):
        lacking = [axis for axis, score in zip(axes, row, strict=True) if np.isnan(score)]
        if lacking and name not in told:
            of = "" if len(lacking) == len(axes) else f" of {', '.join(lacking)}"
            faults.append(Fault("missing score", 0, f"{path} has no score{of} for {shortened(name)}; score it too"))
    return scores_NA


def on_scale(
    scores_NA: Array, form: AnswerFormat, names: Sequence[str], *, is_clipped: bool
) -> tuple[Array, list[Fault]]:
    """Return the scores, those beyond an end of their scale as that end, and what is told or refused of these.

    Args:
        scores_NA: Shape ``(N, A)``.
        form: Form of the answer.
        names: What the clips are called.
        is_clipped: Whether such scores are clipped; else they stay.
    """
    low, high = (np.array([getattr(axis, end) for axis in form.axes]) for end in ("low", "high"))
    clipped_NA = np.clip(scores_NA, low, high)
    verb = "is written as that end" if is_clipped else "clip_to_scale clips it"
    beyond = [
        Fault("out of range", 0, f"{form.axes[a].name} of {shortened(names[n])} is {scores_NA[n, a]:g}, beyond "
              f"{form.axes[a].low:g} to {form.axes[a].high:g}; {verb}")
        for n, a in np.argwhere(clipped_NA != scores_NA) if not np.isnan(scores_NA[n, a])
    ]  # fmt: skip
    return (clipped_NA if is_clipped else scores_NA), beyond


def write_answer(path: Path, files: Files, form: AnswerFormat, names: Sequence[str], scores_NA: Array) -> bool:
    """Write an answer that has no fault.

    Args:
        path: Answer to write.
        files: For what belongs beside it in an archive.
        form: Its form.
        names: What the clips are called.
        scores_NA: Shape ``(N, A)``, finite and on their scales.

    Returns:
        Whether it was written; not where the same answer is there.

    Raises:
        ValueError: If another file is there, or one that belongs beside it is missing.
    """
    text = write_text(form, names, scores_NA)
    left = check_answer(text.encode("utf-8"), form, names)
    assert not left, left[:3]
    data = pack(path, form, text, _beside(path, files, form))
    if path.exists():
        if path.is_file() and path.read_bytes() == data:
            return False
        raise ValueError(
            f"{path}: another file is there; move it away or name another answer, or check it with --check."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as part:
        part.write_bytes(data)
    return True


def _beside(path: Path, files: Files, form: AnswerFormat) -> dict[str, bytes]:
    if not is_archive(path) or not form.beside:
        return {}
    (name,) = form.beside
    if files.readme is None:
        raise ValueError(f"{path}: the organisers want {name} in it too; name yours with readme.")
    if not isinstance(read_yaml(files.readme), dict):
        raise ValueError(f"{files.readme}: no settings in it, such as team: NAME; fill in the organisers' template.")
    return {name: Path(files.readme).read_bytes()}


def read_answer(path: Path, form: AnswerFormat, names: Sequence[str]) -> tuple[Array | None, list[Fault]]:
    """Read an answer back.

    Returns:
        The scores in the order of the names, shape ``(N, A)``, or None where there are faults; and these.

    Raises:
        ValueError: If it cannot be read at all.
    """
    data, others = unpack(path, form)
    faults = [Fault("archive", 0, what) for what in others] + check_answer(data, form, names)
    if faults:
        return None, faults
    text = data.decode("utf-8")
    if form.delimiter == SPACE:
        rows = [line.split(SPACE) for line in text.removesuffix("\n").split("\n")]
    else:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=form.delimiter))
    return np.array([[float(cell) for cell in row[1:]] for row in rows[bool(form.header) :]]), []
