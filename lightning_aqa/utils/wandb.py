"""Weights & Biases: whether there is a key, which run a folder holds, and how to send what was logged offline."""

from __future__ import annotations

import importlib
import netrc
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = b":W&B\xe1\xbe\x00"
"""Begin of a .wandb file."""
BLOCK, RECORD_HEADER = 32768, 7
"""Bytes of its blocks, and of the header of a record: checksum, length, kind."""
WHOLE, LAST = 1, 4
"""Kinds of record that end one; it is in one piece, or this is its last."""
OFFLINE_HINT = "With WANDB_MODE=offline W&B logs into the run folder, and `wandb sync` sends it later."


def is_wandb_error(error: Exception) -> bool:
    """Tell whether an error comes from W&B's library, which is not imported for that."""
    kind = getattr(sys.modules.get("wandb.errors"), "Error", None)
    return kind is not None and isinstance(error, kind)


def told_by_wandb(error: Exception) -> str:
    """Return an error of W&B's library in a line, its first.

    Example:
        >>> told_by_wandb(OSError("no such host."))
        'W&B: no such host.'
    """
    return f"W&B: {str(error).splitlines()[0].rstrip('.')}."


def has_wandb_key() -> bool:
    """Tell whether W&B finds an API key here: in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc.netrc().authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def run_id(folder: Path) -> str | None:
    """Return the id of the W&B run that a run folder holds; None where there is none."""
    folders = _run_folders(folder, "run-*") + _run_folders(folder, "offline-run-*")
    return max(folders, key=_started).name.rsplit("-", 1)[-1] if folders else None


def sync_hint(folder: Path) -> str:
    """Say how to send what W&B logged offline: a run that was resumed has a folder for each part."""
    runs = sorted(_run_folders(folder, "offline-run-*"), key=_started)
    return f"W&B logged offline; to send it: wandb sync {shlex.join(map(str, runs))}" if runs else ""


def _run_folders(folder: Path, pattern: str) -> list[Path]:
    return list((folder / "wandb").glob(pattern))


def _started(folder: Path) -> str:
    """Return the time in the name of a W&B folder, such as ``offline-run-20261128_010003-lxvd7ozg``."""
    return folder.name.split("run-", 1)[1]


def mend_parts(folder: Path) -> None:
    """Take from offline parts what a kill has left unfinished: ``wandb sync`` stops at it, and sends nothing after it.

    That is a part without a record, which is removed, and half a record at the end of a part, which is cut off.
    """
    for path in [path for part in _run_folders(folder, "offline-run-*") for path in part.glob("run-*.wandb")]:
        content = path.read_bytes()
        if len(content) <= len(HEADER):
            shutil.rmtree(path.parent, ignore_errors=True)
        elif content.startswith(HEADER):
            end = max((end for end, _ in _records(content)), default=len(content))
            if end < len(content):
                os.truncate(path, end)


def next_step(folder: Path, run: str) -> int:
    """Return the step at which a run goes on that was logged offline: W&B counts from 0 again by itself."""
    Record: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record  # a name that is made at run time
    found = 0
    for path in folder.glob(f"wandb/offline-run-*-{run}/run-{run}.wandb"):
        for _, content in _records(path.read_bytes()):
            record = Record()
            try:
                record.ParseFromString(content)
            except Exception:  # what protobuf raises depends on how it is built; nothing after it is to be trusted
                break
            if record.HasField("history"):
                found = max(found, record.history.step.num + 1)
    return found


def _records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the whole records of a .wandb file, LevelDB's log after a header of its own, each with where it ends."""
    position, record = len(HEADER), b""
    while position + RECORD_HEADER <= len(content):
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER:  # the rest of a block is filled up
            position += left
            continue
        start = position + RECORD_HEADER
        position = start + int.from_bytes(content[start - 3 : start - 1], "little")
        if position > len(content):
            return
        record += content[start:position]
        if content[start - 1] in (WHOLE, LAST):
            yield position, record
            record = b""
