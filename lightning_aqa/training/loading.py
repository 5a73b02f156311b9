"""Load checkpoints safely: tensors and plain containers, nothing that runs code."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentError
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from lightning_aqa.encoders.fingerprint import tensors_hash
from lightning_aqa.module import AQAModule
from lightning_aqa.results.files import PUBLISHED, find_checkpoint, fold_checkpoints
from lightning_aqa.training.ensemble import average
from lightning_aqa.utils.class_paths import CheckedParser
from lightning_aqa.utils.text import about_class
from lightning_aqa.utils.weights import WeightsError, check_finite, check_whole

_log = logging.getLogger(__name__)

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
"""Mark of LightningCLI in a checkpoint: its settings are those of a config. It is not called here."""

FIT_LOOP = "fit_loop"
STATE: dict[str, type] = {
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""State of a run beside its weights, by Lightning's names."""

MOST_SETTINGS = 1_000
"""Values in the settings of a model; published ones have less than a hundred."""

SPARE_ELEMENTS = 250_000_000
"""Elements beyond four times its weights that may be made while a model is built: those of 1 GB."""

MOST_LETTERS = 400
"""Letters of a library's message that are shown."""

MODEL = ("axes", "encoder", "head", "freeze", "lora", "layers")
"""Settings that make a model what it is; no optimiser and no scheduler is built to evaluate one."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this package, or that of a run folder.

    Raises:
        ValueError: If there is no such file, or it is no such checkpoint.
    """
    path = find_checkpoint(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint; give a run folder, or a file of its checkpoints/.")
    try:
        check_whole(path)
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError as error:
        raise ValueError(str(error)) from error
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as a checkpoint ({type(error).__name__}).") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path}: not a checkpoint of a run (it has no state_dict).")
    weights = checkpoint["state_dict"]
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ValueError(f"{path}: not a checkpoint of a run (its state_dict holds more than tensors by name).")
    return checkpoint


def read_resumable(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that training can go on from, since no part of its state is missing or damaged.

    Raises:
        ValueError: If something is missing, or weights or moments are no numbers.
    """
    checkpoint = read_checkpoint(path)
    missing = [name for name, kind in STATE.items() if not isinstance(checkpoint.get(name), kind)]
    missing += [f"loops.{FIT_LOOP}"] if "loops" not in missing and FIT_LOOP not in checkpoint["loops"] else []
    missing += ["optimizer_states"] if checkpoint.get("optimizer_states") == [] else []
    if missing:
        raise ValueError(
            f"{path}: training cannot go on from it, since its {', '.join(missing)} are missing or damaged. "
            "To start from its weights alone, use --init_from."
        )
    check_finite(checkpoint["state_dict"] | dict(_moments(checkpoint["optimizer_states"])), path)
    return checkpoint


def _moments(states: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what the optimisers of a checkpoint keep of each weight, by a name; what is no such state is left out."""
    for state in states:
        kept = state.get("state") if isinstance(state, dict) else None
        for weight, values in kept.items() if isinstance(kept, dict) else ():
            for name, value in values.items() if isinstance(values, dict) else ():
                yield f"{name} of the optimiser's weight {weight}", value


class LeftOut(NamedTuple):
    """Weights of pretrained encoders that a file lacks, since the settings of its model load them anyway.

    Args:
        elements: Number of their elements.
        sha256: Hash of their names and values.
    """

    elements: int
    sha256: str

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> LeftOut:
        """Say which weights a file leaves out."""
        return cls(sum(tensor.numel() for tensor in weights.values()), tensors_hash(weights.items()))

    def filled(self, module: AQAModule, given: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
        """Return weights with those of the encoder as it was built, once these are seen to be the right ones.

        Raises:
            ValueError: If the encoder that is found here has other weights than it had in training.
        """
        own = {name: p.detach() for name, p in module.named_parameters() if name.startswith("encoder.")}
        missing = {name: tensor for name, tensor in own.items() if name not in given}
        if self.of(missing) != self:
            raise ValueError(
                f"{path}: the weights of its encoder that are found here are not those that it was trained with; get "
                f"those that its {PUBLISHED} names."
            )
        return {**missing, **given}


def load_module(path: str | Path, *, ensemble: bool = False) -> AQAModule:
    """Build the module that a checkpoint describes, with its weights.

    Args:
        path: The checkpoint, or a run folder.
        ensemble: Whether the folder of a cross-validation stands for the mean of the models of its folds.

    Raises:
        ValueError: If it names what is no part, or its model cannot be built, or has other weights.
    """
    if ensemble:
        return average([load_module(fold) for fold in fold_checkpoints(path)])
    checkpoint = read_checkpoint(path)
    saved = checkpoint.get("hyper_parameters", {})
    if not isinstance(saved, dict) or saved.get("_instantiator") != INSTANTIATOR:
        raise ValueError(
            f"{path}: does not say what its model is made of; it was not written by a run of this command."
        )
    return assemble(checkpoint, path)


def assemble(checkpoint: dict[str, Any], path: str | Path, left_out: LeftOut | None = None) -> AQAModule:
    """Build the module that the content of a checkpoint describes, with its weights.

    Args:
        checkpoint: Settings, weights and state, by the names that they have in a checkpoint.
        path: Where it comes from, for messages.
        left_out: Weights that are not in it.

    Raises:
        ValueError: If it names what is no part, or its model cannot be built, or has other weights.
    """
    saved, weights = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    try:
        with _no_larger_than(weights, left_out.elements if left_out else 0):
            module = build_module(saved)
    except ValueError as error:
        raise ValueError(f"{path}: its model cannot be built here: {error}") from error
    weights = left_out.filled(module, weights, path) if left_out else weights
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[:2])
        raise ValueError(f"{path}: its weights are not those of its model as it is now: {reason}") from error
    check_finite(checkpoint["state_dict"], path)
    module.on_load_checkpoint(checkpoint)
    module.hparams.update(saved)  # plain, where there is what was built of them
    return module


@contextmanager
def _no_larger_than(weights: Mapping[str, Tensor], left_out: int = 0) -> Iterator[None]:
    """Stop building a model once it is far larger than its weights, before its memory is written to."""
    left = [SPARE_ELEMENTS + 4 * sum(tensor.numel() for tensor in weights.values()) + 2 * left_out]

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        left[0] -= 0 if tensor is None or tensor.is_meta else tensor.numel()
        if left[0] < 0:
            raise ValueError("its settings describe a model that is far larger than its weights")

    hooks = [register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def build_module(settings: Mapping[str, Any], args: Sequence[str] = ()) -> AQAModule:
    """Build a module to evaluate from settings that somebody else may have written.

    Each class that they name has to be of the kind that its place expects; nothing else is imported or called.

    Args:
        settings: Settings of the model as a config has them; of optimiser and scheduler nothing is read.
        args: Arguments such as ``--model.head.hidden=[8]`` that change them.

    Raises:
        ValueError: If it cannot be built; the message says why.
    """
    parser = CheckedParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(AQAModule, "model", fail_untyped=False)  # without sub_configs: no text is read as a file
    given = {name: settings[name] for name in MODEL if name in settings}
    _check_size(given)
    with errors_in_one_line():
        text = json.dumps({"model": given}, ensure_ascii=False)
        parsed = parser.parse_args(["--config", text, *args])
        module: AQAModule = parser.instantiate(parsed).model
    return module


def _check_size(settings: Any) -> None:
    """Refuse settings that become far more values than were read, since their parts hold each other many times."""
    rest, count = [settings], 0
    while rest:
        item = rest.pop()
        rest += item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ()
        count += 1
        if count > MOST_SETTINGS:
            raise ValueError(f"its settings have more than {MOST_SETTINGS} values")


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Tell whatever goes wrong while parts are built as a ValueError of one line; its cause has the traceback."""
    try:
        yield
    except Exception as error:
        text = about_class(str(error))
        kind = "" if isinstance(error, ValueError | ArgumentError | ImportError) else f"{type(error).__name__}: "
        raise ValueError(f"{kind}{text[:MOST_LETTERS]}") from error


def load_weights(module: AQAModule, path: str | Path) -> None:
    """Take the weights of a checkpoint, its constants of scores and features included, and nothing else of it.

    Raises:
        ValueError: If the weights are not those of this model; the first few names are given.
    """
    weights = read_checkpoint(path)["state_dict"]
    own = module.state_dict()
    wrong = [name for name in own.keys() ^ weights.keys()]
    fitted = {f"head.{name}" for name in module.head.sized_by_data}
    wrong += [name for name in own.keys() & weights.keys() - fitted if own[name].shape != weights[name].shape]
    if wrong:
        shown = ", ".join(sorted(wrong)[:5])
        raise ValueError(f"{path}: {len(wrong)} weights are not those of this model, among them {shown}.")
    check_finite(weights, path)
    module.load_state_dict(weights)
    module.is_fresh = False


def warn_of_differences(path: str | Path, saved: Mapping[str, Any], given: Mapping[str, Any], *, is_fit: bool) -> None:
    """Say which model settings of the config differ from the checkpoint's, and which of the two counts.

    Args:
        path: The checkpoint.
        saved: The model's settings in it, as plain values.
        given: The model's settings in the config, as plain values.
        is_fit: Whether training goes on; otherwise the checkpoint is evaluated.
    """
    differing = [name for name in given if name in saved and name != "axes" and given[name] != saved[name]]
    if differing:
        winner = "the config counts" if is_fit else "the checkpoint counts"
        hint = " To change settings and keep weights, use --init_from." if is_fit else ""
        _log.warning(
            "%s: model settings differ from the config's (%s); %s.%s", path, ", ".join(differing), winner, hint
        )
