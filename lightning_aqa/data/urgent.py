"""URGENT 2024 MOS: noisy speech and what 22 systems made of it, eight ratings of each clip."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_aqa.batch import Axis
from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.listed_clips import ListedClips, folders_with, with_made_splits
from lightning_aqa.data.manifest import Clip, Manifest, Problem
from lightning_aqa.data.musiceval_parquet import extract_shards, find_shards
from lightning_aqa.data.parsing import Row, rows_with
from lightning_aqa.data.splits import check_fractions

AXES = (Axis("mos", "Overall quality", 1.0, 5.0),)
LIST = "metadata.csv"
SHARD = {"id": "id", "mos": "mos", "raw_ratings": "raw_ratings"}
NAME = re.compile(r"(.+)[-_]fileid_\d+")
"""What an id says: the system, as in P426-fileid_184."""


def read_urgent(
    root: str | Path, fractions: dict[str, float] | None = None, extract_to: str | Path | None = None
) -> Manifest:
    """Read the hub's parquet shards, or ``wavs`` and ``metadata.csv``, as they are written from it.

    The ratings of a clip carry no names, so a listener's name is the position in the list.

    Args:
        root: The hub's files, the folder of ``metadata.csv``, or one above it.
        fractions: Share of the clips per split; None makes all ``test``, as the hub has it.
        extract_to: Where to put the audio of parquet shards; None is ``extracted`` in ``root``.

    Raises:
        CorpusError: If there is neither, or a column is missing.

    Reference:
        Zhang et al., URGENT challenge: universality, robustness, and generalizability for speech enhancement,
        Interspeech 2024. Format: the hub dataset urgent-challenge/urgent2024_mos, and the download of
        egs/urgent2024-mos in unilight/sheet.
    """
    listed = ListedClips(AXES)
    rows = _shard_rows(Path(root), extract_to) if find_shards(Path(root)) else _listed_rows(root, listed.problems)
    for row, clip_id, path, given in rows:
        name = NAME.fullmatch(clip_id)
        clip = Clip(
            clip_id, str(path), system=name[1] if name else "", domain="speech", split="test", source="URGENT",
        )  # fmt: skip
        listed.add(row.where, clip, {"mos": row.fields.get("mos", row.fields.get("score", ""))})
        for number, rating in enumerate(given, start=1):
            listed.rate(row.where, clip, str(number), {"mos": rating})
    manifest = listed.manifest()
    return manifest if fractions is None else with_made_splits(manifest, fractions, "URGENT has no splits.")


def _shard_rows(root: Path, extract_to: str | Path | None) -> Iterator[tuple[Row, str, Path, list[object]]]:
    for row, _, path in extract_shards(find_shards(root), Path(extract_to or root / "extracted"), SHARD):
        given = row.fields["raw_ratings"]
        yield row, str(row.fields["id"]), path, given if isinstance(given, list) else []


def _listed_rows(root: str | Path, problems: list[Problem]) -> Iterator[tuple[Row, str, Path, list[object]]]:
    (folder, *_) = folders_with(root, "URGENT", [LIST])
    for row in rows_with(folder / LIST, ["wav_path", "sample_id", "score"], problems):
        given: object = []
        with suppress(ValueError):
            given = json.loads(str(row.fields.get("raw_ratings", "[]")))
        path = folder / str(row.fields["wav_path"]).strip()
        yield row, str(row.fields["sample_id"]).strip(), path, given if isinstance(given, list) else []


class URGENT(AQADataModule):
    """Serve URGENT 2024 MOS.

    Args:
        root: The hub's files, the folder of ``metadata.csv``, or one above it.
        fractions: Share of the clips per split; null makes all ``test``, as the hub has it.
        extract_to: Where to put the audio of parquet shards; null is ``extracted`` in ``root``.
    """

    where_to_get = {"URGENT": "Get the hub dataset urgent-challenge/urgent2024_mos."}

    def __init__(
        self, root: str, fractions: dict[str, float] | None = None, extract_to: str | None = None, **loading: Any
    ) -> None:
        super().__init__(**loading)
        if fractions is not None:
            check_fractions(fractions)
        self.root, self.fractions, self.extract_to = root, fractions, extract_to

    def read(self) -> Manifest:
        """Read the list."""
        return read_urgent(self.root, self.fractions, self.extract_to)
