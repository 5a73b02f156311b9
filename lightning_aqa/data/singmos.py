"""SingMOS: Chinese and Japanese singing of synthesis, conversion and codecs, track 2 of the VoiceMOS Challenge 2024."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.listed_clips import ListedClips, first_two, folders_with
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.parsing import read_csv

AXES = (Axis("mos", "Naturalness", 1.0, 5.0),)
LISTS = {"train_mos_list.txt": "train", "val_mos_list.txt": "dev", "eval_mos_list.txt": "test"}


def read_singmos(root: str | Path) -> Manifest:
    """Read the lists of SingMOS, whose lines are ``voicemos2024-track2-sys0001-utt0001,4.000000``.

    Args:
        root: ``DATA`` of the challenge, or a folder above that of the training phase and that of the evaluation phase.

    Returns:
        Clips with the splits ``train``, ``dev`` and ``test``.

    Raises:
        CorpusError: If there is no list.

    Reference:
        Tang et al., SingMOS: an extensive open-source singing voice dataset for MOS prediction, arXiv 2406.10911.
        Format: data_prep.py and run.sh of egs/singmos in unilight/sheet.
    """
    listed = ListedClips(AXES)
    for folder in folders_with(root, "SingMOS", [f"sets/{name}" for name in LISTS]):
        for name, split in LISTS.items():
            if (path := folder / "sets" / name).is_file():
                for where, clip_id, mean in first_two(read_csv(path, listed.problems, ["file", "mos"])):
                    listed.add(where, _clip(folder, clip_id, split), {"mos": mean})
    return listed.manifest()


def _clip(folder: Path, clip_id: str, split: str) -> Clip:
    parts = clip_id.split("-")
    system = parts[-2] if len(parts) > 1 else ""
    path = folder / "wav" / f"{clip_id}.wav"
    return Clip(clip_id, str(path), system=system, domain="singing", split=split, source="SingMOS")


class SingMOS(AQADataModule):
    """Serve SingMOS, track 2 of the VoiceMOS Challenge 2024.

    Args:
        root: ``DATA`` of the challenge, or a folder above that of the training phase and that of the evaluation phase.
    """

    where_to_get = {
        "SingMOS": "Get both archives of track 2 of the VoiceMOS Challenge 2024: voicemos2024-track2-train-phase.zip "
        "and voicemos2024-track2-eval-phase.zip."
    }

    def __init__(self, root: str, **loading: Any) -> None:
        super().__init__(**loading)
        self.root = root

    def read(self) -> Manifest:
        """Read the lists."""
        return read_singmos(self.root)
