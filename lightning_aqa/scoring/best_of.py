"""The best clip of each prompt, and pairs of a better and a worse one to train a generator with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from lightning_aqa.batch import Axis
from lightning_aqa.scoring.inputs import Item
from lightning_aqa.scoring.writer import ScoreWriter
from lightning_aqa.scoring.written import WrittenClip, read_written
from lightning_aqa.utils.files import replacing
from lightning_aqa.utils.records import write_records

By = Literal["prompt", "folder"]
COLUMNS = ("group", "id", "path", "reward", "clips", "ahead", "sure", "note")


class Ranked(NamedTuple):
    """A clip of a group.

    Args:
        item: The clip.
        reward: Lower bound of its quality, mean over axes, from 0 (lowest score of the scale) to 1; the score itself
            where there are no intervals.
        highest: Upper bound, likewise.
        note: Why its score means little.
    """

    item: Item
    reward: float
    highest: float
    note: str


def group_items(items: Iterable[Item], by: By) -> dict[str, list[Item]]:
    """Return the clips of each prompt, or of each folder, in their order.

    Raises:
        ValueError: If no clip has a prompt.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        name = item.prompt if by == "prompt" else Path(item.path).parent.as_posix()
        if name and not item.error:
            groups.setdefault(name, []).append(item)
    if not groups:
        raise ValueError(
            f"--best_of={by}: no clip has a {by}; give JSON lines with path and prompt, or --best_of=folder for "
            "clips with a folder per prompt."
        )
    return groups


def rank(items: Sequence[Item], scores: dict[str, WrittenClip], axes: Sequence[Axis]) -> list[Ranked]:
    """Rank clips that have scores by reward, those whose score has a note after all others."""
    found = [_ranked(item, scores[item.id], axes) for item in items if item.id in scores]
    return sorted(found, key=lambda clip: (bool(clip.note), -clip.reward))


def _ranked(item: Item, clip: WrittenClip, axes: Sequence[Axis]) -> Ranked:
    def on_scale(values: Sequence[float]) -> float:
        return sum((v - axis.low) / (axis.high - axis.low) for v, axis in zip(values, axes, strict=True)) / len(axes)

    lows, highs = (
        [score if math.isnan(ends[end]) else ends[end] for score, ends in zip(clip.scores, clip.ends, strict=True)]
        for end in (0, 1)
    )
    return Ranked(item, on_scale(lows), on_scale(highs), clip.note)


def write_best(
    table: ScoreWriter, items: Iterable[Item], by: By, axes: Sequence[Axis]
) -> tuple[Path, int, Path, int, list[str]]:
    """Write the best clip of each group, and a pair of the best and the worst one.

    ``sure`` says that the intervals of the best and of the one that it is compared with do not overlap. A group without
    a second clip has no pair; nor has one whose best clip is no better than the worst.

    Args:
        table: The scores.
        items: The clips that were scored, with their prompts.
        by: What makes a group.
        axes: What the model scores.

    Returns:
        The table of the best and its rows, the JSON lines of pairs (prompt, chosen, rejected, as trainers of preference
        optimisation read them) and their number, and the groups without a score, which have no best clip.
    """
    scores, rows, pairs = read_written(table), list[list[object]](), list[dict[str, object]]()
    groups = group_items(items, by)
    for name, group in groups.items():
        ranked = rank(group, scores, axes)
        if not ranked:
            continue
        best, others = ranked[0], ranked[1:]
        ahead = best.reward - others[0].reward if others else math.nan
        sure = bool(others) and best.reward > others[0].highest
        shown = "" if math.isnan(ahead) else round(ahead, 6)
        rows.append([name, best.item.id, best.item.path, round(best.reward, 6), len(ranked), shown, sure, best.note])
        sound = [clip for clip in ranked if not clip.note]
        if len(sound) > 1 and sound[0].reward > sound[-1].reward:
            pairs.append(_pair(name, sound[0], sound[-1]))
    best_path, pairs_path = (table.path.with_name(f"{table.path.stem}.{name}") for name in ("best.csv", "pairs.jsonl"))
    write_records(best_path, COLUMNS, rows)
    with replacing(pairs_path, errors="backslashreplace") as file:
        file.writelines(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
    has_best = {row[0] for row in rows}
    return best_path, len(rows), pairs_path, len(pairs), [name for name in groups if name not in has_best]


def _pair(prompt: str, best: Ranked, worst: Ranked) -> dict[str, object]:
    rewards = {"chosen_reward": round(best.reward, 6), "rejected_reward": round(worst.reward, 6)}
    return {
        "prompt": prompt,
        "chosen": best.item.path,
        "rejected": worst.item.path,
        **rewards,
        "sure": best.reward > worst.highest,
    }
