"""SOMOS: English speech of 200 neural synthesis systems and of one natural voice, 20 100 utterances."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.listed_clips import ListedClips, first_two, folders_with
from lightning_aqa.data.manifest import Clip, Manifest
from lightning_aqa.data.parsing import read_csv, rows_with

AXES = (Axis("mos", "Naturalness", 1.0, 5.0),)
LISTS = {"train": ("TRAINSET", "train_mos_list.txt"), "dev": ("VALIDSET", "valid_mos_list.txt"),
         "test": ("TESTSET", "test_mos_list.txt")}  # fmt: skip
Subset = Literal["clean", "full"]


def read_somos(root: str | Path, subset: Subset = "clean") -> Manifest:
    """Read the lists of SOMOS: means, and single ratings where there are some.

    A ``SET`` has the columns systemId, utteranceId, choice and listenerId, a list of means utteranceId and mean; an
    utterance is ``novel_2007_0098_015``, whose last part is the system, 000 for the natural voice.

    Args:
        root: The unpacked archive, with ``audios`` unpacked in it, or a folder above it.
        subset: Ratings of pages that pass the quality checks (``clean``), or all (``full``).

    Raises:
        CorpusError: If there is no list, or it lacks a column.

    Reference:
        Maniati et al., SOMOS: the Samsung open MOS dataset, Interspeech 2022. Format: readme.txt of the archive, and
        data_prep.py of egs/somos in unilight/sheet.
    """
    lists = f"training_files/split1/{subset}"
    (folder, *_) = folders_with(root, "SOMOS", [f"{lists}/{name}" for names in LISTS.values() for name in names])
    listed = ListedClips(AXES)
    for split, (ratings, means) in LISTS.items():
        if (path := folder / lists / means).is_file():
            for where, name, mean in first_two(read_csv(path, listed.problems)):
                listed.add(where, _clip(folder, name, split), {"mos": mean})
        if (path := folder / lists / ratings).is_file():
            for row in rows_with(path, ["systemId", "utteranceId", "choice", "listenerId"], listed.problems):
                name = str(row.fields["utteranceId"]).strip().removesuffix(".wav")
                who = str(row.fields["listenerId"]).strip()
                listed.rate(row.where, _clip(folder, name, split), who, {"mos": row.fields["choice"]})
    return listed.manifest()


def _clip(folder: Path, name: str, split: str) -> Clip:
    path, system = folder / "audios" / f"{name}.wav", name.rsplit("_", 1)[-1]
    return Clip(name, str(path), system=system, domain="speech", split=split, source="SOMOS")


class SOMOS(AQADataModule):
    """Serve SOMOS.

    Args:
        root: The unpacked archive, with ``audios`` unpacked in it, or a folder above it.
        subset: Ratings of pages that pass the quality checks (``clean``), or all (``full``).
    """

    where_to_get = {"SOMOS": "Get somos.zip of Zenodo record 7378801, and unpack audios.zip in it."}

    def __init__(self, root: str, subset: Subset = "clean", **loading: Any) -> None:
        super().__init__(**loading)
        self.root = root
        self.subset: Subset = subset

    def read(self) -> Manifest:
        """Read the lists."""
        return read_somos(self.root, self.subset)
