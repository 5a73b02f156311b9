"""BVCC: English speech of 187 synthesis and conversion systems, the main track of the VoiceMOS Challenge 2022."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.listed_clips import ListedClips, first_two, folders_with
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.parsing import read_csv

AXES = (Axis("mos", "Naturalness", 1.0, 5.0),)
LISTS = {"train": ("TRAINSET", "train_mos_list.txt"), "dev": ("DEVSET", "val_mos_list.txt"),
         "test": ("TESTSET", "test_mos_list.txt")}  # fmt: skip
RATING = ("system", "file", "mos", "page", "listener")


def read_bvcc(root: str | Path) -> Manifest:
    """Read the lists of BVCC: means, and single ratings where there are some.

    A line of a ``SET`` is ``sys64e2f,sys64e2f-utt9c183cd.wav,4,VDP1ov_1,{}_30-39_bZPQE7w4Zl3g_Female_Valid_1_No``, in
    which ``bZPQE7w4Zl3g`` is the listener. A line of a list of means is ``sys64e2f-utt9c183cd.wav,4.25``.

    Args:
        root: ``DATA`` of the archive, or a folder above it.

    Raises:
        CorpusError: If there is no list.

    Reference:
        Cooper and Yamagishi, How do voices from past speech synthesis challenges compare today?, SSW 2021. Format:
        data_prep.py and run.sh of egs/bvcc in unilight/sheet.
    """
    (folder, *_) = folders_with(root, "BVCC", [f"sets/{name}" for names in LISTS.values() for name in names])
    listed = ListedClips(AXES)
    for split, (ratings, means) in LISTS.items():
        if (path := folder / "sets" / means).is_file():
            for where, name, mean in first_two(read_csv(path, listed.problems, ["file", "mos"])):
                listed.add(where, _clip(folder, name, split), {"mos": mean})
        if (path := folder / "sets" / ratings).is_file():
            for row in read_csv(path, listed.problems, RATING):
                name = str(row.fields["file"]).strip().removesuffix(".wav")
                listener = str(row.fields["listener"]).strip()
                parts = listener.split("_")
                who = parts[2] if len(parts) > 2 else listener
                listed.rate(row.where, _clip(folder, name, split), who, row.fields)
    return listed.manifest()


def _clip(folder: Path, name: str, split: str) -> Clip:
    path, system = folder / "wav" / f"{name}.wav", name.split("-")[0]
    return Clip(name, str(path), system=system, domain="speech", split=split, source="BVCC")


class BVCC(AQADataModule):
    """Serve BVCC, the main track of the VoiceMOS Challenge 2022.

    Args:
        root: ``DATA`` of the archive, or a folder above it.
    """

    where_to_get = {
        "BVCC": "Get main.tar.gz of Zenodo record 6572573; its scripts fetch and prepare the part of the Blizzard "
        "Challenge, which may not be passed on."
    }

    def __init__(self, root: str, **loading: Any) -> None:
        super().__init__(**loading)
        self.root = root

    def read(self) -> Manifest:
        """Read the lists."""
        return read_bvcc(self.root)
