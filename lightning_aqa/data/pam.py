"""PAM: sound and music of text-to-audio models and real recordings, rated for quality and for the match to the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.listed_clips import ListedClips, folders_with, with_made_splits
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.parsing import Row, rows_with
from lightning_aqa.data.splits import check_fractions

AXES = (Axis("OVL", "Overall quality", 1.0, 5.0), Axis("REL", "Relevance to the text", 1.0, 5.0))
LISTS = {"audio/scores.csv": "sound", "music/scores.csv": "music"}
TEXTS = ("prompt", "text", "caption")


def read_pam(root: str | Path, fractions: dict[str, float] | None = None) -> Manifest:
    """Read ``scores.csv`` of both tasks, with the columns Model, File Name, OVL and REL.

    Args:
        root: ``human_eval`` of the archive, or a folder above it.
        fractions: Share of the clips per split; None makes all ``test``, as it is a set to evaluate on.

    Returns:
        Clips, their systems ``audio/<model>`` and ``music/<model>``, the real recordings among them.

    Raises:
        CorpusError: If there is no list, or it lacks a column.

    Reference:
        Deshmukh et al., PAM: prompting audio-language models for audio quality assessment, Interspeech 2024. Format:
        pcc.py of soham97/PAM.
    """
    (folder, *_) = folders_with(root, "PAM", list(LISTS))
    listed = ListedClips(AXES)
    for name, domain in LISTS.items():
        if (path := folder / name).is_file():
            for row in rows_with(path, ["Model", "File Name", "OVL", "REL"], listed.problems):
                listed.add(row.where, _clip(row, path.parent, domain), row.fields)
    manifest = listed.manifest()
    return manifest if fractions is None else with_made_splits(manifest, fractions, "PAM has no splits.")


def _clip(row: Row, folder: Path, domain: str) -> Clip:
    model, name = (str(row.fields[column]).strip() for column in ("Model", "File Name"))
    system, name = f"{folder.name}/{model}", name.removesuffix(".wav")
    texts = [str(text).strip() for column, text in row.fields.items() if column.lower() in TEXTS]
    return Clip(
        f"{system}/{name}", str(folder / model / f"{name}.wav"), system=system, domain=domain, split="test",
        prompt=next(iter(texts), ""), source="PAM",
    )  # fmt: skip


class PAM(AQADataModule):
    """Serve the human evaluation of PAM.

    Args:
        root: ``human_eval`` of the archive, or a folder above it.
        fractions: Share of the clips per split; null makes all ``test``, as it is a set to evaluate on.
    """

    where_to_get = {"PAM": "Get human_eval of Zenodo record 10737388."}

    def __init__(self, root: str, fractions: dict[str, float] | None = None, **loading: Any) -> None:
        super().__init__(**loading)
        if fractions is not None:
            check_fractions(fractions)
        self.root, self.fractions = root, fractions

    def read(self) -> Manifest:
        """Read the lists."""
        return read_pam(self.root, self.fractions)
