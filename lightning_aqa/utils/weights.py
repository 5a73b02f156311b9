"""Find pretrained weights and load them safely: tensors and plain values, nothing that runs code."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import torch
from torch import Tensor, nn

from lightning_aqa.utils.plain_values import RefusedNameError
from lightning_aqa.utils.torch_files import check_kind, read_torch_file

FOLDER = "LIGHTNING_AQA_WEIGHTS"
NAMES_OF_MANY = {"model.safetensors", "pytorch_model.bin", "config.json", "preprocessor_config.json", "tokenizer.json"}
"""Names that every model of the hub uses for its files: they say nothing without the folder of the model."""
FILES = {".pt", ".pth", ".ckpt", ".bin", ".json", ".safetensors", ".onnx", ".tar"}
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

    Looked for, in this order: ``checkpoint`` as a path; as ``PACKAGE:PATH``, a file that an installed package ships;
    below the folder that the environment variable ``LIGHTNING_AQA_WEIGHTS`` names; as a hub id, in the hub's cache and,
    only if it is not there and ``HF_HUB_OFFLINE`` is not set, on the hub. A hub id may end in ``@`` and a revision: a
    branch, tag or commit.

    Args:
        checkpoint: File, folder, ``PACKAGE:PATH`` or hub id.
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
        f"{FOLDER} names{'' if os.environ.get(FOLDER) else ' (it is not set)'}."
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
        >>> fetch_command("facebook/audiobox-aesthetics@v1", "config.json", "https://huggingface.co")
        'hf download facebook/audiobox-aesthetics config.json --revision v1'
    """
    if is_hub_id(checkpoint):
        repository, revision = split_revision(checkpoint)
        return f"hf download {repository} {file}{f' --revision {revision}' if revision else ''}"
    return f"curl -LO {url}" if url.endswith(file) else ""


def _local_candidates(checkpoint: str, file: str) -> list[Path]:
    if shipped := _shipped(checkpoint):
        return [Path(checkpoint), shipped]
    roots = [Path()] + ([Path(os.environ[FOLDER])] if os.environ.get(FOLDER) else [])
    paths = [root / checkpoint for root in roots]
    own_name = [] if file in NAMES_OF_MANY else roots[1:]
    return [*paths, *(path / file for path in paths), *(root / file for root in own_name)]


def _shipped(checkpoint: str) -> Path | None:
    """Return the path of ``PACKAGE:PATH`` in an installed package, which is not imported.

    Raises:
        WeightsError: If there is no such package.
    """
    match = re.fullmatch(r"([A-Za-z_]\w+):(?!/)(.+)", checkpoint)
    if match is None:
        return None
    spec = importlib.util.find_spec(match[1])
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"{checkpoint}: the package {match[1]}, which ships this file, is not installed: pip install {match[1]}."
        )
    return Path(next(iter(spec.submodule_search_locations))) / match[2]


def split_revision(checkpoint: str) -> tuple[str, str | None]:
    """Divide a hub id at ``@`` into the repository and a revision, if there is one.

    Example:
        >>> split_revision("microsoft/wavlm-base@refs/pr/1"), split_revision("microsoft/wavlm-base")
        (('microsoft/wavlm-base', 'refs/pr/1'), ('microsoft/wavlm-base', None))
    """
    repository, _, revision = checkpoint.partition("@")
    return repository, revision or None


def hub_page(checkpoint: str) -> str:
    """Return the address of a hub id's page, of its revision where it names one; of another name's search.

    Example:
        >>> hub_page("microsoft/wavlm-base"), hub_page("folder/of/whisper-tiny")
        ('https://huggingface.co/microsoft/wavlm-base', 'https://huggingface.co/models?search=whisper-tiny')
    """
    if not is_hub_id(checkpoint):
        return f"https://huggingface.co/models?search={quote(Path(checkpoint).name)}"
    repository, revision = split_revision(checkpoint)
    return f"https://huggingface.co/{repository}{f'/tree/{revision}' if revision else ''}"


def is_hub_id(checkpoint: str) -> bool:
    """Tell whether a name has the form of a hub id: an organisation and a name, and no file's ending.

    Example:
        >>> is_hub_id("microsoft/wavlm-base@main"), is_hub_id("./wavlm-base"), is_hub_id("folder/weights.pt")
        (True, False, False)
    """
    repository, _ = split_revision(checkpoint)
    is_path = repository.startswith((".", "/", "~")) or Path(checkpoint).suffix in FILES
    return repository.count("/") == 1 and not is_path


def _cached(checkpoint: str, file: str) -> object:
    """Return the path in the hub's cache, None, or the hub's mark for a file that the repository does not have."""
    from huggingface_hub import try_to_load_from_cache

    if not is_hub_id(checkpoint):
        return None
    repository, revision = split_revision(checkpoint)
    try:
        return try_to_load_from_cache(repository, file, revision=revision)
    except ValueError:  # no name that the hub could have
        return None


def _from_hub(checkpoint: str, file: str) -> Path | None:
    """Fetch a file from the hub; one request first, since a download that fails is tried again for half a minute."""
    if not is_hub_id(checkpoint) or _cached(checkpoint, file) is not None:
        return None
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HTTPError  # type: ignore[attr-defined]

    repository, revision = split_revision(checkpoint)
    try:
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=HUB_SECONDS)
    except EntryNotFoundError:
        pass  # the download says so too, and makes the cache remember it
    except (HTTPError, OSError, ValueError):
        return None
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except (HTTPError, OSError, ValueError, EntryNotFoundError):
        return None


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read a safetensors file, or one of ``torch.save`` in any layout and pickle protocol.

    Nothing that a file names is imported or called: plain values are built, other objects beside the tensors become
    inert stand-ins. Bytes are compared with the checksums that zip files hold.

    Raises:
        WeightsError: If the file is damaged, names what could run code, or is no such file.
    """
    try:
        found = _read_safetensors(path) if Path(path).suffix == ".safetensors" else read_torch_file(path)
    except RefusedNameError as error:
        raise WeightsError(f"{path}: refused, since it wants {error}, which is no data and could run code.") from None
    except (ValueError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as weights: {error}.") from None
    if not isinstance(found, dict):
        raise WeightsError(f"{path}: holds no tensors by name, but one {type(found).__name__}.")
    return found


def _read_safetensors(path: str | Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_kind(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is cut or damaged ({error})") from None


def check_whole(path: str | Path) -> None:
    """Read a checkpoint once as data: compared with its checksums, and without what would take memory or run code.

    Raises:
        WeightsError: If it is damaged, or names what could run code.
    """
    try:
        read_torch_file(path)
    except RefusedNameError as error:
        raise WeightsError(f"{path}: refused, since it wants {error}, which is no data and could run code.") from None
    except ValueError as error:
        raise WeightsError(f"{path}: cannot be read as a checkpoint: {error}.") from None


def check_finite(weights: Mapping[str, Any], path: str | Path) -> None:
    """Refuse weights that are no numbers.

    Args:
        weights: Tensors by name, and perhaps other things.
        path: Where they come from, for the message.

    Raises:
        WeightsError: If a tensor holds NaN or, unless it is a mask, an infinity; the first few are named.
    """
    wrong = [name for name, value in weights.items() if isinstance(value, Tensor) and not _is_finite(name, value)]
    if wrong:
        raise WeightsError(
            f"{path}: {len(wrong)} of its tensors hold NaN or infinity, among them {', '.join(wrong[:5])}; nothing can "
            "be computed with them. Take a checkpoint from before training diverged, or fetch the file anew."
        )


def _is_finite(name: str, tensor: Tensor) -> bool:
    """Tell whether all values are finite, in one pass without a copy; in a mask, infinities are meant."""
    if not tensor.is_floating_point() or tensor.numel() == 0 or tensor.is_meta:
        return True
    low, high = torch.aminmax(tensor.detach() if tensor.element_size() > 1 else tensor.detach().float())
    return not bool(torch.isnan(low)) if "mask" in name else bool(torch.isfinite(low) & torch.isfinite(high))


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
    no_tensors = sorted(name for name, value in weights.items() if not isinstance(value, Tensor))
    if no_tensors:
        raise WeightsError(
            f"{path}: {len(no_tensors)} of its weights are no plain tensors: {', '.join(no_tensors[:5])}."
        )
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys() - set(ignored))
    unexpected = sorted(weights.keys() - own.keys() - set(ignored))
    shared = own.keys() & weights.keys()
    reshaped = sorted(name for name in shared if own[name].shape != weights[name].shape)
    if missing or unexpected or reshaped:
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped)]
        message = "; ".join(f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in parts if names)
        raise WeightsError(f"{path}: not the weights of {type(module).__name__}: {message}.")
    check_finite({name: weights[name] for name in shared}, path)
    module.load_state_dict({name: weights[name] for name in shared}, strict=False)


def read_config(config: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Return a config given as a mapping or as the path of a JSON file; nothing is an empty one."""
    if config is None:
        return {}
    return read_json(config) if isinstance(config, str) else dict(config)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object that comes with weights.

    Raises:
        WeightsError: If it is damaged, or something else.
    """
    try:
        check_kind(path)
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON: {error}.") from None
    if not isinstance(found, dict):
        raise WeightsError(f"{path}: expected a JSON object, got {type(found).__name__}.")
    return found
