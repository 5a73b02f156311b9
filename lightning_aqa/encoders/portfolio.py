"""The encoders whose weights are at hand, side by side, so that a head can take what it finds best."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_aqa.encoders.at_hand import at_hand
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.concat import Concat

_log = logging.getLogger(__name__)


def build(settings: Mapping[str, Any]) -> Encoder:
    """Build an encoder of its ``class_path`` and ``init_args``."""
    module, _, name = settings["class_path"].rpartition(".")
    encoder: Encoder = getattr(importlib.import_module(module), name)(**settings["init_args"])
    return encoder


def name_of(settings: Mapping[str, Any]) -> str:
    """Name an encoder by its class and the weights that it is given.

    Example:
        >>> name_of({"class_path": "lightning_aqa.encoders.huggingface.Hub", "init_args": {"name_or_path": "tiny"}})
        'Hub tiny'
    """
    words = [value for value in settings["init_args"].values() if isinstance(value, str)]
    return " ".join([settings["class_path"].rpartition(".")[2], *words[:1]])


def reason_of(error: Exception) -> str:
    """Return in one line why an encoder cannot be built."""
    return " ".join(str(error).split()) or type(error).__name__


def _loadable(found: Iterable[Mapping[str, Any]]) -> list[Encoder]:
    """Build encoders; one that cannot be is told and left out."""
    built = []
    for settings in found:
        try:
            built.append(build(settings))
        except Exception as error:  # whatever is in a folder of weights
            _log.warning("Portfolio leaves out %s: %s", name_of(settings), reason_of(error))
    return built


class Portfolio(Concat):
    """Encode a clip by every encoder whose weights are on this machine, side by side as ``Concat`` lays them.

    It is meant for a head that weighs encoders by itself, such as ``Probe``. On the command line, ``fit`` puts the
    encoders that it finds into the config, so that folds and checkpoints have the same; see ``encoders/at_hand.py``
    for those that are looked for.

    Args:
        encoders: The encoders; None takes those at hand, and tells which of them cannot be built.

    Raises:
        ValueError: If more than one has a text side.

    Example:
        >>> from lightning_aqa.encoders.descriptors import Descriptors
        >>> encoder = Portfolio([Descriptors(8000), Descriptors()])
        >>> [part.name for part in encoder.parts()]
        ['Descriptors', 'Descriptors']
    """

    def __init__(self, encoders: Sequence[Encoder] | None = None) -> None:
        if encoders is None:
            encoders = _loadable(at_hand())
            vars(self)["built_with"] = ((), {"encoders": encoders})  # what a checkpoint builds again, wherever it is
        super().__init__(encoders)
