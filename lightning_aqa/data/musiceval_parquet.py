"""Parquet shards of a hub dataset, MusicEval's unless another is named: the audio is written to files once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lightning_aqa.data.parsing import Row
from lightning_aqa.data.validation import CorpusError
from lightning_aqa.utils.files import complete
from lightning_aqa.utils.text import did_you_mean

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
COLUMNS = {"MI": "overall quality", "TA": "textual alignment"}


class ShardRow(NamedTuple):
    """One row of a shard: its fields as in a list, its split, and the file its audio is in."""

    row: Row
    split: str
    path: Path


def find_shards(root: Path) -> list[Path]:
    """Return the parquet files of a folder, of its ``data`` folder, or of a folder per split."""
    patterns = ("*.parquet", "data/*.parquet", "*/*.parquet", "*/*/*.parquet")
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def extract_shards(shards: Sequence[Path], folder: Path, columns: Mapping[str, str] = COLUMNS) -> Iterator[ShardRow]:
    """Yield the rows of all shards, after writing to ``folder/<split>`` the audio that is not there yet.

    Args:
        shards: The files.
        folder: Where the audio goes.
        columns: Column of each field of a row, beside the audio.

    Raises:
        CorpusError: If pyarrow is missing, or a shard is of no known split or lacks a column.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise CorpusError(
            f"{shards[0].parent} holds parquet shards, which need pyarrow: pip install 'lightning_aqa[parquet]'."
        ) from None
    for shard in shards:
        with ParquetFile(shard) as file:
            yield from _extract_shard(shard, file, folder / _split(shard), columns)


def _split(shard: Path) -> str:
    for name in (re.split(r"[-_.]", shard.stem)[0], shard.parent.name):
        if name in SPLITS:
            return SPLITS[name]
    raise CorpusError(f"{shard}: its name should begin with a split ({', '.join(SPLITS)}), as in train-00000-of-00001.")


def _extract_shard(shard: Path, file: ParquetFile, folder: Path, columns: Mapping[str, str]) -> Iterator[ShardRow]:
    for wanted in ("audio", *columns.values()):
        if wanted not in file.schema_arrow.names:
            raise CorpusError(
                f"{shard}: no column {wanted!r} among {', '.join(file.schema_arrow.names)}."
                f"{did_you_mean(wanted, file.schema_arrow.names)}"
            )
    # A nested column is read by itself, so a second run does not decode a byte of audio.
    rows = file.read(columns=["audio.path", *columns.values()]).to_pylist()
    names = [Path(row["audio"]["path"] or f"{shard.stem}-{number:05d}.wav").name for number, row in enumerate(rows)]
    paths = [folder / name for name in names]
    if not all(path.is_file() for path in paths):
        _write_audio(file, paths)
    for number, (row, name, path) in enumerate(zip(rows, names, paths, strict=True), start=1):
        fields = {"file": name, **{axis: row[column] for axis, column in columns.items()}}
        yield ShardRow(Row(f"{shard}:{number}", fields), folder.name, path)


def _write_audio(file: ParquetFile, paths: Sequence[Path]) -> None:
    remaining = iter(paths)
    for batch in file.iter_batches(batch_size=64, columns=["audio.bytes"]):
        for audio, path in zip(batch.to_pylist(), remaining, strict=False):
            if audio["audio"]["bytes"] is not None and not path.is_file():
                _write_once(path, audio["audio"]["bytes"])


def _write_once(path: Path, content: bytes) -> None:
    """Write a file so that no other process ever sees a part of it.

    Raises:
        CorpusError: If the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with complete(path, is_synced=False) as part:
            part.write_bytes(content)
    except OSError as error:
        raise CorpusError(
            f"{path.parent}: cannot write the shards' audio ({error.strerror}); set extract_to."
        ) from None
