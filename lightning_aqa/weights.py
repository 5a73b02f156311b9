"""Find pretrained weights and load them safely: tensors and plain containers, nothing that runs code."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

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


class WeightsError(ValueError):
    """Weights that are missing, unsafe or not those of the model; the message says which and what to do."""


def find_weights(checkpoint: str, *, file: str, url: str) -> Path:
    """Return the local path of a checkpoint.

    Looked for, in this order: ``checkpoint`` as a path; the same below the folder that the environment variable
    ``LIGHTNING_AQA_WEIGHTS`` names; ``checkpoint`` as a hub id, in the hub's cache and, unless offline, on the hub.

    Args:
        checkpoint: File, folder or hub id.
        file: Name of the file inside a hub repository or a folder, such as ``model.safetensors``.
        url: Where a person can get the file.

    Raises:
        WeightsError: If it is nowhere; the message has the file, its address and the command that fetches it.
    """
    for candidate in _local_candidates(checkpoint, file):
        if candidate.is_file():
            return candidate
    found = _from_hub(checkpoint, file) if _is_hub_id(checkpoint) else None
    if found is not None:
        return found
    raise WeightsError(
        f"{checkpoint}: no such weights here (looked for the file {file}). Get them from {url}"
        f"{_command(checkpoint, file, url)}, and give their path, or put them into the folder that {FOLDER} names."
    )


def _command(checkpoint: str, file: str, url: str) -> str:
    """Say what fetches a file; a page, where a person follows a link, has no command."""
    if _is_hub_id(checkpoint):
        return f", such as by `hf download {checkpoint} {file}`"
    return f", such as by `curl -LO {url}`" if url.endswith(file) else ""


def _local_candidates(checkpoint: str, file: str) -> list[Path]:
    roots = [Path()] + ([Path(os.environ[FOLDER])] if os.environ.get(FOLDER) else [])
    paths = [root / checkpoint for root in roots]
    return [*paths, *(path / file for path in paths), *(root / file for root in roots[1:])]


def _is_hub_id(checkpoint: str) -> bool:
    return checkpoint.count("/") == 1 and not checkpoint.startswith((".", "/", "~")) and not Path(checkpoint).suffix


def _from_hub(repository: str, file: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file))
    except (EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read a safetensors file, or a ``.pt`` file that holds tensors, numbers and plain containers alone.

    Raises:
        WeightsError: If the file would run code when loaded, or is no such file.
    """
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    try:
        with torch.serialization.safe_globals(PLAIN_NUMBERS):
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
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
        told = "; ".join(f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in parts if names)
        raise WeightsError(f"{path}: not the weights of {type(module).__name__}: {told}.")
    module.load_state_dict({name: weights[name] for name in shared}, strict=False)


def read_config(config: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Return a config given as a mapping or as the path of a JSON file; nothing is an empty one."""
    if config is None:
        return {}
    if isinstance(config, str):
        loaded: dict[str, Any] = json.loads(Path(config).read_text(encoding="utf-8"))
        return loaded
    return dict(config)
