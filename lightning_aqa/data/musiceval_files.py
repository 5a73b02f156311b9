"""The files beside MusicEval's lists: prompts, ratings of single experts, published scores of systems."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning_aqa.batch import Axis
from lightning_aqa.data.manifest import Problem
from lightning_aqa.data.parsing import Ratings, parse_score, read_cells, read_csv
from lightning_aqa.data.separated import read_text, split_lines

_log = logging.getLogger(__name__)

AXES = (Axis("MI", "Musical impression", 1.0, 5.0), Axis("TA", "Textual alignment", 1.0, 5.0))
DEMO_SYSTEMS = frozenset({"S001", "S006", "S013", "S017", "S018", "S033"})
"""Systems known only by demonstrations on the web, whose prompts are listed per file."""

CHALLENGE = "audiomos2025-track1-"
PROMPT_FILES = ("prompt_info.txt", "demo_prompt_info.txt")
NAME = re.compile(r"(S\d+)_(P\d+)")
"""What a file name says: the system and the prompt."""


def find_prompt(clip_id: str, prompts: Mapping[str, str]) -> str | None:
    """Look a prompt up by P number, and for the demo systems by file name."""
    name = NAME.search(clip_id)
    if name is None:
        return None
    return prompts.get(_short(clip_id) if name[1] in DEMO_SYSTEMS else name[2])


def _short(name: str) -> str:
    """Return what two spellings of a file name share: neither the challenge's prefix nor ``.wav``."""
    return name.strip().removesuffix(".wav").removeprefix(CHALLENGE)


def read_prompts(folders: list[Path], problems: list[Problem]) -> dict[str, str] | None:
    """Read both prompt lists of all copies; a demo prompt's key is its short file name. None where there is no list."""
    paths = [folder / name for folder in folders for name in PROMPT_FILES if (folder / name).is_file()]
    if not paths:
        what = f"no {' or '.join(PROMPT_FILES)}; put them there, or give the parent of all MusicEval folders as root"
        problems.append(Problem("prompt not found", str(folders[0]), what))
        return None
    prompts: dict[str, str] = {}
    for path in paths:
        for number, line in enumerate(split_lines(read_text(path)), start=1):
            key, tab, text = line.partition("\t")
            if line.strip() and not tab:
                problems.append(Problem("bad row", f"{path}:{number}", f"expected id<TAB>text, found {line[:40]!r}"))
            elif tab and number > 1:
                prompts.setdefault(_short(key), text.strip())
    return prompts


def read_system_scores(folder: Path, problems: list[Problem]) -> dict[str, dict[str, float]]:
    """Read the published score per axis name per system, where a copy has them in ``system_mos``."""
    scores: dict[str, dict[str, float]] = {}
    for path in sorted((folder / "system_mos").glob("*")):
        for row in read_csv(path, problems, ["system", "MI", "TA"]):
            read = {axis.name: parse_score(row.fields[axis.name], axis, row.where, problems) for axis in AXES}
            scores.setdefault(str(row.fields["system"]).strip(), read)
    return scores


def read_person_mos(folder: Path, problems: list[Problem]) -> dict[str, Ratings]:
    """Read the ratings of each expert per clip id; the file of all clips adds those that no other file has."""
    ratings: dict[str, Ratings] = {}
    for path in sorted(folder.glob("*"), key=lambda path: (path.name.startswith("total"), path.name)):
        for clip_id, found in _read_person_file(path, problems).items():
            ratings.setdefault(clip_id, found)
    return ratings


def _read_person_file(path: Path, problems: list[Problem]) -> dict[str, Ratings]:
    ratings: dict[str, Ratings] = {}
    for where, name, rater, cells in _person_rows(path, problems):
        of_clip = ratings.setdefault(name.strip().removesuffix(".wav"), {})
        rater = rater.strip() or str(len(of_clip) + 1)
        if rater in of_clip:
            problems.append(Problem("duplicate rating", where, f"{rater} rated {name} before; this row is not used"))
            continue
        read = {axis.name: parse_score(cell, axis, where, problems) for axis, cell in zip(AXES, cells, strict=True)}
        of_clip[rater] = {axis: score for axis, score in read.items() if not math.isnan(score)}
    return ratings


def _person_rows(path: Path, problems: list[Problem]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield where, file, rater and the two scores; say so where the columns are not file,rater,MI,TA."""
    lines = list(read_cells(path))
    if not lines:
        return
    where, first = lines[0]
    kind = ["file" if NAME.search(cell) else "number" if _is_number(cell) else "word" for cell in first]
    order = {("file", 4): (0, 1), ("file", 3): (0, None)}.get((kind[0], len(first)))
    if order is None and len(first) == 4 and kind[1] == "file":
        order = (1, 0)
    if order is None or kind[-2:] != ["number", "number"]:
        what = f"expected file,rater,MI,TA, found {','.join(first)}; this file's single ratings are not used"
        problems.append(Problem("unknown columns", where, what))
        return
    if order != (0, 1):
        read_as = "rater,file,MI,TA" if order == (1, 0) else "file,MI,TA with the raters numbered"
        _log.warning("%s: expected file,rater,MI,TA, found %s; read as %s.", where, ",".join(first), read_as)
    for where, cells in lines:
        if len(cells) == len(first):
            yield where, cells[order[0]], "" if order[1] is None else cells[order[1]], cells[-2:]
        else:
            problems.append(Problem("bad row", where, f"expected {len(first)} columns, found {len(cells)}"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
