"""What features are found by: the content of the audio, and all of the encoder that shapes them."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_aqa.encoders.base import Encoder
from lightning_aqa.files import replacing

FORMAT = 2
"""Number of this layout; a change of it makes old entries unused."""

SETTLED_NS = 2 * 10**9
"""A file that changed less than this before it was hashed may change again within one tick of its clock."""

BLOCK_BYTES = 2**22

UNHEARD = {"training", "name_or_path", "_name_or_path", "transformers_version", "requires_grad"}
"""Attributes that do not change what an encoder gives, such as the folder that weights were read from."""


class ContentIndex:
    """Hash audio files by their content, and remember the hash by size and times of change, in nanoseconds.

    What the index does not know, or what may have changed, is read again, so losing it costs time and nothing else.

    Args:
        path: JSON file to remember hashes in; it may be missing, damaged, or shared with other processes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] | None = None
        self._new: dict[str, list[Any]] = {}
        self._digests: dict[str, str] = {}

    def digest(self, file: str) -> str:
        """Return the hash of a file's content; within a process a file is looked at once."""
        if file not in self._digests:
            self._digests[file] = self._look_up(Path(file).absolute())
        return self._digests[file]

    def _look_up(self, file: Path) -> str:
        if self._known is None:
            self._known = self._read()
        stat = file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        known = self._known.get(str(file))
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        is_settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS
        digest = hash_file(file)
        if is_settled:
            self._new[str(file)] = [*stamp, digest]
        return digest

    def _read(self) -> dict[str, list[Any]]:
        try:
            found: dict[str, list[Any]] = json.loads(self.path.read_text(encoding="utf-8"))
            return {file: [int(number) for number in row[:3]] + [str(row[3])] for file, row in found.items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return {}

    def reload(self) -> None:
        """Read the file again at the next look-up, for what other processes have added."""
        self._known = None

    def save(self) -> None:
        """Add what is new to the file; a folder that cannot be written to is no reason to stop."""
        if self._new:
            with suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self.path) as file:
                    json.dump({**self._read(), **self._new}, file)
                self._new = {}


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(encoder: nn.Module) -> str:
    """Hash the source of an encoder and of its parts, their classes and plain settings, and all weights and buffers.

    The source is that of classes from the packages of the encoder, of encoders inside it, and of their bases; torch and
    transformers are not among them.

    Args:
        encoder: The encoder, on any device, in any mode.
    """
    digest = hashlib.sha256()
    for path in _sources(encoder):
        digest.update(path.read_bytes())
    for part in _settings(encoder):
        digest.update(json.dumps(part, default=repr, sort_keys=True).encode())
    for name, tensor in [*encoder.named_parameters(), *encoder.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(_bytes(tensor)))
    return digest.hexdigest()


def _sources(encoder: nn.Module) -> list[Path]:
    """Return the files of the classes that an encoder is made of, each once, in the order of its parts."""
    bases = [base for part in encoder.modules() for base in inspect.getmro(type(part))]
    packages = {_package(base) for base in bases if base is type(encoder) or issubclass(base, Encoder)}
    own = dict.fromkeys(base for base in bases if _package(base) in packages and base is not Encoder)
    return list(dict.fromkeys(Path(inspect.getfile(part)) for part in own))


def _package(part: type) -> str:
    return part.__module__.split(".")[0]


def _settings(encoder: nn.Module) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, part in encoder.named_modules():
        plain = {k: _plain(v) for k, v in vars(part).items() if not k.startswith("_") and k not in UNHEARD}
        kept = {k: v for k, v in plain.items() if isinstance(v, int | float | str | tuple | list | dict | None)}
        yield name, f"{type(part).__module__}.{type(part).__qualname__}", kept


def _plain(value: Any) -> Any:
    """Return a value without where it came from; configs and feature extractors of transformers as what they hold."""
    if callable(describe := getattr(value, "to_dict", None)):
        return _plain(describe())
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in UNHEARD}
    return value


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
