"""One entry of the cache: a safetensors file that says of itself whether it is whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load, save
from torch import Tensor

from lightning_aqa.utils.files import complete

SUFFIX, PART = ".safetensors", ".part"
CHECKSUM = "crc32"


class DamagedError(ValueError):
    """An entry that is cut off, or in which a bit differs from what was written."""


class Entry(NamedTuple):
    """Tensors, and what they are of."""

    tensors: dict[str, Tensor]
    about: dict[str, str]


def write_entry(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> int:
    """Write an entry, all at once or not at all, and return its size in bytes.

    Args:
        path: Where it will be; the folder is made. Processes that write the same entry do not meet.
        tensors: Its tensors, contiguous.
        about: What they are of, for those who look after the folder.
    """
    header, body = _split(save(dict(tensors)))
    header["__metadata__"] = dict(about)
    header["__metadata__"][CHECKSUM] = _checksum(header, body)
    text = _text(header)
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path, is_synced=False) as part:
        part.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, body]))
    return 8 + len(text) + len(body)


def read_entry(path: Path) -> Entry:
    """Read an entry.

    Raises:
        DamagedError: If it is not what was written.
        OSError: If it is not there.
    """
    data = path.read_bytes()
    try:
        header, body = _split(data)
        is_as_written = data[8 : len(data) - len(body)] == _text(header)
        about = header["__metadata__"]
        found = about.pop(CHECKSUM)
        is_whole = is_as_written and found == _checksum(header, body)
    except (ValueError, LookupError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise DamagedError(f"{path}: this entry of the feature cache is damaged.")
    return Entry(load(data), about)


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header of a safetensors file and its tensors' bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:end])
    return header, memoryview(data)[end:]


def _text(header: Mapping[str, Any]) -> bytes:
    """Return the header as it is written, filled up so that tensors are aligned."""
    text = json.dumps(header).encode()
    return text + b" " * (-len(text) % 8)


def _checksum(header: Mapping[str, Any], body: memoryview) -> str:
    """Return the CRC-32 of the tensors and of all that the header says, but for the checksum itself."""
    return f"{zlib.crc32(body, zlib.crc32(json.dumps(header, sort_keys=True).encode())):08x}"
