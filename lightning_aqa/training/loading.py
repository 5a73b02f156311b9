"""Load checkpoints safely: tensors and plain containers, nothing that runs code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError

from lightning_aqa.module import AQAModule

_log = logging.getLogger(__name__)

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
"""What LightningCLI writes into a checkpoint, and Lightning would call whatever it is."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this package.

    Raises:
        ValueError: If there is no such file, or it is no such checkpoint.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such checkpoint; a run keeps its own in RUN_FOLDER/checkpoints/.")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as a checkpoint ({type(error).__name__}).") from error
    if "state_dict" not in checkpoint:
        raise ValueError(f"{path}: not a checkpoint of a run (it has no state_dict).")
    return checkpoint


def load_module(path: str | Path) -> AQAModule:
    """Build the module that a checkpoint describes, with its weights."""
    saved = read_checkpoint(path).get("hyper_parameters", {})
    if saved.get("_instantiator") != INSTANTIATOR:
        raise ValueError(
            f"{path}: does not say what its model is made of; it was not written by a run of this command."
        )
    try:
        module = AQAModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[:2])
        raise ValueError(f"{path}: its weights are not those of its model as it is now: {reason}") from error
    except (ArgumentError, ImportError, AttributeError) as error:
        reason = next((line for line in str(error).splitlines() if "No module" in line), str(error).splitlines()[0])
        raise ValueError(f"{path}: its model cannot be built here: {reason.strip(' -')}") from error
    module.hparams.update(saved)  # plain, where Lightning has kept what was built of them
    return module


def load_weights(module: AQAModule, path: str | Path) -> None:
    """Take the weights of a checkpoint, its constants of scores and features included, and nothing else of it.

    Raises:
        ValueError: If the weights are not those of this model; the first few names are given.
    """
    weights = read_checkpoint(path)["state_dict"]
    own = module.state_dict()
    wrong = [name for name in own.keys() ^ weights.keys()]
    wrong += [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if wrong:
        shown = ", ".join(sorted(wrong)[:5])
        raise ValueError(f"{path}: {len(wrong)} weights are not those of this model, among them {shown}.")
    module.load_state_dict(weights)
    module.is_fresh = False


def warn_of_differences(path: str | Path, given: Mapping[str, Any], *, is_fit: bool) -> None:
    """Say which model settings of the config differ from the checkpoint's, and which of the two counts.

    Args:
        path: The checkpoint.
        given: The model's settings in the config, as plain values.
        is_fit: Whether training goes on; otherwise the checkpoint is evaluated.
    """
    saved = read_checkpoint(path).get("hyper_parameters", {})
    differing = [name for name in given if name in saved and name != "axes" and given[name] != saved[name]]
    if differing:
        winner = "the config counts" if is_fit else "the checkpoint counts"
        hint = " To change settings and keep weights, use --init_from." if is_fit else ""
        _log.warning(
            "%s: model settings differ from the config's (%s); %s.%s", path, ", ".join(differing), winner, hint
        )
