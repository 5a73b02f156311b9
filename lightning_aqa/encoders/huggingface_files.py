"""Files of a model of the hub: found, read safely in any published layout, and made the model below its heads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_aqa.utils.weights import (
    WeightsError,
    check_finite,
    find_local,
    find_weights,
    hub_page,
    read_json,
    read_weights,
)

TENSORS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files with the weights of a model, or with the names of the files that share them, in the order of preference."""


def find(name: str, file: str) -> Path:
    """Find a file of a model of the hub, as ``find_weights`` does."""
    return find_weights(name, file=file, url=hub_page(name))


def read_tensors(name: str) -> tuple[Path, dict[str, Any]]:
    """Find and read the weights of a model, of one file or of several that share them; safetensors if there are any.

    Args:
        name: Hub id, or folder.

    Returns:
        The file, or the list of files, and the tensors by name.

    Raises:
        WeightsError: If a file is not found, is not safe or is damaged.
    """
    here = next((file for file in TENSORS if find_local(name, file)), None)
    path = find(name, here) if here else _find_first(name)
    if path.suffix != ".json":
        return path, read_weights(path)
    listed = read_json(path).get("weight_map")
    parts = sorted(set(listed.values())) if isinstance(listed, dict) and all(map(_is_part, listed.values())) else []
    if not parts:
        raise WeightsError(f"{path}: lists no files of weights; expected a weight_map of names of files beside it.")
    tensors: dict[str, Any] = {}
    for part in parts:
        tensors |= read_weights(find(name, part))
    return path, tensors


def _is_part(file: Any) -> bool:
    return isinstance(file, str) and Path(file).name == file and Path(file).suffix in {".safetensors", ".bin"}


def _find_first(name: str) -> Path:
    """Ask the hub for each file in turn; none is told by the name of the first."""
    for file in TENSORS[1:]:
        try:
            return find(name, TENSORS[0])
        except WeightsError as error:
            missing = error
        try:
            return find(name, file)
        except WeightsError:
            continue
    raise missing


def load_config(name: str) -> Any:
    """Read the config of a model that transformers knows by itself; no code beside it is run.

    Raises:
        WeightsError: If it is not found, damaged, or of a model that transformers does not know.
    """
    from transformers import AutoConfig

    path = find(name, "config.json")
    kind = read_json(path).get("model_type")
    try:
        return AutoConfig.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path}: a model of type {kind}, which transformers cannot build by itself: {reason}"
        ) from None


def find_preprocessor(name: str) -> Path | None:
    """Find the settings by which a model's audio is prepared; None where it has none."""
    try:
        return find(name, "preprocessor_config.json")
    except WeightsError:
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing a progress bar and a table of what ``load_backbone`` checks itself."""
    import transformers

    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_backbone(config: Any, name: str, optional: str | None = None) -> Any:
    """Load the model of a config; tensors of heads on top of it are left, all others have to match.

    Of a model with encoder and decoder, the encoder alone is built, and a decoder is not asked for.

    Args:
        config: Config of transformers.
        name: Hub id, or folder with the weights.
        optional: Top-level part that the caller does not run and that may be missing.

    Raises:
        WeightsError: If a file is not safe, or a tensor is missing, unexpected, of another shape, or no number.
    """
    path, tensors = read_tensors(name)
    with _quiet():
        plan = _plan(config)
        own = plan.state_dict().keys()
        model, report = type(plan).from_pretrained(
            None,
            config=config,
            state_dict=_part_for(own, tensors),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    tops = tuple(f"{top}." for top in {name.split(".")[0] for name in own})
    unexpected = [name for name in report["unexpected_keys"] if name.startswith(tops)]
    problems = {
        "missing": sorted(name for name in report["missing_keys"] if name.split(".")[0] != optional),
        "unexpected": sorted(name for name in unexpected if not name.endswith("masked_spec_embed")),
        "of another shape": sorted(name for name, *_ in report["mismatched_keys"]),
    }
    if any(problems.values()):
        message = "; ".join(f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in problems.items() if names)
        raise WeightsError(f"{path}: not the weights of {type(model).__name__}: {message}.")
    check_finite(model.state_dict(), path)
    return model


def _plan(config: Any) -> Any:
    """Return the model of a config without memory for its weights: of encoder and decoder, the encoder."""
    from transformers import AutoModel

    with torch.device("meta"):
        auto: Any = AutoModel
        whole = auto.from_config(config, trust_remote_code=False)
        return whole.get_encoder() if config.is_encoder_decoder else whole


def _part_for(own: Collection[str], tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a model out of a file in which they may stand below a prefix, beside those of heads.

    Example:
        >>> names = ["wavlm.encoder.bias", "wavlm.encoder.weight", "encoder.bias"]
        >>> list(_part_for(["encoder.bias", "encoder.weight"], {name: torch.ones(1) for name in names}))
        ['encoder.bias', 'encoder.weight']
    """
    named = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    parts = [name.split(".") for name in named]
    prefixes = {""} | {".".join(names[:depth]) + "." for names in parts for depth in (1, 2) if len(names) > depth}
    best = max(sorted(prefixes, key=len), key=lambda prefix: sum(prefix + name in named for name in own))
    return {name.removeprefix(best): value for name, value in named.items() if name.startswith(best)}


def layers_of(model: nn.Module, num_layers: int) -> Sequence[nn.Module]:
    """Find the list of layers in a model of transformers, whatever its name there.

    Example:
        >>> model = nn.ModuleDict({"stem": nn.Linear(1, 1), "layer": nn.ModuleList([nn.ReLU(), nn.GELU()])})
        >>> layers_of(model, 2)
        [ReLU(), GELU(approximate='none')]
    """
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == num_layers]
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in lists]
    return list(lists[sizes.index(max(sizes))]) if lists else []
