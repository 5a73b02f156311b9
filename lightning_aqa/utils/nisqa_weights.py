"""Read the published weights of NISQA: the encoder and the head each take their part of one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightning_aqa.utils.weights import Weights, WeightsError, find_weights, read_weights

PUBLISHED = Weights(
    "nisqa.tar",
    ("nisqa.tar",),
    "https://github.com/gabrielmittag/NISQA/raw/master/weights/nisqa.tar",
    "CC BY-NC-SA 4.0",
)
CNN = "cnn.model."


class NISQAWeights(NamedTuple):
    """Contents of a checkpoint of NISQA.

    Args:
        path: The file that was read.
        cnn: Tensors of the convolutions, by their names there.
        rest: Tensors of what reads them: ``time_dependency``, and ``pool`` or ``pool_layers``.
        settings: The settings of the model and its spectrogram, by their official names.
    """

    path: Path
    cnn: dict[str, Tensor]
    rest: dict[str, Tensor]
    settings: dict[str, Any]


def read_nisqa(checkpoint: str) -> NISQAWeights:
    """Read ``nisqa.tar``, ``nisqa_mos_only.tar``, ``nisqa_tts.tar``, or what their code trained.

    Args:
        checkpoint: Path of the file, or of a folder with ``nisqa.tar``.

    Raises:
        WeightsError: If there is no such file, or it is no checkpoint of NISQA.
    """
    path = find_weights(checkpoint, file=PUBLISHED.files[0], url=PUBLISHED.url)
    found = read_weights(path)
    settings, tensors = found.get("args"), found.get("model_state_dict")
    if not isinstance(settings, dict) or not isinstance(tensors, dict) or settings.get("model") not in KINDS:
        raise WeightsError(
            f"{path}: not a checkpoint of NISQA: expected its args, with a model of {' or '.join(KINDS)}, and its "
            "model_state_dict, as in nisqa.tar."
        )
    if settings.get("td_2", "skip") not in (None, "skip"):
        raise WeightsError(f"{path}: has a second network over time ({settings['td_2']}), which no published one has.")
    cnn = {name.removeprefix(CNN): value for name, value in tensors.items() if name.startswith(CNN)}
    rest = {name: value for name, value in tensors.items() if not name.startswith(CNN)}
    return NISQAWeights(path, cnn, rest, settings)


KINDS = ("NISQA", "NISQA_DIM")


def setting(weights: NISQAWeights, name: str) -> Any:
    """Return a setting of a checkpoint.

    Raises:
        WeightsError: If it is not there.
    """
    if weights.settings.get(name) is None:
        raise WeightsError(f"{weights.path}: its args have no {name}, which the model is built by.")
    return weights.settings[name]
