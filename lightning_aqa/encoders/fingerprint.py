"""Hashes of an encoder: of all that shapes its features, and of its weights."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_aqa.encoders.base import Encoder
from lightning_aqa.utils.settings import Remembering

UNHEARD = {"training", "name_or_path", "_name_or_path", "transformers_version", "requires_grad"}
"""Attributes that do not change what an encoder gives, such as the folder that weights were read from."""


def fingerprint(encoder: nn.Module) -> str:
    """Hash an encoder's class and ``features_version``, plain settings, and all weights and buffers of its parts.

    A class that is not of this package counts by the source file it stands in too, so that editing it changes the hash;
    torch and transformers do not. Moving or rewording a file of this package changes nothing.

    Args:
        encoder: The encoder, on any device, in any mode.
    """
    digest = hashlib.sha256()
    for path in _sources(encoder):
        digest.update(path.read_bytes())
    for part in _settings(encoder):
        digest.update(json.dumps(part, default=repr, sort_keys=True).encode())
    _hash_weights(encoder, digest)
    return digest.hexdigest()


def weights_hash(encoder: nn.Module) -> str:
    """Hash all weights and buffers of an encoder, by SHA-256; the same on any device, in any mode."""
    digest = hashlib.sha256()
    _hash_weights(encoder, digest)
    return digest.hexdigest()


def tensors_hash(named: Iterable[tuple[str, Tensor]]) -> str:
    """Hash tensors with their names, types and shapes, by SHA-256; the same on any device."""
    digest = hashlib.sha256()
    _hash_tensors(named, digest)
    return digest.hexdigest()


def _hash_weights(encoder: nn.Module, digest: Any) -> None:
    _hash_tensors([*encoder.named_parameters(), *encoder.named_buffers()], digest)


def _hash_tensors(named: Iterable[tuple[str, Tensor]], digest: Any) -> None:
    for name, tensor in named:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(_bytes(tensor)))


def _sources(encoder: nn.Module) -> list[Path]:
    """Return the files of the classes outside this package that an encoder is made of, each once, in order."""
    bases = [base for part in encoder.modules() for base in inspect.getmro(type(part))]
    packages = {_package(base) for base in bases if base is type(encoder) or issubclass(base, Remembering)}
    own = [base for base in bases if _package(base) in packages - {_package(Encoder)}]
    return list(dict.fromkeys(Path(inspect.getfile(part)) for part in own))


def _package(part: type) -> str:
    return part.__module__.split(".")[0]


def _settings(encoder: nn.Module) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, part in encoder.named_modules():
        plain = {k: _plain(v) for k, v in vars(part).items() if not k.startswith("_") and k not in UNHEARD}
        kept = {k: v for k, v in plain.items() if isinstance(v, int | float | str | tuple | list | dict | None)}
        version = {"features_version": part.features_version} if isinstance(part, Encoder) else {}
        yield name, type(part).__qualname__, kept | version


def _plain(value: Any) -> Any:
    """Return a value without where it came from; configs and feature extractors of transformers as what they hold."""
    if callable(describe := getattr(value, "to_dict", None)):
        return _plain(describe())
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in UNHEARD}
    return value


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
