"""Read the published weights of Audiobox Aesthetics: the encoder and the head each take their part of one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_aqa.utils.weights import WeightsError, find_local, find_weights, read_config, read_weights

URL = "https://dl.fbaipublicfiles.com/audiobox-aesthetics/checkpoint.pt"
FILE, OFFICIAL = "model.safetensors", "checkpoint.pt"
ENCODER = "wavlm_model."


class AudioboxWeights(NamedTuple):
    """Contents of a checkpoint of Audiobox Aesthetics.

    Args:
        path: The file that was read.
        encoder: Tensors of its WavLM, by their names there.
        head: Tensors of its heads, by their names there: ``layer_weights.<axis>`` and ``proj_layer.<axis>.<place>``.
        settings: Sizes of the heads, by their official names; what is not there has its official default.
        target_transform: For each axis ``mean`` and ``std`` of the scores that it was trained on, in score points.
    """

    path: Path
    encoder: dict[str, Tensor]
    head: dict[str, Tensor]
    settings: dict[str, Any]
    target_transform: dict[str, dict[str, float]]


def read_audiobox(checkpoint: str) -> AudioboxWeights:
    """Read the official ``checkpoint.pt``, or the folder or hub repository with ``config.json`` beside the weights.

    Args:
        checkpoint: Path of the file or folder, or hub id.

    Raises:
        WeightsError: If there is no such file, or it is not in either layout.
    """
    path = _find(checkpoint)
    found = read_weights(path)
    if path.suffix == ".safetensors":
        found = {"state_dict": found, "model_cfg": read_config(str(_config_beside(path, checkpoint)))}
        found["target_transform"] = found["model_cfg"].pop("target_transform", None)
    settings, target_transform = found.get("model_cfg"), found.get("target_transform")
    tensors = {name.removeprefix("model."): value for name, value in found.get("state_dict", {}).items()}
    encoder = {name.removeprefix(ENCODER): value for name, value in tensors.items() if name.startswith(ENCODER)}
    head = {name: value for name, value in tensors.items() if not name.startswith(ENCODER)}
    if not encoder or settings is None or target_transform is None:
        raise WeightsError(
            f"{path}: not a checkpoint of Audiobox Aesthetics: expected the tensors of its {ENCODER[:-1]}, "
            "its model_cfg and its target_transform."
        )
    return AudioboxWeights(path, encoder, head, settings, target_transform)


def _find(checkpoint: str) -> Path:
    """Prefer safetensors; a folder may hold the official file instead."""
    official = find_local(checkpoint, OFFICIAL)
    if official is not None and find_local(checkpoint, FILE) is None:
        return official
    return find_weights(checkpoint, file=FILE, url=URL)


def _config_beside(path: Path, checkpoint: str) -> Path:
    beside = path.parent / "config.json"
    return beside if beside.is_file() else find_weights(checkpoint, file="config.json", url=URL)
