"""A table of pairs: which of two clips a listener found better, row by row, with what is wrong with each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

from lightning_aqa.data.columns import ROLES, SPLITS, is_empty
from lightning_aqa.data.manifest import Manifest, Pair, Problem, Winner
from lightning_aqa.data.parsing import Row, read_rows
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.text import did_you_mean, shortened

_KINDS = ("clip", "file", "path", "audio", "audio_path", "wav", "wav_path", "filename", "sample", "stimulus", "id", "")


def _sided(kinds: Sequence[str], letter: str, number: str) -> tuple[str, ...]:
    ends = (f"_{letter}", f"_{number}", number)
    return tuple(f"{kind}{end}" for kind in kinds for end in ends if kind) + ((letter,) if "" in kinds else ())


PAIR_ROLES: dict[str, tuple[str, ...]] = {
    "clip_a": (*_sided(_KINDS, "a", "1"), "left", "first"),
    "clip_b": (*_sided(_KINDS, "b", "2"), "right", "second"),
    "winner": ("winner", "preference", "preferred", "choice", "chosen", "vote", "better", "outcome", "answer", "label"),
    "listener": (*ROLES["listener"], "user", "user_id", "judge", "voter"),
    "axis": (*ROLES["axis"], "criterion", "question"),
    "weight": ("weight", "count", "votes"),
    "split": ROLES["split"],
    "prompt": ROLES["prompt"],
    "system_a": _sided(("system", "model"), "a", "1"),
    "system_b": _sided(("system", "model"), "b", "2"),
}
"""Names that the columns of a table of pairs go by, the likeliest first; case does not matter."""

_SIDES = ("clip", "file", "audio", "model", "system", "sample", "option")
WINNERS: dict[str, Winner] = {"left": "a", "first": "a", "1": "a", "right": "b", "second": "b", "2": "b"}
WINNERS |= {name: "a" for kind in _SIDES for name in ("a", f"{kind}_a", f"{kind} a", f"{kind}_1", f"{kind}1")}
WINNERS |= {name: "b" for kind in _SIDES for name in ("b", f"{kind}_b", f"{kind} b", f"{kind}_2", f"{kind}2")}
WINNERS |= dict.fromkeys(
    ("tie", "tied", "draw", "equal", "same", "both", "neither", "both_good", "both_bad", "bothbad", "tie (bothbad)",
     "no preference", "no_preference"), "tie"
)  # fmt: skip
"""Words for the winner, in small letters. Of 0 and 1 nobody knows whether they count the clips or say that a won."""


MOST_WEIGHT = 1e9
"""Largest weight of a row, and one over the smallest: sums of such weights are numbers in float32."""

JUDGED = ("clip_a", "clip_b", "winner")
"""Columns that a table of judgments must have."""


class NamedPair(NamedTuple):
    """Two clips to compare, of which nobody need know the better one; ``axis`` is empty where none is named."""

    where: str
    clips: tuple[str, str]
    axis: str = ""


class PairRow(NamedTuple):
    """One row of a table of pairs, as it stands there; ``axis`` is empty where the table has no such column."""

    where: str
    clips: tuple[str, str]
    winner: Winner
    axis: str
    listener: str
    weight: float
    split: str
    prompt: str
    systems: tuple[str, str]

    def pair(self) -> Pair:
        """Return the pair alone."""
        return Pair(*self.clips, self.winner, self.axis, self.listener, self.weight)


def read_pairs(
    path: str | Path,
    problems: list[Problem],
    *,
    columns: Mapping[str, str] | None = None,
    axis: str = "",
    known: Mapping[str, str] | None = None,
) -> list[PairRow]:
    r"""Read a table of pairs: CSV, TSV, JSON lines or a JSON array, with a row per judgment.

    A row that cannot be used is left out, with a note of what is wrong and where: no clip, a clip against itself, no
    winner that is known, a weight that is none, a listener who said the same or something else before.

    Args:
        path: The table.
        problems: Takes the notes.
        columns: Column per role (see ``PAIR_ROLES``) where its name does not tell; an empty name is a role that no
            column has.
        axis: Axis of the rows that name none.
        known: Id by file, of clips that are known under another name.

    Raises:
        CorpusError: If the table has no rows, or no columns for the clips or the winner.
        ValueError: If ``columns`` names no role.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs.csv"
        >>> _ = path.write_text("clip_a,clip_b,winner\na.wav,b.wav,b\nc.wav,c.wav,a\n")
        >>> problems: list[Problem] = []
        >>> [row.pair() for row in read_pairs(path, problems)]
        [Pair(clip_a='a.wav', clip_b='b.wav', winner='b', axis='', listener='', weight=1.0)]
        >>> problems[0].what
        "'c.wav' is compared with itself"
    """
    rows, chosen = _rows_and_columns(Path(path), problems, columns or {}, JUDGED)
    found = []
    for row in rows:
        read = _read_row(row, chosen, axis, {} if known is None else known)
        if isinstance(read, PairRow):
            found.append(read)
        else:
            problems.append(read)
    return _without_repeats(found, problems)


def with_compared(manifest: Manifest) -> Manifest:
    """Mark the clips that are in a pair, and no others."""
    compared = {name for pair in manifest.pairs for name in (pair.clip_a, pair.clip_b)}
    return manifest.with_clips(
        replace(clip, is_compared=is_in) if (is_in := clip.id in compared) != clip.is_compared else clip
        for clip in manifest
    )


def read_named_pairs(path: str | Path, problems: list[Problem]) -> list[NamedPair]:
    """Read the clips of a table of pairs, and what axis they are about, whether or not it has winners.

    Args:
        path: The table.
        problems: Takes notes on the rows that are no pairs, which are left out.

    Raises:
        CorpusError: If it has no rows, or no columns for the clips.
    """
    rows, chosen = _rows_and_columns(Path(path), problems, {}, JUDGED[:2])
    found = []
    for row in rows:
        clips = _clips(row, chosen, {})
        if isinstance(clips, Problem):
            problems.append(clips)
        else:
            found.append(NamedPair(row.where, clips, _text(row, chosen, "axis")))
    return found


def _rows_and_columns(
    path: Path, problems: list[Problem], columns: Mapping[str, str], needed: Sequence[str]
) -> tuple[list[Row], dict[str, str]]:
    """Read the rows of a table, and find the column of each role."""
    rows = read_rows(path, problems)
    if not rows:
        first = next((f"{problem.where}: {problem.what}" for problem in problems), f"{path}: no rows in it")
        raise CorpusError(f"{first}; expected a row per pair with the columns {', '.join(needed)}.")
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    return rows, _choose_columns(path, names, columns, needed)


def _choose_columns(
    path: Path, names: Sequence[str], columns: Mapping[str, str], needed: Sequence[str] = JUDGED
) -> dict[str, str]:
    for role, column in columns.items():
        if role not in PAIR_ROLES:
            known = ", ".join(PAIR_ROLES)
            raise ValueError(f"columns names {role!r}, which is none of {known}.{did_you_mean(role, PAIR_ROLES)}")
        if column and column not in names:
            has = shortened(", ".join(names), 200)
            raise CorpusError(f"{path}: no column {column!r} for {role}; it has {has}.{did_you_mean(column, names)}")
    chosen, lowered = dict(columns), {name.lower(): name for name in names if name not in columns.values()}
    for role, candidates in PAIR_ROLES.items():
        found = next((lowered[candidate] for candidate in candidates if candidate in lowered), "")
        if role not in chosen and found:
            chosen[role] = lowered.pop(found.lower())
    for role in needed:
        if not chosen.get(role):
            has = shortened(", ".join(names), 200)
            raise CorpusError(
                f"{path}: no column for {role} ({', '.join(PAIR_ROLES[role][:4])}); it has {has}. Name it by "
                f"--data.columns='{{{role}: COLUMN}}'."
            )
    return {role: column for role, column in chosen.items() if column}


def _read_row(row: Row, chosen: Mapping[str, str], axis: str, known: Mapping[str, str]) -> PairRow | Problem:
    """Return what a row says, or what is wrong with it."""
    clips = _clips(row, chosen, known)
    if isinstance(clips, Problem):
        return clips
    texts = {role: _text(row, chosen, role) for role in chosen}
    winner = _winner(texts["winner"], (texts["clip_a"], texts["clip_b"]), clips)
    if winner is None:
        says = f"winner is {shortened(texts['winner'])!r}, expected" if texts["winner"] else "no winner; expected"
        return Problem("bad pair", row.where, f"{says} a, b, tie, or the name of one of the two clips")
    weight = _weight(texts.get("weight", ""))
    if weight is None:
        says = f"weight is {shortened(texts['weight'])!r}, expected a number above 0, at most {MOST_WEIGHT:g}"
        return Problem("bad pair", row.where, says)
    split = texts.get("split", "")
    return PairRow(
        row.where, clips, winner, texts.get("axis") or axis, texts.get("listener", ""), weight,
        SPLITS.get(split.lower(), split), texts.get("prompt", ""),
        (texts.get("system_a", ""), texts.get("system_b", "")),
    )  # fmt: skip


def _text(row: Row, chosen: Mapping[str, str], role: str) -> str:
    cell = row.fields.get(chosen[role]) if role in chosen else None
    return "" if is_empty(cell) else str(cell).strip()


def _clips(row: Row, chosen: Mapping[str, str], known: Mapping[str, str]) -> tuple[str, str] | Problem:
    """Return the ids of the clips of a row, or what is wrong with them."""
    for role in JUDGED[:2]:
        if not _text(row, chosen, role) or isinstance(row.fields.get(chosen[role]), list | dict):
            return Problem("bad pair", row.where, f"no {role} in the column {chosen[role]!r}")
    one, other = (_id_of(_text(row, chosen, role), known) for role in JUDGED[:2])
    if one == other:
        return Problem("bad pair", row.where, f"{shortened(one)!r} is compared with itself")
    return one, other


def _id_of(file: str, known: Mapping[str, str]) -> str:
    plain = PurePath(file).as_posix()
    return known.get(file) or known.get(plain) or plain


def _winner(text: str, *named: tuple[str, str]) -> Winner | None:
    for one, other in named:
        if text in (one, other) and text:
            return "a" if text == one else "b"
    return WINNERS.get(text.lower())


def _weight(text: str) -> float | None:
    try:
        weight = float(text or 1)
    except ValueError:
        return None
    return weight if 1 / MOST_WEIGHT <= weight <= MOST_WEIGHT else None


def _without_repeats(rows: Iterable[PairRow], problems: list[Problem]) -> list[PairRow]:
    """Leave out what a listener with a name said twice of the same clips, and all of what contradicts itself."""
    first: dict[tuple[str, str, frozenset[str]], PairRow] = {}
    contradicted, kept = set[str](), []
    for row in rows:
        key = row.listener, row.axis, frozenset(row.clips)
        before = first.setdefault(key, row) if row.listener else row
        if before is row:
            kept.append(row)
            continue
        pair = f"{shortened(row.listener, 40)} on {shortened(row.clips[0])} and {shortened(row.clips[1])}"
        same = _best(before) == _best(row)
        says = "the same as" if same else f"{_said(row)}, but {_said(before)}"
        used = "this row is not used" if same else "neither row is used"
        kind = "duplicate pair" if same else "contradicting pairs"
        problems.append(Problem(kind, row.where, f"{pair}: {says} at {before.where}; {used}"))
        if not same:
            contradicted.add(before.where)
    return [row for row in kept if row.where not in contradicted]


def _best(row: PairRow) -> str:
    return {"a": row.clips[0], "b": row.clips[1], "tie": ""}[row.winner]


def _said(row: PairRow) -> str:
    best = _best(row)
    return f"{shortened(best)} wins" if best else "a tie"
