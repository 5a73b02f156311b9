"""Find pretrained weights and load them safely: tensors and plain containers, nothing that runs code."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Plain numbers as numpy pickles them: public checkpoints hold some beside their weights (the metrics of LAION-CLAP's).
PLAIN_NUMBERS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)),
]
FOLDER = "LIGHTNING_AQA_WEIGHTS"
NAMES_OF_MANY = {"model.safetensors", "pytorch_model.bin", "config.json", "preprocessor_config.json", "tokenizer.json"}
"""Names that every model of the hub uses for its files: they say nothing without the folder of the model."""
FILES = {".pt", ".pth", ".ckpt", ".bin", ".json", ".safetensors"}
HUB_SECONDS = 5.0
"""How long the hub may take to say whether it has a file."""


class WeightsError(ValueError):
    """Weights that are missing, unsafe or not those of the model; the message says which and what to do."""


class Weights(NamedTuple):
    """Weights that a part loads by default, and where a person gets them.

    Args:
        checkpoint: What the part's constructor takes: the name of a file, or a hub id.
        files: Names of the files that have to be there.
        url: Address of the first file, or of the page that links to it.
        licence: Licence of the weights, as their authors state it.
        hub: Hub id of a repository that has the files, where ``checkpoint`` is another name.
    """

    checkpoint: str
    files: tuple[str, ...]
    url: str
    licence: str
    hub: str = ""


def find_weights(checkpoint: str, *, file: str, url: str) -> Path:
    """Return the local path of a checkpoint.

    Looked for, in this order: ``checkpoint`` as a path; the same below the folder that the environment variable
    ``LIGHTNING_AQA_WEIGHTS`` names; ``checkpoint`` as a hub id, in the hub's cache and, only if it is not there and
    ``HF_HUB_OFFLINE`` is not set, on the hub.

    Args:
        checkpoint: File, folder or hub id.
        file: Name of the file inside a hub repository or a folder, such as ``model.safetensors``.
        url: Where a person can get the file.

    Raises:
        WeightsError: If it is nowhere; the message has the file, its address and the command that fetches it.
    """
    found = find_local(checkpoint, file) or _from_hub(checkpoint, file)
    if found is not None:
        return found
    command = fetch_command(checkpoint, file, url)
    raise WeightsError(
        f"{checkpoint}: no such weights here (looked for the file {file}). Get them from {url}"
        f"{f', such as by `{command}`' if command else ''}, and give their path, or put them into the folder that "
        f"{FOLDER} names."
    )


def find_local(checkpoint: str, file: str) -> Path | None:
    """Return the path of a file that is on this machine, as ``find_weights`` does, or None; no network is used."""
    for candidate in _local_candidates(checkpoint, file):
        if candidate.is_file():
            return candidate
    cached = _cached(checkpoint, file)
    return Path(cached) if isinstance(cached, str) else None


def find_published(weights: Weights) -> dict[str, Path | None]:
    """Look on this machine for each file of published weights."""
    names = [name for name in (weights.checkpoint, weights.hub) if name]
    return {file: next(filter(None, (find_local(name, file) for name in names)), None) for file in weights.files}


def fetch_command(checkpoint: str, file: str, url: str) -> str:
    """Say what fetches a file; empty for a page, where a person follows a link.

    Example:
        >>> fetch_command("facebook/audiobox-aesthetics", "config.json", "https://huggingface.co")
        'hf download facebook/audiobox-aesthetics config.json'
    """
    if _is_hub_id(checkpoint):
        return f"hf download {checkpoint} {file}"
    return f"curl -LO {url}" if url.endswith(file) else ""


def _local_candidates(checkpoint: str, file: str) -> list[Path]:
    roots = [Path()] + ([Path(os.environ[FOLDER])] if os.environ.get(FOLDER) else [])
    paths = [root / checkpoint for root in roots]
    own_name = [] if file in NAMES_OF_MANY else roots[1:]
    return [*paths, *(path / file for path in paths), *(root / file for root in own_name)]


def _is_hub_id(checkpoint: str) -> bool:
    is_path = checkpoint.startswith((".", "/", "~")) or Path(checkpoint).suffix in FILES
    return checkpoint.count("/") == 1 and not is_path


def _cached(checkpoint: str, file: str) -> object:
    """Return the path in the hub's cache, None, or the hub's mark for a file that the repository does not have."""
    from huggingface_hub import try_to_load_from_cache

    return try_to_load_from_cache(checkpoint, file) if _is_hub_id(checkpoint) else None


def _from_hub(checkpoint: str, file: str) -> Path | None:
    """Fetch a file from the hub; one request first, since a download that fails is tried again for half a minute."""
    if not _is_hub_id(checkpoint) or _cached(checkpoint, file) is not None:
        return None
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HTTPError  # type: ignore[attr-defined]

    try:
        get_hf_file_metadata(hf_hub_url(checkpoint, file), timeout=HUB_SECONDS)
    except EntryNotFoundError:
        pass  # the download says so too, and makes the cache remember it
    except (HTTPError, OSError):
        return None
    try:
        return Path(hf_hub_download(checkpoint, file))
    except (HTTPError, OSError, EntryNotFoundError):
        return None


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read a safetensors file, or a ``.pt`` file that holds tensors, numbers and plain containers alone.

    Raises:
        WeightsError: If the file would run code when loaded, or is no such file.
    """
    if Path(path).suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{path}: cannot be read as weights ({error}); is it whole, and not the pointer that git-lfs leaves?"
            ) from None
    try:
        with torch.serialization.safe_globals(PLAIN_NUMBERS):
            is_mapped = zipfile.is_zipfile(path)  # then tensors that nobody copies take no memory
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path}: refused, since it holds more than tensors and plain containers and could run code: {reason}"
        ) from None
    except (RuntimeError, EOFError, zipfile.BadZipFile, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as weights ({error}).") from None
    return found


def load_exactly(
    module: nn.Module, weights: Mapping[str, Tensor], path: str | Path, ignored: Collection[str] = ()
) -> None:
    """Load weights into a module; every name and every shape has to match.

    Args:
        module: The module.
        weights: Tensors by name.
        path: Where they come from, for the message.
        ignored: Names that either side may have alone, such as buffers that can be computed.

    Raises:
        WeightsError: If a name is missing or unexpected, or a shape differs; the first few are named.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys() - set(ignored))
    unexpected = sorted(weights.keys() - own.keys() - set(ignored))
    shared = own.keys() & weights.keys()
    reshaped = sorted(name for name in shared if own[name].shape != weights[name].shape)
    if missing or unexpected or reshaped:
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped)]
        message = "; ".join(f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in parts if names)
        raise WeightsError(f"{path}: not the weights of {type(module).__name__}: {message}.")
    module.load_state_dict({name: weights[name] for name in shared}, strict=False)


def read_config(config: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Return a config given as a mapping or as the path of a JSON file; nothing is an empty one."""
    if config is None:
        return {}
    if isinstance(config, str):
        loaded: dict[str, Any] = json.loads(Path(config).read_text(encoding="utf-8"))
        return loaded
    return dict(config)
