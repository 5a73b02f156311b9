"""NISQA Corpus: speech over simulated and live telephony, rated for its quality and four dimensions of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.listed_clips import ListedClips, folders_with
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.parsing import rows_with

AXES = (
    Axis("mos", "Overall quality", 1.0, 5.0),
    Axis("noi", "Noisiness", 1.0, 5.0),
    Axis("dis", "Discontinuity", 1.0, 5.0),
    Axis("col", "Coloration", 1.0, 5.0),
    Axis("loud", "Loudness", 1.0, 5.0),
)
LIST = "NISQA_corpus_file.csv"
SPLITS = {"TRAIN": "train", "VAL": "dev", "TEST": "test"}


def read_nisqa_corpus(root: str | Path) -> Manifest:
    """Read ``NISQA_corpus_file.csv``: a row per file with its listening test (``db``), condition and five means.

    Args:
        root: The folder of the list, or one above it.

    Returns:
        Clips with the splits ``train``, ``dev`` and ``test``, as the name of their listening test has it; that is their
        domain, so that results are told for NISQA_TEST_P501, NISQA_TEST_FOR and the others too. A system is a condition
        of one listening test. A clip is called by its path.

    Raises:
        CorpusError: If there is no list, or it lacks a column.

    Reference:
        Mittag, Naderi, Chehadi and Moeller, NISQA: a deep CNN-self-attention model for multidimensional speech quality
        prediction with crowdsourced datasets, Interspeech 2021. Format: data_prep.py of egs/nisqa in unilight/sheet.
    """
    (folder, *_) = folders_with(root, "NISQA", [LIST])
    listed = ListedClips(AXES)
    for row in rows_with(folder / LIST, ["db", "con", "filepath_deg", "mos"], listed.problems):
        test, path = (str(row.fields[name]).strip() for name in ("db", "filepath_deg"))
        split = next((split for word, split in SPLITS.items() if word in test.split("_")), "")
        if not split:
            what = f"{test} is not named as a listening test of {', '.join(SPLITS)}"
            listed.problems.append(Problem("unknown source", row.where, what, path))
        clip_id, system = path.removesuffix(".wav"), f"{test}-{str(row.fields['con']).strip()}"
        clip = Clip(clip_id, str(folder / path), system=system, domain=test, split=split, source="NISQA")
        listed.add(row.where, clip, row.fields)
    return listed.manifest()


class NISQACorpus(AQADataModule):
    """Serve the NISQA Corpus: the mean opinion score, noisiness, discontinuity, coloration and loudness.

    Args:
        root: The folder of ``NISQA_corpus_file.csv``, or one above it.
    """

    where_to_get = {"NISQA": "Get NISQA_Corpus.zip of Zenodo record 4728081."}

    def __init__(self, root: str, **loading: Any) -> None:
        super().__init__(**loading)
        self.root = root

    def read(self) -> Manifest:
        """Read the list."""
        return read_nisqa_corpus(self.root)
