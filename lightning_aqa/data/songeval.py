"""SongEval: whole songs of generators, rated by musicians for five things that make a song."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.listed_clips import ListedClips, folders_with, with_made_splits
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.parsing import rows_with
from lightning_aqa.data.separated import read_text
from lightning_aqa.data.splits import DEFAULT_FRACTIONS

AXES = (
    Axis("Coherence", "Overall coherence", 1.0, 5.0),
    Axis("Musicality", "Overall musicality", 1.0, 5.0),
    Axis("Memorability", "Memorability", 1.0, 5.0),
    Axis("Clarity", "Clarity of song structure", 1.0, 5.0),
    Axis("Naturalness", "Naturalness of vocal breathing and phrasing", 1.0, 5.0),
)
LIST, VALIDATION = "metadata.jsonl", "val_ids.txt"


def read_songeval(root: str | Path) -> Manifest:
    """Read ``metadata.jsonl``: a song per line, ``annotation`` with a rating of five axes per musician.

    The ratings carry no names, so a listener's name is the position in the list.

    Args:
        root: The hub's files, or a folder above them; with ``val_ids.txt`` of the ASAE challenge, where you have it.

    Returns:
        Songs with the splits ``train`` and ``dev`` of the challenge; without ``val_ids.txt`` made ones.

    Raises:
        CorpusError: If there is no list, or it lacks a column.

    Reference:
        Yao et al., SongEval: a benchmark dataset for song aesthetics evaluation, arXiv 2505.10793. Format: the hub
        dataset ASLP-lab/SongEval, and val_ids.txt of ASLP-lab/Automatic-Song-Aesthetics-Evaluation-Challenge.
    """
    (folder, *_) = folders_with(root, "SongEval", [LIST])
    listed = ListedClips(AXES)
    for row in rows_with(folder / LIST, ["file_name", "annotation"], listed.problems):
        name, given = str(row.fields["file_name"]).strip(), row.fields["annotation"]
        path = folder / (name if "/" in name else f"mp3/{name}")
        clip = Clip(path.stem, str(path), domain="music", split="train", source="SongEval")
        listed.add(row.where, clip)
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            what = "annotation is no list of a rating per musician"
            listed.problems.append(Problem("bad row", row.where, what, clip.id))
            continue
        for number, one in enumerate(given, start=1):
            listed.rate(row.where, clip, str(number), one)
    return _with_splits(folder, listed.manifest())


def _with_splits(folder: Path, manifest: Manifest) -> Manifest:
    if not (folder / VALIDATION).is_file():
        return with_made_splits(manifest, DEFAULT_FRACTIONS, f"SongEval: no {VALIDATION} in {folder}.")
    held_out = {Path(line.strip()).stem for line in read_text(folder / VALIDATION).split()}
    clips = (replace(clip, split="dev") if clip.id in held_out else clip for clip in manifest)
    return Manifest(clips, manifest.axes, manifest.problems)


class SongEval(AQADataModule):
    """Serve SongEval.

    Args:
        root: The hub's files, or a folder above them; with ``val_ids.txt`` of the ASAE challenge, where you have it.
    """

    where_to_get = {"SongEval": "Get the hub dataset ASLP-lab/SongEval (11 GB)."}

    def __init__(self, root: str, **loading: Any) -> None:
        super().__init__(**loading)
        self.root = root

    def read(self) -> Manifest:
        """Read the list."""
        return read_songeval(self.root)
