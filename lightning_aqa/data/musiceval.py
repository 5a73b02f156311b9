"""MusicEval: music of 31 text-to-music systems, rated by experts for musical impression and textual alignment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.musiceval_files import (
    AXES,
    CHALLENGE,
    DEMO_SYSTEMS,
    NAME,
    find_prompt,
    read_person_mos,
    read_prompts,
    read_system_scores,
)
from lightning_aqa.data.musiceval_parquet import extract_shards, find_shards
from lightning_aqa.data.parsing import Ratings, Row, entries_of, how_to_get, parse_score, read_csv, unique_clips
from lightning_aqa.data.validation import CorpusError

LISTS = {
    "train_mos_list.txt": "train",
    "dev_mos_list.txt": "dev",
    "test_mos_list.txt": "test",
    "eval_list.txt": "eval",
    "total_mos_list.txt": "total",
}
FOLDERS = ("MusicEval-full", "MusicEval-phase1", "audiomos2025-track1-eval-phase")


def read_musiceval(root: str | Path, extract_to: str | Path | None = None) -> Manifest:
    """Read the lists of MusicEval in whichever layout they are.

    A clip that several copies hold is taken from the fullest: ``MusicEval-full``, phase 1, evaluation phase. A clip of
    ``total_mos_list.txt`` counts only where no other list has it. Hub shards are read where there are no lists.

    Args:
        root: A MusicEval folder, its parent, a parent of several, or a folder with the parquet shards.
        extract_to: Where to put the audio of parquet shards; None is ``extracted`` in ``root``.

    Returns:
        Clips with the splits ``train``, ``dev``, ``test``, ``eval`` (unlabelled) and ``total``, their prompts, the
        ratings of each expert, and the published score per system where the copy has them.

    Raises:
        CorpusError: If no layout is recognised.
    """
    root = Path(root)
    problems: list[Problem] = []
    folders, shards = find_folders(root), find_shards(root)
    if not folders and not shards:
        raise CorpusError(
            f"{root} holds no MusicEval: looked for sets/train_mos_list.txt and its like there and in "
            f"{', '.join(FOLDERS)}, then for *.parquet; {entries_of(root)} "
            f"{how_to_get('MusicEval', 'musiceval')}"
        )
    prompts = read_prompts(folders or [root], problems)
    clips: dict[str, Clip] = {}
    system_scores: dict[str, dict[str, float]] = {}
    for folder in folders:
        for clip in _read_folder(folder, clips, prompts, problems):
            clips[clip.id] = clip
        system_scores = {**read_system_scores(folder, problems), **system_scores}
    if not folders:
        rows = extract_shards(shards, Path(extract_to or root / "extracted"))
        found = ((row.where, _clip(row, split, path, {}, prompts, problems)) for row, split, path in rows)
        clips = {clip.id: clip for clip in unique_clips(found, problems)}
    return Manifest(clips.values(), AXES, problems, system_scores)


def find_folders(root: Path) -> list[Path]:
    """Return the folders with lists under a root, the fullest copy first."""
    bases = [root, root / root.name, *(root / name / inner for name in FOLDERS for inner in ("", name))]
    candidates = [folder for base in bases for folder in (base, base / "DATA")]
    found = [folder for folder in candidates if any((folder / "sets" / name).is_file() for name in LISTS)]
    return sorted(dict.fromkeys(found), key=_emptiness)


def _emptiness(folder: Path) -> int:
    has = [(folder / "sets" / name).is_file() for name in ("test_mos_list.txt", "train_mos_list.txt")]
    return 0 if has[0] else 1 if has[1] else 2


def _read_folder(
    folder: Path, known: Mapping[str, Clip], prompts: Mapping[str, str] | None, problems: list[Problem]
) -> list[Clip]:
    """Read the clips of one copy that a fuller copy does not hold."""
    ratings = read_person_mos(folder / "person_mos", problems)
    found: list[tuple[str, Clip]] = []
    for name, split in LISTS.items():
        path = folder / "sets" / name
        if not path.is_file():
            continue
        listed = {clip.id for _, clip in found} if split == "total" else set()
        for row in read_csv(path, problems, ["file"] if split == "eval" else ["file", "MI", "TA"]):
            clip_id = _id(row)
            if clip_id not in known and clip_id not in listed:
                audio = folder / "wav" / f"{clip_id}.wav"
                found.append((row.where, _clip(row, split, audio, ratings.get(clip_id, {}), prompts, problems)))
    return unique_clips(found, problems)


def _id(row: Row) -> str:
    return str(row.fields["file"]).strip().removesuffix(".wav")


def _clip(
    row: Row, split: str, audio: Path, ratings: Ratings, prompts: Mapping[str, str] | None, problems: list[Problem]
) -> Clip:
    clip_id = _id(row)
    axes = [axis for axis in AXES if axis.name in row.fields]
    scores = {axis.name: parse_score(row.fields[axis.name], axis, row.where, problems, clip_id) for axis in axes}
    name = NAME.search(clip_id)
    system = name[1] if name else ""
    if not name:
        what = f"{clip_id} is not named as in {CHALLENGE}S002_P044.wav"
        problems.append(Problem("unknown system", row.where, what))
    prompt = find_prompt(clip_id, prompts or {})
    if prompt is None and prompts is not None and name:
        key = f"{clip_id}.wav in demo_prompt_info.txt" if system in DEMO_SYSTEMS else f"{name[2]} in prompt_info.txt"
        problems.append(Problem("prompt not found", row.where, f"no {key}", clip_id))
    return Clip(
        clip_id, str(audio), system=system, domain="music", prompt=prompt or "", split=split,
        scores=scores, ratings=ratings, source="MusicEval",
    )  # fmt: skip


class MusicEval(AQADataModule):
    """Serve MusicEval, in any layout in which it is handed out.

    Args:
        root: A MusicEval folder, its parent, a parent of several, or a folder with the hub's parquet shards.
        extract_to: Where to put the audio of parquet shards; null is ``extracted`` in ``root``.
    """

    where_to_get = {
        "MusicEval": "Get it from the hub dataset BAAI/MusicEval or from the AudioMOS 2025 challenge, track 1."
    }

    def __init__(self, root: str, extract_to: str | None = None, **loading: Any) -> None:
        super().__init__(**loading)
        self.root, self.extract_to = root, extract_to

    def read(self) -> Manifest:
        """Read the lists and prompts."""
        return read_musiceval(self.root, self.extract_to)
